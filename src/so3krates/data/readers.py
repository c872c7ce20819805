"""read_dataset: any supported file of reference data, by its name."""

from collections.abc import Callable
from pathlib import Path

from so3krates._errors import FileError, InputError
from so3krates.data.ase_readers import DatabaseFrames, TrajFrames
from so3krates.data.declared_units import UnitNames
from so3krates.data.extxyz_reader import ExtxyzFrames
from so3krates.data.frames import Frames
from so3krates.data.hdf5_reader import Hdf5Frames
from so3krates.data.labels import LabelKeys
from so3krates.data.npz_reader import NpzFrames

KEYED: dict[str, Callable[[Path, UnitNames, LabelKeys], Frames]] = {
    ".xyz": ExtxyzFrames,
    ".extxyz": ExtxyzFrames,
    ".traj": TrajFrames,
    ".db": DatabaseFrames,
}
FIXED: dict[str, Callable[[Path, UnitNames], Frames]] = {
    ".npz": NpzFrames,
    ".h5": Hdf5Frames,
    ".hdf5": Hdf5Frames,
}
EXTENSIONS = (*KEYED, *FIXED)


def read_dataset(
    path: Path | str,
    *,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    force_unit: str | None = None,
    stress_unit: str | None = None,
    dipole_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virials_key: str | None = None,
    dipole_key: str | None = None,
    hirshfeld_key: str | None = None,
    split: str | None = None,
) -> Frames:
    """Open a file of reference data; frames are read when they are asked for, in eV, Å, eV/Å, eV/Å³ and e·Å.

    Args:
        path: `.extxyz`, `.xyz`, `.traj`, `.db`, `.npz`, `.h5` or `.hdf5`; or `FILE@NAME` for a named subset and
            `FILE@START:STOP` for a slice of frames.
        energy_unit: unit of the energies, such as "kcal/mol", where the file does not say it.
        length_unit: unit of positions and cells.
        force_unit: unit of the forces if it is not energy/length.
        stress_unit: unit of the stress if it is not energy/length³, such as "GPa" or "vasp-kbar".
        dipole_unit: unit of the dipoles if it is not e·length, such as "Debye".
        energy_key: key of the energy in extxyz, traj and db files, if it is none of the usual.
        forces_key: key of the forces, likewise.
        stress_key: key of the stress, likewise.
        virials_key: key of the virials (−σV), likewise.
        dipole_key: key of the dipole, likewise.
        hirshfeld_key: key of the Hirshfeld ratios, likewise.
        split: a named subset or a slice, as after the `@`.

    Returns:
        A sequence of samples; its `about` says which keys and units were used and names the subsets.

    Raises:
        FileError: for a missing, damaged or unknown file.
        InputError: for contents that cannot be used, units that are not known, and files or subsets without frames.
    """
    file, named = split_path(path)
    if named and split:
        raise InputError(f"{path}: a subset is named both in the path and by split='{split}'; give one.")
    declared = UnitNames(energy_unit, length_unit, force_unit, stress_unit, dipole_unit)
    keys = LabelKeys(energy_key, forces_key, stress_key, virials_key, dipole_key, hirshfeld_key)
    frames = _open(file, declared, keys)
    if not len(frames):
        raise InputError(f"{file}: the file holds no frames.")
    name = split or named
    return frames.subset(name) if name else frames


def split_path(path: Path | str) -> tuple[Path, str]:
    """Separate `FILE@NAME`; a file whose own name holds an @ is taken whole if it exists."""
    text = str(path)
    if "@" not in Path(text).name or Path(text).exists():
        return Path(text), ""
    file, _, name = text.rpartition("@")
    return Path(file), name


def _open(path: Path, declared: UnitNames, keys: LabelKeys) -> Frames:
    if not path.exists():
        raise FileError(f"{path}: no such file.")
    if path.is_dir():
        raise FileError(f"{path}: is a directory; give a file ({', '.join(EXTENSIONS)}).")
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise FileError(f"{path}: unknown extension '{path.suffix}'; known are {', '.join(EXTENSIONS)}.")
    if path.stat().st_size == 0:
        raise FileError(f"{path}: the file is empty.")
    if extension in KEYED:
        return KEYED[extension](path, declared, keys)
    if keys.used():
        raise InputError(f"{path}: keys {keys.used()} were asked for, but {extension} files have a fixed layout.")
    return FIXED[extension](path, declared)
