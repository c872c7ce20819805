"""NumPy archives: this package's own layout, MD17 and sGDML (R, z, E, F), rMD17 (coords, nuclear_charges, …)."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from so3krates._errors import FileError, InputError
from so3krates.data import labels
from so3krates.data.ase_readers import is_isolated_atom
from so3krates.data.declared_units import EV_ANGSTROM, UnitNames, conversion
from so3krates.data.frames import About, Frames
from so3krates.data.sample import Sample
from so3krates.system import System, electrons_fit


class _Layout(NamedTuple):
    """Names of the members of one family of files, None where it has no such member."""

    positions: str
    numbers: str
    energy: str
    forces: str
    stress: str | None
    cell: str | None
    convention: UnitNames


LAYOUTS = (
    _Layout("positions", "numbers", "energy", "forces", "stress", "cell", EV_ANGSTROM),
    _Layout("R", "z", "E", "F", None, "lattice", UnitNames()),
    _Layout("coords", "nuclear_charges", "energies", "forces", None, None, UnitNames("kcal/mol", "Angstrom")),
)
MEMBERS_OF_UNITS = ("e_unit", "r_unit", "f_unit", "s_unit", "d_unit")


class NpzFrames(Frames):
    """Frames of one `.npz`; members stored without compression are mapped, not read.

    `numbers` may be (atoms,) or (frames, atoms), `cell` (3, 3) or (frames, 3, 3), energies (frames,) or (frames, 1).
    Arrays `split_<name>` of frame indices become named subsets. sGDML's `lattice` holds the cell vectors in columns
    and means periodicity along all axes.

    Raises:
        FileError: for a damaged archive.
        InputError: for members that are missing or do not fit each other.
    """

    def __init__(self, path: Path, declared: UnitNames) -> None:
        self._path = path
        members = _Members(path)
        layout = self._layout = _recognised(members.names, path)
        stated = UnitNames(*map(members.text, MEMBERS_OF_UNITS))
        self._units = conversion(declared, stated, layout.convention, str(path))
        self._positions = members.array(layout.positions)
        if self._positions.ndim != 3 or self._positions.shape[2] != 3:
            raise InputError(
                f"{path}: '{layout.positions}' has shape {self._positions.shape}, expected (frames, atoms, 3)."
            )
        frames, atoms = self._positions.shape[:2]
        self._numbers = members.fitting(layout.numbers, [(atoms,), (frames, atoms)])
        self._energy = members.optional(layout.energy, [(frames,), (frames, 1)])
        self._forces = members.optional(layout.forces, [(frames, atoms, 3)])
        self._stress = members.optional(layout.stress, [(frames, 3, 3), (frames, 6), (frames, 9)])
        self._cell = members.optional(layout.cell, [(3, 3), (frames, 3, 3)])
        self._pbc = members.optional("pbc", [(3,), (frames, 3), ()])
        self._dipole = members.optional("dipole", [(frames, 3)])
        self._ratios = members.optional("hirshfeld_ratios", [(frames, atoms)])
        self._charge = members.optional("charge", [(), (frames,)])
        self._unpaired = members.optional("unpaired", [(), (frames,)])
        used = {"energy": layout.energy, "forces": layout.forces, "stress": layout.stress}
        used |= {"dipole": "dipole", "hirshfeld_ratios": "hirshfeld_ratios"}
        present = {label: name for label, name in used.items() if name in members.names}
        names = labels.names_beside_structure(members.names)
        self._about = About(path, present, str(self._units), members.subsets(frames), keys=names)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def about(self) -> About:
        return self._about

    def read(self, index: int) -> Sample:
        origin = f"{self._path}, frame {index}"
        layout, units = self._layout, self._units
        system = self._system(index, origin)
        energy = forces = stress = None
        nan_labels: list[str] = []
        if self._energy is not None:
            energy = labels.energy_label(self._energy[index], layout.energy, origin)
            nan_labels += ["energy"] * (energy is None)
        if self._forces is not None:
            forces = labels.forces_label(self._forces[index], len(system), layout.forces, origin)
            nan_labels += ["forces"] * (forces is None)
        if self._stress is not None and system.periodic:
            stress = labels.stress_label(self._stress[index], str(layout.stress), origin)
            nan_labels += ["stress"] * (stress is None)
        dipole = ratios = None
        if self._dipole is not None:
            dipole = labels.dipole_label(self._dipole[index], "dipole", origin)
            nan_labels += ["dipole"] * (dipole is None)
        if self._ratios is not None:
            ratios = labels.ratios_label(self._ratios[index], len(system), "hirshfeld_ratios", origin)
            nan_labels += ["hirshfeld_ratios"] * (ratios is None)
        return Sample(
            system=system,
            energy=None if energy is None else energy * units.energy,
            forces=None if forces is None else forces * units.force,
            stress=None if stress is None else stress * units.stress,
            dipole=None if dipole is None else dipole * units.dipole,
            hirshfeld_ratios=ratios,
            origin=origin,
            isolated_atom=is_isolated_atom(system, {}),
            nan_labels=tuple(nan_labels),
        )

    def _system(self, index: int, origin: str) -> System:
        numbers = self._numbers if self._numbers.ndim == 1 else self._numbers[index]
        pbc = self._axes(index)
        try:
            system = System(
                positions=self._positions[index] * self._units.length,
                numbers=numbers.astype(np.int64),
                cell=self._cell_rows(index) if any(pbc) else None,
                pbc=pbc,
                charge=_per_frame(self._charge, index),
                unpaired=_per_frame(self._unpaired, index),
            )
        except InputError as error:
            raise InputError(f"{origin}: {error}") from error
        given = (self._charge is not None, self._unpaired is not None)
        if any(given) and not all(given) and not electrons_fit(system.numbers, system.charge, system.unpaired):
            there, missing = ("charge", "unpaired") if given[0] else ("unpaired", "charge")
            raise InputError(
                f"{origin}: '{there}' is {getattr(system, there):g}, which does not fit the electrons of "
                f"{system.formula} unless '{missing}' is given too."
            )
        return system

    def _axes(self, index: int) -> tuple[bool, bool, bool]:
        if self._pbc is None:
            periodic = self._cell is not None
            return periodic, periodic, periodic
        x, y, z = self._pbc[index] if self._pbc.ndim == 2 else np.broadcast_to(self._pbc, 3)
        return bool(x), bool(y), bool(z)

    def _cell_rows(self, index: int) -> np.ndarray | None:
        if self._cell is None:
            return None
        cell = np.array(self._cell if self._cell.ndim == 2 else self._cell[index], dtype=np.float64)
        return (cell.T if self._layout.cell == "lattice" else cell) * self._units.length


class _Members:
    """The arrays of an archive by name. Nothing is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        except (zipfile.BadZipFile, OSError) as error:
            raise FileError(f"{path}: not a readable .npz archive ({error}); it may be truncated.") from error
        self._entries = entries
        self.names = tuple(entries)

    def array(self, name: str) -> np.ndarray:
        """The named array; mapped from disk if it is stored without compression."""
        if name not in self._entries:
            raise InputError(f"{self._path}: member '{name}' is missing; found {', '.join(self.names)}.")
        entry = self._entries[name]
        try:
            if entry.compress_type == zipfile.ZIP_STORED:
                mapped = _mapped(self._path, entry)
                if mapped is not None:
                    return mapped
            with np.load(self._path, allow_pickle=False) as archive:
                return archive[name]
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as error:
            raise FileError(f"{self._path}: member '{name}' cannot be read ({error}).") from error
        except Exception as error:  # zlib.error has no common base with the above
            raise FileError(f"{self._path}: member '{name}' is damaged ({error}).") from error

    def fitting(self, name: str, shapes: list[tuple[int, ...]]) -> np.ndarray:
        array = self.array(name)
        if array.shape not in shapes:
            expected = " or ".join(map(str, shapes))
            raise InputError(f"{self._path}: '{name}' has shape {array.shape}, expected {expected}.")
        if array.dtype.kind not in "fiub":
            raise InputError(f"{self._path}: '{name}' has type {array.dtype}, expected numbers.")
        return array

    def optional(self, name: str | None, shapes: list[tuple[int, ...]]) -> np.ndarray | None:
        return None if name is None or name not in self._entries else self.fitting(name, shapes)

    def text(self, name: str) -> str | None:
        if name not in self._entries:
            return None
        value = self.array(name).item()
        return value.decode() if isinstance(value, bytes) else str(value)

    def subsets(self, frames: int) -> dict[str, np.ndarray]:
        """`split_<name>` members, as frame indices inside the file."""
        chosen = {name.removeprefix("split_"): self.array(name) for name in self.names if name.startswith("split_")}
        for name, indices in chosen.items():
            if indices.dtype.kind not in "iu" or indices.ndim != 1:
                raise InputError(f"{self._path}: 'split_{name}' must be a list of frame numbers, got {indices.dtype}.")
            if indices.size and not (0 <= indices.min() and indices.max() < frames):
                raise InputError(f"{self._path}: 'split_{name}' points outside the {frames} frames of the file.")
        return chosen


def _recognised(names: tuple[str, ...], path: Path) -> _Layout:
    for layout in LAYOUTS:
        if layout.positions in names and layout.numbers in names:
            return layout
    expected = "; ".join(", ".join(layout[:4]) for layout in LAYOUTS)
    raise InputError(f"{path}: no known layout among members {', '.join(names) or '(none)'}; expected {expected}.")


def _mapped(path: Path, entry: zipfile.ZipInfo) -> np.ndarray | None:
    """Map a stored member; None where NumPy's header is of a version or order that cannot be mapped simply."""
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        name_length, extra_length = np.frombuffer(file.read(4), dtype="<u2").tolist()
        file.seek(entry.header_offset + 30 + name_length + extra_length)
        start = file.tell()
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
        offset = file.tell()
    if fortran or dtype.hasobject or not shape or 0 in shape:
        return None
    if offset - start + int(np.prod(shape)) * dtype.itemsize > entry.file_size:
        raise FileError(f"{path}: member '{entry.filename}' is shorter than its header says; the file is damaged.")
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def _per_frame(values: np.ndarray | None, index: int) -> float:
    if values is None:
        return 0.0
    return float(values if values.ndim == 0 else values[index])
