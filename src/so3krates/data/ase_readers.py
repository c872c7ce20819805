"""ASE trajectories and databases, read frame by frame; and one ASE structure with labels to a Sample."""

import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.db import connect
from ase.io.trajectory import TrajectoryReader

from so3krates._errors import FileError, InputError
from so3krates.data import labels
from so3krates.data.declared_units import Conversion, UnitNames, conversion
from so3krates.data.frames import About, Frames
from so3krates.data.labels import LabelKeys
from so3krates.data.sample import Sample
from so3krates.system import System

PROBED_FRAMES = 500
"""How many frames, evenly spread, are looked at to choose the label keys where that means reading whole frames."""
GROUP_KEYS = ("trajectory", "group", "molecule")
ISOLATED_ATOM = ("isolatedatom", "isolated_atom", "isolated atom")
_SINGLE_POINT_FIRST = frozenset({"energy", "forces", "stress", "free_energy", "dipole"})


class TrajFrames(Frames):
    """An ASE `.traj` file; labels from `info`/`arrays` (`REF_*`) or from the stored single-point results."""

    def __init__(self, path: Path, declared: UnitNames, wanted: LabelKeys) -> None:
        self._path = path
        try:
            file = path.open("rb")
            weakref.finalize(self, file.close)
            self._reader = TrajectoryReader(file)
            self._length = len(self._reader)
        except Exception as error:  # ASE's reader fails with many kinds of errors on a damaged file
            raise FileError(f"{path}: not a readable ASE trajectory; it may be truncated ({_brief(error)}).") from error
        probed = _probe(self._length)
        counts = count_keys(self._atoms(index) for index in probed)
        self._keys = labels.choose_keys(counts, wanted, str(path))
        self._units = conversion(declared, source=str(path))
        notes = labels.unused_key_notes(counts, self._keys, len(probed), str(path))
        names = labels.names_beside_structure(counts)
        self._about = About(path, self._keys.used(), str(self._units), notes=notes, keys=names)

    def __len__(self) -> int:
        return self._length

    @property
    def about(self) -> About:
        return self._about

    def read(self, index: int) -> Sample:
        return sample_from_atoms(self._atoms(index), self._keys, self._units, f"{self._path}, frame {index}")

    def _atoms(self, index: int) -> ase.Atoms:
        try:
            return self._reader[index]  # type: ignore[return-value]
        except Exception as error:  # as above
            raise FileError(f"{self._path}, frame {index}: cannot be read ({_brief(error)}).") from error


class DatabaseFrames(Frames):
    """An ASE SQLite `.db` file, row by row in the order of ids.

    Labels come from a row's key-value pairs or data (`REF_*`), from its calculator results, or from its data under
    `energy`, `forces`, `stress`. Units in the metadata in SchNetPack's manner (`_property_unit_dict`,
    `_distance_unit`) are obeyed.
    """

    def __init__(self, path: Path, declared: UnitNames, wanted: LabelKeys) -> None:
        self._path = path
        try:
            with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as rows:
                self._ids = [row[0] for row in rows.execute("SELECT id FROM systems ORDER BY id")]
            rows.close()
            self._database = connect(str(path), type="db", use_lock_file=False)
            metadata: Mapping[str, Any] = self._database.metadata  # type: ignore[assignment]
        except (sqlite3.Error, ValueError, KeyError, OSError) as error:
            raise FileError(f"{path}: not a readable ASE database ({_brief(error)}).") from error
        probed = _probe(len(self._ids))
        counts = count_keys(self._atoms(index) for index in probed)
        self._keys = labels.choose_keys(counts, wanted, str(path))
        self._units = conversion(declared, _units_in_metadata(metadata, self._keys), source=str(path))
        notes = labels.unused_key_notes(counts, self._keys, len(probed), str(path))
        names = labels.names_beside_structure(counts)
        self._about = About(path, self._keys.used(), str(self._units), notes=notes, keys=names)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def about(self) -> About:
        return self._about

    def read(self, index: int) -> Sample:
        return sample_from_atoms(self._atoms(index), self._keys, self._units, f"{self._path}, frame {index}")

    def _atoms(self, index: int) -> ase.Atoms:
        try:
            row = self._database.get(id=self._ids[index])
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            atoms.info.update(row.data)
        except Exception as error:  # ASE decodes blobs on the way and fails with many kinds of errors
            raise FileError(f"{self._path}, row id {self._ids[index]}: cannot be read ({_brief(error)}).") from error
        return atoms


def sample_from_atoms(atoms: ase.Atoms, keys: LabelKeys, units: Conversion, origin: str) -> Sample:
    """Convert a structure with labels to eV and Å.

    Args:
        atoms: from a file, in its units.
        keys: where the labels are.
        units: factors to eV, Å, eV/Å, eV/Å³, e·Å.
        origin: file and frame, for messages.

    Raises:
        InputError: for structures or labels that cannot be used, naming file, frame and key.
    """
    system = system_from_atoms(atoms, units.length, origin)
    found = {label: _value(atoms, key) for label, key in keys.used().items()}
    found = {label: value for label, value in found.items() if value is not None}
    energy = forces = stress = from_virials = None
    if "energy" in found:
        energy = labels.energy_label(found["energy"], str(keys.energy), origin)
    if "forces" in found:
        forces = labels.forces_label(found["forces"], len(atoms), str(keys.forces), origin)
    if "stress" in found:
        stress = labels.stress_label(found["stress"], str(keys.stress), origin)
    if "virials" in found:
        from_virials = labels.stress_label(found["virials"], str(keys.virials), origin)
    dipole = ratios = None
    if "dipole" in found:
        dipole = labels.dipole_label(found["dipole"], str(keys.dipole), origin)
    if "hirshfeld_ratios" in found:
        ratios = labels.ratios_label(found["hirshfeld_ratios"], len(atoms), str(keys.hirshfeld_ratios), origin)
    read = {
        "energy": energy,
        "forces": forces,
        "stress": stress,
        "virials": from_virials,
        "dipole": dipole,
        "hirshfeld_ratios": ratios,
    }
    nan_labels = tuple(label for label in found if read[label] is None)
    return Sample(
        system=system,
        energy=None if energy is None else energy * units.energy,
        forces=None if forces is None else forces * units.force,
        stress=_stress(stress, from_virials, system, units, origin),
        dipole=None if dipole is None else dipole * units.dipole,
        hirshfeld_ratios=ratios,
        origin=origin,
        isolated_atom=is_isolated_atom(system, atoms.info),
        group=next((str(atoms.info[key]) for key in GROUP_KEYS if key in atoms.info), ""),
        nan_labels=nan_labels,
    )


def system_from_atoms(atoms: ase.Atoms, length: float, origin: str) -> System:
    """The structure in Å, with errors that name its origin."""
    if length != 1.0:
        atoms = atoms.copy()
        atoms.set_cell(np.asarray(atoms.cell) * length)
        atoms.positions *= length
    try:
        return System.from_ase(atoms)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


def is_isolated_atom(system: System, info: Mapping[str, Any]) -> bool:
    """A frame called so by `config_type`, or a single neutral atom without periodicity."""
    if len(system) != 1:
        return False
    named = str(info.get("config_type", "")).lower() in ISOLATED_ATOM
    return named or (not system.periodic and system.charge == 0)


def count_keys(structures: Iterable[ase.Atoms]) -> Counter[str]:
    """How many structures hold each key, in `info`, `arrays` or single-point results."""
    counts: Counter[str] = Counter()
    for atoms in structures:
        results = atoms.calc.results if atoms.calc is not None else {}
        counts.update({*atoms.info, *atoms.arrays, *(key for key, value in results.items() if value is not None)})
    return counts


def _value(atoms: ase.Atoms, key: str) -> Any:
    results = atoms.calc.results if atoms.calc is not None else {}
    places: list[Mapping[str, Any]] = [atoms.info, atoms.arrays, results]
    if key in _SINGLE_POINT_FIRST:
        places.reverse()
    return next((place[key] for place in places if place.get(key) is not None), None)


def _stress(
    stress: np.ndarray | None, virials: np.ndarray | None, system: System, units: Conversion, origin: str
) -> np.ndarray | None:
    """In eV/Å³; None without periodicity, where a stress means nothing."""
    if system.cell is None:
        return None
    stress = None if stress is None else stress * units.stress
    if virials is not None:
        virials = labels.stress_from_virials(virials * units.energy, system.cell)
    return labels.agreed_stress(stress, virials, origin)


def _units_in_metadata(metadata: Mapping[str, Any], keys: LabelKeys) -> UnitNames:
    units = metadata.get("_property_unit_dict", {})
    if not isinstance(units, Mapping):
        return UnitNames()
    named = {label: units.get(key) for label, key in keys.used().items()}
    return UnitNames(
        named.get("energy"),
        metadata.get("_distance_unit"),
        named.get("forces"),
        named.get("stress"),
        named.get("dipole"),
    )


def _probe(length: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(length, PROBED_FRAMES)).astype(int)).tolist() if length else []


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
