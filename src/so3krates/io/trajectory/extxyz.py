"""Extended XYZ: text, for whatever reads structures one by one."""

from os import PathLike
from pathlib import Path

import ase.io

from so3krates.io.trajectory.atoms import frames_to_ase
from so3krates.io.trajectory.cells import wrapped
from so3krates.io.trajectory.reading import Trajectory
from so3krates.io.trajectory.targets import replacing


def to_extxyz(
    source: str | PathLike[str],
    target: str | PathLike[str],
    every: int = 1,
    *,
    start_ps: float | None = None,
    stop_ps: float | None = None,
    wrap: bool = False,
) -> int:
    """Convert a trajectory to extended XYZ and return the number of frames written.

    Args:
        source: trajectory.
        target: file to write.
        every: frames from one that is written to the next.
        start_ps: of the first frame; from the beginning if not given.
        stop_ps: of the last frame; to the end if not given.
        wrap: bring each atom into the cell.

    Raises:
        InputError: for `every` below 1, times without a frame, or atoms to wrap without a cell.
        FileError: if the trajectory cannot be read or the target not be written.
    """
    trajectory = Trajectory(source)
    rows = trajectory.window(start_ps, stop_ps, every)
    with replacing(Path(target)) as unfinished, open(unfinished, "w", encoding="utf-8") as handle:
        for frames in trajectory.blocks(rows):
            moved = wrapped(frames, trajectory.system) if wrap else frames
            for atoms in frames_to_ase(moved, trajectory.system, trajectory.reference_energy):
                ase.io.write(handle, atoms, format="extxyz")
    return len(rows)
