"""Trajectories in HDF5, H5MD 1.1 layout: written by appending, readable at any time, converted to extxyz.

`/particles/all` holds positions (Å, never wrapped), velocities (Å/fs) and, if asked for, forces (eV/Å);
`/observables` energies (eV), temperature (K), the conserved quantity and the closest approach of two atoms;
`/so3krates` the settings of the run. Layout: de Buyl et al., Comput. Phys. Commun. 185, 1546 (2014).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import ase
import ase.io
import h5py
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses

from so3krates._errors import FileError, InputError
from so3krates._typing import Float, Int
from so3krates.io.atomic import write_atomically
from so3krates.io.journal import JournaledFile, reading
from so3krates.system import System
from so3krates.units import FEMTOSECOND

WIDE = 128.0
"""Å; positions beyond this are stored in float64, because float32 would blur them by more than 1e-5 Å."""
CHUNK_BYTES = 128 * 1024
PARTICLES = {"positions": ("position", "Angstrom"), "velocities": ("velocity", "Angstrom fs-1")}
PARTICLES["forces"] = ("force", "eV Angstrom-1")
OBSERVABLES = {
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "temperature": "K",
    "conserved": "eV",
    "closest": "Angstrom",
}


@dataclass(frozen=True, eq=False)
class Frames:
    """Saved frames on the host, one row each."""

    step: Int[np.ndarray, " frames"]
    time_fs: Float[np.ndarray, " frames"]
    positions: Float[np.ndarray, "frames atoms 3"]
    """Å."""
    velocities: Float[np.ndarray, "frames atoms 3"]
    """Å/fs."""
    potential_energy: Float[np.ndarray, " frames"]
    """eV, without the reference energies of the elements."""
    kinetic_energy: Float[np.ndarray, " frames"]
    temperature: Float[np.ndarray, " frames"]
    """K, over the degrees of freedom of the ensemble."""
    conserved: Float[np.ndarray, " frames"]
    """Conserved quantity of the ensemble, eV."""
    closest: Float[np.ndarray, " frames"]
    """Smallest distance between two atoms, Å."""
    forces: Float[np.ndarray, "frames atoms 3"] | None = None
    """eV/Å, if they were asked for."""
    cells: Float[np.ndarray, "frames 3 3"] | None = None
    """Å, where the cell moves."""

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, rows: slice) -> "Frames":
        return replace(self, **{name: values[rows] for name, values in self.present().items()})

    def series(self) -> dict[str, np.ndarray]:
        """The scalars of each frame by name, step and time included."""
        return {name: values for name, values in self.present().items() if name not in PARTICLES}

    def present(self) -> dict[str, np.ndarray]:
        """The quantities that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in found.items() if values is not None}

    @classmethod
    def join(cls, parts: "list[Frames]") -> "Frames":
        """Frames one after the other."""
        return cls(**{name: np.concatenate([part.present()[name] for part in parts]) for name in parts[0].present()})


class Trajectory:
    """A trajectory file, read on demand: `len`, `settings`, `read`, `atoms`.

    Raises:
        FileError: if the file is missing or not a trajectory.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        with self._open() as file:
            self.system = _read_system(file)
            self.settings: dict[str, Any] = json.loads(file["so3krates"].attrs["settings"])
            self.reference_energy = float(file["so3krates"].attrs["reference_energy"])

    def __len__(self) -> int:
        with self._open() as file:
            return int(file["particles/all/position/step"].shape[0])

    def read(self, start: int = 0, stop: int | None = None, every: int = 1) -> Frames:
        """Frames `start`, `start + every`, … before `stop`."""
        rows = slice(start, stop, every)
        with self._open() as file:
            particles, observables = file["particles/all"], file["observables"]
            found = {name: particles[key]["value"][rows] for name, (key, _) in PARTICLES.items() if key in particles}
            found |= {name: observables[name]["value"][rows] for name in OBSERVABLES}
            step, time = particles["position/step"][rows], particles["position/time"][rows]
        return Frames(step=step, time_fs=time, **found)

    def series(self) -> dict[str, np.ndarray]:
        """The scalars of every frame by name, step and time included; positions are not touched."""
        with self._open() as file:
            return {name: values[:] for name, values in _datasets(file).items() if name not in PARTICLES}

    def atoms(self, every: int = 1) -> Iterator[ase.Atoms]:
        """Frames as ASE Atoms with velocities, total energy and, if stored, forces."""
        block = 256 * every
        for start in range(0, len(self), block):
            yield from frames_to_ase(self.read(start, start + block, every), self.system, self.reference_energy)

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        if not self.path.exists():
            raise FileError(f"trajectory {self.path} does not exist.")
        with reading(self.path):
            try:
                # The library's own locks would stop a run that is writing for as long as this file is open.
                file = h5py.File(self.path, "r", locking=False)
            except OSError as error:
                raise FileError(f"{self.path} is not a readable HDF5 file: {error}.") from error
            with file:
                if "h5md" not in file or "so3krates" not in file:
                    raise FileError(f"{self.path} is not a trajectory of so3krates (no groups 'h5md' and 'so3krates').")
                yield file


def create_trajectory(
    path: str | PathLike[str],
    system: System,
    settings: dict[str, Any],
    *,
    forces: bool,
    dtype: object,
    reference_energy: float = 0.0,
) -> None:
    """Write a trajectory without frames, in the place of any file of that name.

    Args:
        path: of the file.
        system: elements, masses, cell; its positions decide how precisely positions are stored.
        settings: whatever describes the run, as JSON.
        forces: make room for forces.
        dtype: of stored velocities and forces, and of positions near the origin.
        reference_energy: of the elements, eV; what turns the stored energies into total ones.
    """
    image = BytesIO()
    with h5py.File(image, "w") as file:
        head = file.create_group("h5md")
        head.attrs["version"] = np.array([1, 1])
        head.create_group("author").attrs["name"] = "unknown"
        creator = head.create_group("creator")
        creator.attrs["name"], creator.attrs["version"] = "so3krates", "1"
        own = file.create_group("so3krates")
        own.attrs["settings"] = json.dumps(settings, sort_keys=True)
        own.attrs["charge"], own.attrs["unpaired"] = system.charge, system.unpaired
        own.attrs["reference_energy"] = reference_energy
        _create_particles(file.create_group("particles/all"), system, forces, np.dtype(dtype))  # type: ignore[arg-type]
        observables = file.create_group("observables")
        for name, unit in OBSERVABLES.items():
            _series(observables.create_group(name), (), np.dtype("float64"), unit, file["particles/all/position"])
    write_atomically(Path(path), image.getvalue())


def append_frames(path: str | PathLike[str], frames: Frames) -> None:
    """Add frames at the end, all or nothing.

    Raises:
        FileError: if the disk is full or the file cannot be written; what was in the file stays readable.
    """
    with _changing(path) as file:
        position = file["particles/all/position"]
        count = position["step"].shape[0]
        total = count + len(frames)
        for name, values in _datasets(file).items():
            values.resize(total, axis=0)
            values[count:] = frames.present()[name]


def truncate_frames(path: str | PathLike[str], frames: int) -> None:
    """Forget all frames after the first `frames`.

    Raises:
        FileError: if the file has fewer.
    """
    with _changing(path) as file:
        have = file["particles/all/position/step"].shape[0]
        if have < frames:
            raise FileError(f"{path} holds {have} frames, but its checkpoint needs {frames}; the file was changed.")
        for values in _datasets(file).values():
            values.resize(frames, axis=0)


def to_extxyz(source: str | PathLike[str], target: str | PathLike[str], every: int = 1) -> int:
    """Convert a trajectory to extended XYZ and return the number of frames written.

    Raises:
        InputError: for `every` below 1.
    """
    if every < 1:
        raise InputError(f"every is {every}; it must be at least 1.")
    trajectory, target = Trajectory(source), Path(target)
    unfinished = target.with_name(f".{target.name}.tmp")
    count = 0
    try:
        with open(unfinished, "w", encoding="utf-8") as handle:
            for atoms in trajectory.atoms(every):
                ase.io.write(handle, atoms, format="extxyz")
                count += 1
        unfinished.replace(target)
    except OSError as error:
        raise FileError(f"'{target}' cannot be written: {error.strerror or error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def frames_to_ase(frames: Frames, system: System, reference_energy: float) -> list[ase.Atoms]:
    """Frames as ASE Atoms; time in fs and step in `info`. `reference_energy` (eV) is added to their energies."""
    result = []
    for row in range(len(frames)):
        atoms = system.to_ase()
        atoms.positions = np.asarray(frames.positions[row], np.float64)
        atoms.set_velocities(np.asarray(frames.velocities[row], np.float64) / FEMTOSECOND)
        atoms.info |= {"time_fs": float(frames.time_fs[row]), "step": int(frames.step[row])}
        results: dict[str, Any] = {"energy": float(frames.potential_energy[row]) + reference_energy}
        if frames.forces is not None:
            results["forces"] = np.asarray(frames.forces[row], np.float64)
        atoms.calc = SinglePointCalculator(atoms, **results)
        result.append(atoms)
    return result


@contextmanager
def _changing(path: str | PathLike[str]) -> Iterator[h5py.File]:
    with JournaledFile(Path(path)) as journaled:
        with h5py.File(journaled, "r+") as file:
            yield file
        journaled.commit()


def _create_particles(group: h5py.Group, system: System, forces: bool, dtype: np.dtype) -> None:
    group["species"] = system.numbers.astype(np.int32)
    group["mass"] = system.masses
    group["mass"].attrs["unit"] = "u"
    box = group.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array(["periodic" if p else "none" for p in system.pbc], dtype="S8")
    if system.cell is not None:
        box["edges"] = system.cell
        box["edges"].attrs["unit"] = "Angstrom"
    shape = (len(system), 3)
    position = group.create_group("position")
    position.create_dataset("step", (0,), np.int64, maxshape=(None,), chunks=(4096,))
    time = position.create_dataset("time", (0,), np.float64, maxshape=(None,), chunks=(4096,))
    time.attrs["unit"] = "fs"
    far = float(np.abs(system.positions).max()) > WIDE
    _series(position, shape, np.dtype("float64") if far else dtype, "Angstrom")
    for name in ("velocities", "forces") if forces else ("velocities",):
        key, unit = PARTICLES[name]
        _series(group.create_group(key), shape, dtype, unit, position)


def _series(
    group: h5py.Group, shape: tuple[int, ...], dtype: np.dtype, unit: str, clock: h5py.Group | None = None
) -> None:
    """A time-dependent element; all share the step and time of the positions by hard links, as H5MD allows."""
    rows = max(1, min(4096, CHUNK_BYTES // (int(np.prod(shape)) * dtype.itemsize)))
    values = group.create_dataset("value", (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape))
    values.attrs["unit"] = unit
    if clock is not None:
        group["step"], group["time"] = clock["step"], clock["time"]


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    particles = file["particles/all"]
    found = {"step": particles["position/step"], "time_fs": particles["position/time"]}
    found |= {name: particles[key]["value"] for name, (key, _) in PARTICLES.items() if key in particles}
    return found | {name: file["observables"][name]["value"] for name in OBSERVABLES}


def _read_system(file: h5py.File) -> System:
    """Elements, cell and the first positions (zeros if there is no frame yet)."""
    particles, own = file["particles/all"], file["so3krates"]
    numbers, masses = particles["species"][:], particles["mass"][:]
    values = particles["position/value"]
    pbc = tuple(flag == b"periodic" for flag in particles["box"].attrs["boundary"])
    return System(
        positions=values[0] if len(values) else np.zeros((len(numbers), 3)),
        numbers=numbers,
        cell=particles["box/edges"][:] if "edges" in particles["box"] else None,
        pbc=pbc,  # type: ignore[arg-type]
        charge=float(own.attrs["charge"]),
        unpaired=float(own.attrs["unpaired"]),
        isotope_masses=None if (masses == atomic_masses[numbers]).all() else masses,
    )
