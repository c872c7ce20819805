"""Trajectory: a file of frames, read on demand, also while it grows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import ase
import h5py
import numpy as np
from ase.data import atomic_masses

from so3krates._errors import FileError, InputError
from so3krates._typing import Float, Int
from so3krates.io.journal import reading
from so3krates.io.trajectory.atoms import frames_to_ase
from so3krates.io.trajectory.frames import Frames
from so3krates.io.trajectory.layout import START_CELL, frame_datasets, scalar_datasets
from so3krates.system import System

BLOCK_BYTES = 32 * 2**20
"""About what is read at once where frames pass one after the other."""
TIME_TOLERANCE = 1e-12
"""Relative; times are multiples of the time step, rounded."""


class Trajectory:
    """A trajectory file, read on demand: `len`, `settings`, `read`, `series`, `atoms`.

    Attributes:
        path: of the file.
        system: elements, masses, charge; positions and cell of the first frame. Without a frame, positions are zero.
        settings: of the run.
        reference_energy: of the elements, eV; what turns the stored energies into total ones.
        quantities: names of what is recorded.
        moving_cell: whether each frame has a cell of its own.
        precision: of velocities, forces, and positions near the origin, such as "float32".
        compression: "none" or "gzip".

    Raises:
        FileError: if the file is missing or not a trajectory, or a run writes to it for longer than this can wait.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        with self._open() as file:
            own = file["so3krates"].attrs
            self.system = _read_system(file)
            self.settings: dict[str, Any] = json.loads(own["settings"])
            self.reference_energy = float(own["reference_energy"])
            self.quantities = tuple(str(name) for name in own["quantities"])
            self.precision, self.compression = str(own["precision"]), str(own["compression"])
        self.moving_cell = "cells" in self.quantities

    def __len__(self) -> int:
        with self._open() as file:
            return int(file["particles/all/position/step"].shape[0])

    def read(self, start: int = 0, stop: int | None = None, every: int = 1) -> Frames:
        """Frames `start`, `start + every`, … before `stop`, with the scalars of the same steps.

        Raises:
            InputError: for `every` below 1.
        """
        check_every(every)
        rows = slice(start, stop, every)
        with self._open() as file:
            datasets = frame_datasets(file)
            if not self.moving_cell:
                datasets.pop("cells", None)
            found = {name: values[rows] for name, values in datasets.items()}
        return Frames(velocities=found.pop("velocities", None), **found)

    def series(self) -> dict[str, np.ndarray]:
        """The scalars by name, with their steps and times: all that were recorded, which may be more than there are
        frames. Positions are not touched."""
        with self._open() as file:
            return {name: values[:] for name, values in scalar_datasets(file).items()}

    def clock(self) -> tuple[Int[np.ndarray, " frames"], Float[np.ndarray, " frames"]]:
        """Steps and times (fs) of the frames."""
        with self._open() as file:
            clock = file["particles/all/position"]
            return clock["step"][:], clock["time"][:]

    def window(self, start_ps: float | None = None, stop_ps: float | None = None, every: int = 1) -> range:
        """Numbers of the frames from `start_ps` to `stop_ps`, both included, every `every`-th of them.

        Raises:
            InputError: for `every` below 1, or if there is no frame.
        """
        check_every(every)
        _, time_fs = self.clock()
        if not len(time_fs):
            raise InputError(f"{self.path} holds no frame yet.")
        slack = TIME_TOLERANCE * max(1.0, float(np.abs(time_fs).max()))
        low = -np.inf if start_ps is None else 1e3 * start_ps - slack
        high = np.inf if stop_ps is None else 1e3 * stop_ps + slack
        first, end = np.searchsorted(time_fs, low), np.searchsorted(time_fs, high, side="right")
        if first >= end:
            wanted = " ".join(
                f"{word} {value:g} ps" for word, value in (("from", start_ps), ("to", stop_ps)) if value is not None
            )
            raise InputError(
                f"{self.path} holds no frame {wanted}; its {len(time_fs)} frames go from {time_fs[0] * 1e-3:g} to "
                f"{time_fs[-1] * 1e-3:g} ps."
            )
        return range(int(first), int(end), every)

    def blocks(self, rows: range) -> Iterator[Frames]:
        """The frames of these numbers, a few at a time, so that files larger than memory pass through."""
        vectors = sum(name in self.quantities for name in ("positions", "velocities", "forces"))
        count = max(1, BLOCK_BYTES // (24 * vectors * len(self.system)))
        for first in range(0, len(rows), count):
            part = rows[first : first + count]
            yield self.read(part.start, part.stop, part.step)

    def atoms(self, every: int = 1) -> Iterator[ase.Atoms]:
        """Frames as ASE Atoms with velocities and forces, if stored, and total energy.

        Raises:
            InputError: for `every` below 1.
        """
        check_every(every)
        for frames in self.blocks(range(0, len(self), every)):
            yield from frames_to_ase(frames, self.system, self.reference_energy)

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        if not self.path.exists():
            raise FileError(f"trajectory '{self.path}' does not exist.")
        with reading(self.path) as source:
            try:
                # The library's own locks would stop a run that is writing for as long as this file is open.
                file = h5py.File(source, "r", locking=False)
            except OSError as error:
                raise FileError(f"'{self.path}' is not a readable HDF5 file, or was cut off: {error}.") from error
            with file:
                if "h5md" not in file or "so3krates" not in file:
                    raise FileError(f"{self.path} is not a trajectory of so3krates (no groups 'h5md' and 'so3krates').")
                try:
                    yield file
                except FileError:
                    raise
                except (OSError, RuntimeError, KeyError) as error:
                    # What h5py says names neither the file nor what to do.
                    said = str(error.args[0] if error.args else error).rstrip(".")
                    raise FileError(
                        f"'{self.path}' is damaged and cannot be read: {said}; take a copy of it from elsewhere, or "
                        "run anew with --overwrite."
                    ) from error


def check_every(every: int) -> None:
    """Refuse to take every zeroth frame.

    Raises:
        InputError: for `every` below 1.
    """
    if every < 1:
        raise InputError(f"every is {every}; it must be at least 1.")


def _read_system(file: h5py.File) -> System:
    particles, own = file["particles/all"], file["so3krates"]
    numbers, masses = particles["species"][:], particles["mass"][:]
    values = particles["position/value"]
    cell, edges = own.attrs.get(START_CELL), particles["box"].get("edges")
    pbc = tuple(flag == b"periodic" for flag in particles["box"].attrs["boundary"])
    return System(
        positions=values[0] if len(values) else np.zeros((len(numbers), 3)),
        numbers=numbers,
        cell=None if cell is None else (edges["value"][0] if len(values) else cell),
        pbc=pbc,  # type: ignore[arg-type]
        charge=float(own.attrs["charge"]),
        unpaired=float(own.attrs["unpaired"]),
        isotope_masses=None if (masses == atomic_masses[numbers]).all() else masses,
    )
