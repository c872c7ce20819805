"""Writing trajectories: begin, append, cut off; each all or nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from so3krates._errors import FileError, InputError
from so3krates._typing import Float
from so3krates.io.atomic import write_atomically
from so3krates.io.journal import before_replacing, changing
from so3krates.io.trajectory.frames import Frames
from so3krates.io.trajectory.layout import (
    OWN_SCALARS,
    START_CELL,
    Stored,
    create_layout,
    frame_datasets,
    scalar_datasets,
)
from so3krates.io.trajectory.reading import Trajectory
from so3krates.system import System


def create_trajectory(
    path: str | PathLike[str],
    system: System,
    settings: dict[str, Any],
    *,
    forces: bool,
    dtype: object,
    reference_energy: float = 0.0,
    velocities: bool = True,
    moving_cell: bool = False,
    extras: Sequence[str] = (),
    own_scalars: bool = False,
    compression: Literal["none", "gzip"] = "none",
) -> None:
    """Write a trajectory without frames, in the place of any file of that name.

    Args:
        path: of the file.
        system: elements, masses, cell; its positions decide how precisely positions are stored.
        settings: whatever describes the run, as JSON.
        forces: make room for forces.
        dtype: of stored velocities and forces, and of positions near the origin.
        reference_energy: of the elements, eV; what turns the stored energies into total ones.
        velocities: make room for velocities.
        moving_cell: make room for the cell of each frame.
        extras: of the scalars that only some runs have, those to make room for.
        own_scalars: make room for scalars at shorter intervals than positions.
        compression: "gzip" takes less room, and more time.

    Raises:
        InputError: for a moving cell of a structure without any.
        FileError: if it cannot be written; what was there before is unchanged.
    """
    if moving_cell and system.cell is None:
        raise InputError(f"{system.formula} has no cell that could move; give it one, or set moving_cell=False.")
    stored = Stored(
        dtype=np.dtype(dtype).name,  # type: ignore[arg-type]
        velocities=velocities,
        forces=forces,
        moving_cell=moving_cell,
        extras=tuple(extras),
        own_scalars=own_scalars,
        compression=compression,
    )
    image = BytesIO()
    # Compressed chunks move when they grow; without its list of holes the file would keep all their former places.
    holes: dict[str, Any] = {"fs_strategy": "fsm", "fs_persist": True} if compression != "none" else {}
    with h5py.File(image, "w", **holes) as file:
        head = file.create_group("h5md")
        head.attrs["version"] = np.array([1, 1])
        head.create_group("author").attrs["name"] = "unknown"
        creator = head.create_group("creator")
        creator.attrs["name"], creator.attrs["version"] = "so3krates", "1"
        own = file.create_group("so3krates")
        own.attrs["settings"] = json.dumps(settings, sort_keys=True)
        own.attrs["charge"], own.attrs["unpaired"] = system.charge, system.unpaired
        own.attrs["reference_energy"] = reference_energy
        create_layout(file, system, stored)
    before_replacing(Path(path))
    write_atomically(Path(path), image.getvalue())


def append_frames(path: str | PathLike[str], frames: Frames, scalars: Mapping[str, np.ndarray] | None = None) -> None:
    """Add rows at the end, all or nothing.

    Quantities for which the file has no room are left out, except a moving cell, without which positions mean nothing.

    Args:
        path: of the file.
        frames: with positions; none of them (`frames[:0]`) where only scalars are added.
        scalars: where these have an interval of their own, all that were recorded since the last call: `step`,
            `time_fs` and what else `Frames.series` gives, those of the steps of the frames included.

    Raises:
        FileError: if the disk is full or the file cannot be written; what was in the file stays readable.
        InputError: for rows that are not what the file holds, or whose steps do not go on from its last one.
    """
    with _changing(path) as file:
        if OWN_SCALARS in file and scalars is None:
            raise InputError(f"{path} records scalars at an interval of their own; give them beside the frames.")
        if OWN_SCALARS not in file and scalars is not None:
            raise InputError(f"{path} has no room for scalars beside its frames; create it with own_scalars=True.")
        _extend(path, frame_datasets(file), frames.present() | _fixed_cells(path, file, len(frames), frames.cells))
        if scalars is not None:
            missing = np.setdiff1d(frames.step, scalars["step"])
            if len(missing):
                raise InputError(f"{path}: frame of step {missing[0]} has no row among the scalars; add it there too.")
            _extend(path, scalar_datasets(file), scalars)


def truncate_after(path: str | PathLike[str], step: int, frames: int | None = None) -> None:
    """Forget everything behind a step, frames and scalars.

    Args:
        path: of the file.
        step: the last one to keep; it need not be one of a row.
        frames: how many must be left.

    Raises:
        FileError: if that many are not there; the file is then as it was.
    """
    trajectory = Trajectory(path)
    steps, last = trajectory.clock()[0], trajectory.series()["step"]
    left = int(np.searchsorted(steps, step, side="right"))
    if frames is not None and left != frames:
        raise FileError(
            f"{path} holds {left} frames up to step {step}, but its checkpoint needs {frames}; the file was changed."
        )
    if left < len(steps) or (len(last) and last[-1] > step):
        with _changing(path) as file:
            for datasets in (frame_datasets(file), scalar_datasets(file)):
                rows = int(np.searchsorted(datasets["step"][:], step, side="right"))
                for values in datasets.values():
                    values.resize(rows, axis=0)


def change_settings(path: str | PathLike[str], settings: dict[str, Any]) -> None:
    """Let other settings take the place of those stored; does nothing if they are the same.

    Raises:
        FileError: if the file cannot be written.
    """
    if Trajectory(path).settings != json.loads(json.dumps(settings)):
        with _changing(path) as file:
            file["so3krates"].attrs["settings"] = json.dumps(settings, sort_keys=True)


def _fixed_cells(
    path: str | PathLike[str], file: h5py.File, count: int, cells: Float[np.ndarray, "frames 3 3"] | None
) -> dict[str, np.ndarray]:
    """Rows for a cell that does not move."""
    if "cells" in file["so3krates"].attrs["quantities"]:
        return {}
    if cells is not None:
        raise InputError(f"{path} has no room for a moving cell; create it with moving_cell=True.")
    cell = file["so3krates"].attrs.get(START_CELL)
    return {} if cell is None else {"cells": np.broadcast_to(cell, (count, 3, 3))}


def _extend(path: str | PathLike[str], datasets: dict[str, h5py.Dataset], rows: Mapping[str, np.ndarray]) -> None:
    absent = sorted(set(datasets) - set(rows))
    if absent:
        raise InputError(f"{path} holds {', '.join(absent)}, which the rows to be added lack.")
    step, count = rows["step"], datasets["step"].shape[0]
    before = datasets["step"][-1:]
    if (np.diff(np.concatenate([before, step])) <= 0).any():
        known = f" after step {before[0]}" if count else ""
        raise InputError(f"{path}: rows of steps {step[0]} to {step[-1]} cannot be added{known}; steps must grow.")
    if not len(step):
        return
    for name, values in datasets.items():
        values.resize(count + len(step), axis=0)
        values[count:] = rows[name]


@contextmanager
def _changing(path: str | PathLike[str]) -> Iterator[h5py.File]:
    with changing(Path(path)) as changed, h5py.File(changed, "r+") as file:
        yield file
