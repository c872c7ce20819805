"""Data sets in HDF5: structures of any size one after the other, with offsets; written in pieces, read by frame.

```
/                attributes: format = "so3krates-dataset", version = 1,
                 energy_unit, length_unit, force_unit, stress_unit, dipole_unit
                 (written as eV, Angstrom, eV/Angstrom, eV/Angstrom^3, e*Angstrom)
/offsets         (frames + 1) int64      frame k owns atoms offsets[k] … offsets[k+1] − 1
/numbers         (atoms) uint8
/positions       (atoms, 3) float64
/forces          (atoms, 3) float64      optional; NaN where missing
/energy          (frames) float64        optional; NaN where missing
/stress          (frames, 3, 3) float64  optional; NaN where missing; tension positive
/dipole          (frames, 3) float64     optional; NaN where missing
/hirshfeld_ratios (atoms) float64        optional; NaN where missing
/cell            (frames, 3, 3) float64  rows are vectors; zero for a structure that is not periodic
/pbc             (frames, 3) bool
/charge /unpaired (frames) float64       optional, zero if absent
/isolated_atom   (frames) bool           optional
/group           (frames) text           optional
/split/<name>    (any) int64             optional, frame indices of a named subset
```
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from so3krates._errors import FileError, InputError
from so3krates._typing import Int
from so3krates.data import labels
from so3krates.data.declared_units import EV_ANGSTROM, UnitNames, conversion
from so3krates.data.frames import About, Frames, about
from so3krates.data.sample import LABELS, Dataset, Sample
from so3krates.system import System, electrons_fit

FORMAT = "so3krates-dataset"
VERSION = 1
FRAMES_PER_WRITE = 1000
_UNIT_ATTRIBUTES = ("energy_unit", "length_unit", "force_unit", "stress_unit", "dipole_unit")
_WRITTEN_UNITS = ("eV", "Angstrom", "eV/Angstrom", "eV/Angstrom^3", "e*Angstrom")


class Hdf5Frames(Frames):
    """Frames of an HDF5 file in the layout above; only the offsets are kept in memory.

    Raises:
        FileError: for a file that is damaged or of another kind.
        InputError: for arrays that do not fit the offsets.
    """

    def __init__(self, path: Path, declared: UnitNames) -> None:
        self._path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise FileError(f"{path}: not a readable HDF5 file ({error}); it may be truncated.") from error
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT or int(attributes.get("version", 0)) > VERSION:
            raise FileError(
                f"{path}: format '{attributes.get('format')}' version {attributes.get('version')}; this reader knows "
                f"'{FORMAT}' up to version {VERSION}."
            )
        stated = UnitNames(*(_text(attributes.get(name)) for name in _UNIT_ATTRIBUTES))
        self._units = conversion(declared, stated, EV_ANGSTROM, str(path))
        self._offsets = np.asarray(self._array("offsets")[:], dtype=np.int64)
        self._check_shapes()
        present = {label: label for label in LABELS if label in self._file}
        names = labels.names_beside_structure(self._file)
        self._about = About(path, present, str(self._units), self._subsets(), keys=names)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def about(self) -> About:
        return self._about

    def read(self, index: int) -> Sample:
        origin = f"{self._path}, frame {index}"
        try:
            return self._sample(index, origin)
        except OSError as error:
            raise FileError(f"{origin}: cannot be read ({error}).") from error

    def _sample(self, index: int, origin: str) -> Sample:
        atoms = slice(self._offsets[index], self._offsets[index + 1])
        system = self._system(index, atoms, origin)
        energy = forces = stress = None
        if "energy" in self._file:
            energy = labels.energy_label(self._array("energy")[index], "energy", origin)
        if "forces" in self._file:
            forces = labels.forces_label(self._array("forces")[atoms], len(system), "forces", origin)
        if "stress" in self._file and system.periodic:
            stress = labels.stress_label(self._array("stress")[index], "stress", origin)
        dipole = ratios = None
        if "dipole" in self._file:
            dipole = labels.dipole_label(self._array("dipole")[index], "dipole", origin)
        if "hirshfeld_ratios" in self._file:
            values = self._array("hirshfeld_ratios")[atoms]
            ratios = labels.ratios_label(values, len(system), "hirshfeld_ratios", origin)
        units = self._units
        return Sample(
            system=system,
            energy=None if energy is None else energy * units.energy,
            forces=None if forces is None else forces * units.force,
            stress=None if stress is None else stress * units.stress,
            dipole=None if dipole is None else dipole * units.dipole,
            hirshfeld_ratios=ratios,
            origin=origin,
            isolated_atom=bool(self._per_frame("isolated_atom", index, False)),
            group=_text(self._per_frame("group", index, "")) or "",
        )

    def _system(self, index: int, atoms: slice, origin: str) -> System:
        pbc = [bool(flag) for flag in self._array("pbc")[index]]
        try:
            system = System(
                positions=self._array("positions")[atoms] * self._units.length,
                numbers=self._array("numbers")[atoms].astype(np.int64),
                cell=self._array("cell")[index] * self._units.length if any(pbc) else None,
                pbc=(pbc[0], pbc[1], pbc[2]),
                charge=float(self._per_frame("charge", index, 0.0)),
                unpaired=float(self._per_frame("unpaired", index, 0.0)),
            )
        except InputError as error:
            raise InputError(f"{origin}: {error}") from error
        given = ("charge" in self._file, "unpaired" in self._file)
        if any(given) and not all(given) and not electrons_fit(system.numbers, system.charge, system.unpaired):
            there, missing = ("charge", "unpaired") if given[0] else ("unpaired", "charge")
            raise InputError(
                f"{origin}: '{there}' is {getattr(system, there):g}, which does not fit the electrons of "
                f"{system.formula} unless '{missing}' is given too."
            )
        return system

    def _per_frame(self, name: str, index: int, default: Any) -> Any:
        return self._array(name)[index] if name in self._file else default

    def _array(self, name: str) -> h5py.Dataset:
        found = self._file.get(name)
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{self._path}: array '{name}' is missing.")
        return found

    def _check_shapes(self) -> None:
        if self._offsets.ndim != 1 or not len(self._offsets) or (np.diff(self._offsets) < 0).any():
            raise InputError(f"{self._path}: 'offsets' must be one ascending list that starts with 0.")
        frames, atoms = len(self), int(self._offsets[-1])
        expected = {"numbers": (atoms,), "positions": (atoms, 3), "cell": (frames, 3, 3), "pbc": (frames, 3)}
        optional = {"forces": (atoms, 3), "energy": (frames,), "stress": (frames, 3, 3)}
        optional |= {"dipole": (frames, 3), "hirshfeld_ratios": (atoms,)}
        optional |= dict.fromkeys(("charge", "unpaired", "isolated_atom", "group"), (frames,))
        for name, shape in {**expected, **{key: s for key, s in optional.items() if key in self._file}}.items():
            if self._array(name).shape != shape:
                raise InputError(f"{self._path}: '{name}' has shape {self._array(name).shape}, expected {shape}.")

    def _subsets(self) -> dict[str, np.ndarray]:
        group = self._file.get("split")
        names = list(group) if isinstance(group, h5py.Group) else []
        found = {name: np.asarray(self._array(f"split/{name}")[:], dtype=np.int64) for name in names}
        for name, indices in found.items():
            if indices.size and not (0 <= indices.min() and indices.max() < len(self)):
                raise InputError(f"{self._path}: 'split/{name}' points outside the {len(self)} frames of the file.")
        return found


def write_hdf5(
    dataset: Dataset, path: Path | str, subsets: Mapping[str, Int[np.ndarray, " frames"]] | None = None
) -> None:
    """Write a data set in the layout above, piece by piece, so that it may be larger than memory.

    Args:
        dataset: what to write; read once, in order.
        path: target; replaced in one step when all is written.
        subsets: named subsets; those of the data set itself if not given.

    Raises:
        FileError: if the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with h5py.File(partial, "w") as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs.update(dict(zip(_UNIT_ATTRIBUTES, _WRITTEN_UNITS, strict=True)))
            _create(file)
            for start in range(0, len(dataset), FRAMES_PER_WRITE):
                stop = min(start + FRAMES_PER_WRITE, len(dataset))
                _append(file, [dataset[index] for index in range(start, stop)])
            _drop_empty(file)
            for name, indices in (about(dataset).subsets if subsets is None else subsets).items():
                file[f"split/{name}"] = np.asarray(indices, dtype=np.int64)
        os.replace(partial, path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error}).") from error
    finally:
        partial.unlink(missing_ok=True)


_ARRAYS: Mapping[str, tuple[tuple[int, ...], object]] = {
    "numbers": ((), np.uint8),
    "positions": ((3,), np.float64),
    "forces": ((3,), np.float64),
    "energy": ((), np.float64),
    "stress": ((3, 3), np.float64),
    "dipole": ((3,), np.float64),
    "hirshfeld_ratios": ((), np.float64),
    "cell": ((3, 3), np.float64),
    "pbc": ((3,), np.bool_),
    "charge": ((), np.float64),
    "unpaired": ((), np.float64),
    "isolated_atom": ((), np.bool_),
    "group": ((), h5py.string_dtype()),
}


def _create(file: h5py.File) -> None:
    for name, (rest, dtype) in _ARRAYS.items():
        file.create_dataset(name, shape=(0, *rest), maxshape=(None, *rest), dtype=dtype, chunks=(1024, *rest))
    file.create_dataset("offsets", data=np.zeros(1, np.int64), maxshape=(None,), chunks=(1024,))


def _append(file: h5py.File, samples: Dataset) -> None:
    if not samples:
        return
    systems = [sample.system for sample in samples]
    empty = np.full((3, 3), np.nan)
    _extend(file, "numbers", np.concatenate([system.numbers for system in systems]))
    _extend(file, "positions", np.concatenate([system.positions for system in systems]))
    forces = [np.full((len(s.system), 3), np.nan) if s.forces is None else s.forces for s in samples]
    _extend(file, "forces", np.concatenate(forces))
    _extend(file, "energy", [np.nan if s.energy is None else s.energy for s in samples])
    _extend(file, "stress", [empty if s.stress is None else s.stress for s in samples])
    _extend(file, "dipole", [np.full(3, np.nan) if s.dipole is None else s.dipole for s in samples])
    ratios = [np.full(len(s.system), np.nan) if s.hirshfeld_ratios is None else s.hirshfeld_ratios for s in samples]
    _extend(file, "hirshfeld_ratios", np.concatenate(ratios))
    _extend(file, "cell", [np.zeros((3, 3)) if system.cell is None else system.cell for system in systems])
    _extend(file, "pbc", [system.pbc for system in systems])
    _extend(file, "charge", [system.charge for system in systems])
    _extend(file, "unpaired", [system.unpaired for system in systems])
    _extend(file, "isolated_atom", [s.isolated_atom for s in samples])
    _extend(file, "group", [s.group for s in samples])
    last = int(_dataset(file, "offsets")[-1])
    _extend(file, "offsets", last + np.cumsum([len(system) for system in systems]))


def _extend(file: h5py.File, name: str, values: object) -> None:
    array = _dataset(file, name)
    have, more = array.shape[0], len(values)  # type: ignore[arg-type]
    array.resize(have + more, axis=0)
    array[have:] = values


def _drop_empty(file: h5py.File) -> None:
    """Labels that no frame has are absent rather than all NaN."""
    for name in LABELS:
        if not any(np.isfinite(piece).any() for piece in _pieces(_dataset(file, name))):
            del file[name]


def _pieces(array: h5py.Dataset) -> Iterable[np.ndarray]:
    return (array[start : start + 65536] for start in range(0, len(array), 65536))


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    array = file[name]
    assert isinstance(array, h5py.Dataset)
    return array


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode() if isinstance(value, bytes) else str(value)
