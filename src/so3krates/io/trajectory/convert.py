"""Trajectories to other formats, chosen by the ending of the target."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from so3krates._errors import InputError
from so3krates.io.trajectory.binary import Binary, check_even, check_library, finish_dcd, finish_xtc
from so3krates.io.trajectory.cells import cells_of, upright, wrapped
from so3krates.io.trajectory.extxyz import to_extxyz
from so3krates.io.trajectory.frames import Frames
from so3krates.io.trajectory.reading import Trajectory
from so3krates.io.trajectory.targets import replacing
from so3krates.io.trajectory.topology import pdb_text
from so3krates.system import System

TEXT = (".extxyz", ".xyz")
BINARY = (".dcd", ".xtc")
SUFFIXES = (*TEXT, *BINARY)


@dataclass(frozen=True)
class Converted:
    """What was written."""

    frames: int
    topology: Path | None
    """PDB beside formats that have no elements."""
    turned: bool
    """Whether frames were turned so that the first cell vector lies along x, as DCD and XTC want it."""


def topology_path(target: Path) -> Path | None:
    """run.dcd → run.pdb; None for formats that hold the elements themselves."""
    return target.with_suffix(".pdb") if target.suffix.lower() in BINARY else None


def convert_trajectory(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    every: int = 1,
    start_ps: float | None = None,
    stop_ps: float | None = None,
    wrap: bool = False,
) -> Converted:
    """Write a trajectory as extended XYZ, DCD or XTC; beside the latter two a PDB file of the first frame.

    Files are read and written a few frames at a time and appear whole or not at all; older ones are replaced.

    Args:
        source: trajectory.
        target: file to write, ending in .extxyz, .xyz, .dcd or .xtc.
        every: frames from one that is written to the next.
        start_ps: of the first frame; from the beginning if not given.
        stop_ps: of the last frame; to the end if not given.
        wrap: bring each atom into the cell; positions are unwrapped as they are stored if not.

    Raises:
        InputError: for another ending, a missing library, `every` below 1, times without a frame, frames at uneven
            intervals for DCD, or atoms to wrap without a cell.
        FileError: if the trajectory cannot be read or the target not be written.
    """
    target = Path(target)
    suffix = target.suffix.lower()
    if suffix in TEXT:
        return Converted(to_extxyz(source, target, every, start_ps=start_ps, stop_ps=stop_ps, wrap=wrap), None, False)
    if suffix not in BINARY:
        raise InputError(f"'{target}' must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    check_library()
    trajectory = Trajectory(source)
    rows = trajectory.window(start_ps, stop_ps, every)
    if suffix == ".dcd":
        check_even(trajectory, rows)
    return _write_binary(trajectory, rows, target, wrap)


def _write_binary(trajectory: Trajectory, rows: range, target: Path, wrap: bool) -> Converted:
    topology, turned = target.with_suffix(".pdb"), False
    with ExitStack() as both:
        unfinished = both.enter_context(replacing(target))
        described = both.enter_context(replacing(topology))
        first = _placed(trajectory.read(rows[0], rows[0] + 1), trajectory.system, wrap)
        described.write_text(pdb_text(_system(first, trajectory.system)), encoding="ascii")
        out = Binary(unfinished, target)
        try:
            for frames in trajectory.blocks(rows):
                placed = _placed(frames, trajectory.system, wrap)
                out.add(placed.frames, placed.positions, placed.cells)
                turned |= placed.turned
        finally:
            out.close()
        if target.suffix.lower() == ".dcd":
            finish_dcd(unfinished, trajectory, rows)
        else:
            finish_xtc(unfinished, rows)
    return Converted(len(rows), topology, turned)


@dataclass(frozen=True, eq=False)
class _Placed:
    """Frames as the target wants them."""

    frames: Frames
    positions: np.ndarray
    cells: np.ndarray | None
    turned: bool


def _placed(frames: Frames, system: System, wrap: bool) -> _Placed:
    moved = wrapped(frames, system) if wrap else frames
    cells = cells_of(moved, system)
    if cells is None:
        return _Placed(moved, moved.positions, None, False)
    positions, turned, which = upright(moved.positions, cells)
    return _Placed(moved, positions, turned, bool(which.any()))


def _system(first: _Placed, system: System) -> System:
    cell = None if first.cells is None else first.cells[0]
    return replace(system, positions=first.positions[0], cell=cell)
