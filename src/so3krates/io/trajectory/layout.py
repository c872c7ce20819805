"""Where things are in a trajectory file, how they are stored, and what that takes."""

from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np

from so3krates.io.trajectory.frames import EXTRAS, OBSERVABLES, PARTICLES, WHOLE_NUMBERS
from so3krates.system import System

WIDE = 128.0
"""Å; positions beyond this are stored in float64, because float32 would blur them by more than 1e-5 Å."""
CHUNK_BYTES = 128 * 1024
SMALL_CHUNK_BYTES = 32 * 1024
"""Of scalars and cells."""
SCALAR_ROWS = SMALL_CHUNK_BYTES // 8
OWN_SCALARS = "so3krates/observables"
START_CELL = "start_cell"
"""Attribute of `/so3krates`, Å: the cell at the start; H5MD has no place for that of a file without frames."""
CELL_BYTES = 72
GZIP_LEVEL = 1
"""Higher levels take longer and save one per cent more of the digits of a trajectory, which are mostly noise."""
OVERHEAD_BYTES = 40_000
"""Of groups, attributes and indices in a file without frames, about."""


@dataclass(frozen=True)
class Stored:
    """What a trajectory file has room for, and in which form."""

    dtype: str
    """Of velocities, forces, and positions near the origin."""
    velocities: bool = True
    forces: bool = False
    moving_cell: bool = False
    extras: tuple[str, ...] = ()
    """Of `EXTRAS`."""
    own_scalars: bool = False
    """Scalars at shorter intervals than positions."""
    compression: Literal["none", "gzip"] = "none"

    @property
    def vectors(self) -> tuple[str, ...]:
        """Quantities of atoms."""
        wanted = {"positions": True, "velocities": self.velocities, "forces": self.forces}
        return tuple(name for name in PARTICLES if wanted[name])

    @property
    def scalars(self) -> dict[str, str]:
        """Names and units, without step and time."""
        return OBSERVABLES | {name: EXTRAS[name] for name in self.extras}


def create_layout(file: h5py.File, system: System, stored: Stored) -> None:
    """Groups and empty data sets; what is stored how stands in the attributes of `/so3krates` too."""
    own = file.require_group("so3krates")
    own.attrs["quantities"] = [*stored.vectors, *(["cells"] if stored.moving_cell else []), *stored.scalars]
    own.attrs["precision"], own.attrs["compression"] = stored.dtype, stored.compression
    group = file.create_group("particles/all")
    group["species"] = system.numbers.astype(np.int32)
    group["mass"] = system.masses
    group["mass"].attrs["unit"] = "u"
    clock = group.create_group("position")
    _create_clock(clock)
    _create_box(group.create_group("box"), system, stored, clock)
    far = float(np.abs(system.positions).max()) > WIDE
    for name in stored.vectors:
        key, unit = PARTICLES[name]
        dtype = np.dtype("float64") if far and name == "positions" else np.dtype(stored.dtype)
        _series(group.require_group(key), (len(system), 3), dtype, unit, stored, clock)
    _create_scalars(file.create_group("observables"), stored, clock)
    if stored.own_scalars:
        _create_scalars(file.create_group(OWN_SCALARS), stored, None)


def frame_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """What has one row for each frame, by its name in `Frames`; `cells` also where all are the same."""
    particles = file["particles/all"]
    found = {"step": particles["position/step"], "time_fs": particles["position/time"]}
    found |= {name: particles[key]["value"] for name, (key, _) in PARTICLES.items() if key in particles}
    if START_CELL in file["so3krates"].attrs:
        found["cells"] = particles["box/edges/value"]
    return found | {name: group["value"] for name, group in file["observables"].items()}


def scalar_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Scalars with their steps and times, at their own interval if they have one."""
    if OWN_SCALARS not in file:
        return {name: values for name, values in frame_datasets(file).items() if values.ndim == 1}
    groups = file[OWN_SCALARS]
    first = groups[next(iter(OBSERVABLES))]
    found = {"step": first["step"], "time_fs": first["time"]}
    return found | {name: group["value"] for name, group in groups.items()}


def stored_bytes(atoms: int, frames: int, scalar_rows: int, stored: Stored, cell: bool) -> int:
    """Size of a trajectory file without compression.

    Args:
        atoms: their number; near the origin, else positions take float64.
        frames: rows of positions.
        scalar_rows: rows of scalars at their own interval; 0 where they have none.
        stored: what is in the file.
        cell: whether the structure has one.
    """
    item = np.dtype(stored.dtype).itemsize
    sizes = [_chunked_bytes(frames, (atoms, 3), item)] * len(stored.vectors)
    sizes += [_chunked_bytes(frames, (3, 3), 8)] * cell
    rows = [frames, scalar_rows] if stored.own_scalars else [frames]
    sizes += [_chunked_bytes(each, (), 8) for each in rows for _ in range(len(stored.scalars) + 2)]
    return sum(sizes) + 12 * atoms + OVERHEAD_BYTES


def _chunked_bytes(rows: int, shape: tuple[int, ...], itemsize: int) -> int:
    """Only whole chunks are stored."""
    size = int(np.prod(shape)) * itemsize
    chunk = _chunk_rows(shape, itemsize)
    return -(-rows // chunk) * chunk * size


def _chunk_rows(shape: tuple[int, ...], itemsize: int) -> int:
    size = int(np.prod(shape)) * itemsize
    return max(1, (SMALL_CHUNK_BYTES if size <= CELL_BYTES else CHUNK_BYTES) // size)


def _create_box(box: h5py.Group, system: System, stored: Stored, clock: h5py.Group) -> None:
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array(["periodic" if p else "none" for p in system.pbc], dtype="S8")
    if system.cell is not None:
        # A cell that does not move has a row for each frame too: not all readers of H5MD know any other kind.
        _series(box.create_group("edges"), (3, 3), np.dtype("float64"), "Angstrom", stored, clock)
        box.file["so3krates"].attrs[START_CELL] = system.cell


def _create_scalars(group: h5py.Group, stored: Stored, clock: h5py.Group | None) -> None:
    for name, unit in stored.scalars.items():
        each = group.create_group(name)
        if clock is None:
            _create_clock(each)
            clock = each
        dtype = np.dtype("int64" if name in WHOLE_NUMBERS else "float64")
        _series(each, (), dtype, unit, stored, clock)


def _create_clock(group: h5py.Group) -> None:
    for name, dtype in (("step", np.int64), ("time", np.float64)):
        group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(SCALAR_ROWS,))
    group["time"].attrs["unit"] = "fs"


def _series(
    group: h5py.Group, shape: tuple[int, ...], dtype: np.dtype, unit: str, stored: Stored, clock: h5py.Group
) -> None:
    """A time-dependent element; those of one clock share its step and time by hard links, as H5MD allows."""
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": GZIP_LEVEL, "shuffle": True}
    rows = _chunk_rows(shape, dtype.itemsize)
    options = packed if stored.compression == "gzip" else {}
    values = group.create_dataset(
        "value", (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape), **options
    )
    values.attrs["unit"] = unit
    if "step" not in group:
        group["step"], group["time"] = clock["step"], clock["time"]
