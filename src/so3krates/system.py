"""System: one structure on the host, in float64; to and from ASE."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ase
import numpy as np
from ase.data import atomic_masses, chemical_symbols

from so3krates._errors import InputError
from so3krates._typing import Float, Int

MIN_VOLUME = 1e-6
"""Å³; a periodic cell below this is called one of zero volume."""
CHARGE_KEYS = ("total_charge", "charge")
MULTIPLICITY_KEYS = ("total_spin", "spin_multiplicity", "multiplicity")


@dataclass(frozen=True, eq=False)
class System:
    """Positions, elements, cell, charge and spin of one structure.

    Attributes:
        positions: Å.
        numbers: atomic numbers, 1 to 118.
        cell: cell vectors in rows, Å; None for a structure without any periodic axis.
        pbc: periodic axes.
        charge: total charge in e.
        unpaired: number of unpaired electrons, 2S.
        isotope_masses: masses in u if they are not the standard ones; None: standard atomic masses.

    Raises:
        InputError: shapes that do not fit, unknown elements, positions that are not finite, periodic axes without a
            cell, a periodic cell of zero volume, or a charge that leaves fewer than no electrons.
    """

    positions: Float[np.ndarray, "atoms 3"]
    numbers: Int[np.ndarray, " atoms"]
    cell: Float[np.ndarray, "3 3"] | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    charge: float = 0.0
    unpaired: float = 0.0
    isotope_masses: Float[np.ndarray, " atoms"] | None = None

    def __post_init__(self) -> None:
        positions = np.array(self.positions, dtype=np.float64)
        numbers = np.array(self.numbers, dtype=np.int64)
        if positions.ndim != 2 or positions.shape[1:] != (3,) or numbers.shape != positions.shape[:1]:
            raise InputError(
                f"positions have shape {positions.shape} and numbers {numbers.shape}; expected (atoms, 3) and (atoms,)."
            )
        if not np.isfinite(positions).all():
            raise InputError(f"position of atom {int(np.argwhere(~np.isfinite(positions))[0, 0])} is not finite.")
        unknown = (numbers < 1) | (numbers > 118)
        if unknown.any():
            atom = int(np.argmax(unknown))
            raise InputError(f"atom {atom} has atomic number {int(numbers[atom])}; known are 1 to 118.")
        _refuse_missing_electrons(numbers, self.charge)
        if not np.isfinite([self.charge, self.unpaired]).all() or self.unpaired < 0:
            raise InputError(
                f"charge {self.charge} and number of unpaired electrons {self.unpaired} must be finite, and the latter "
                "not negative."
            )
        pbc = tuple(bool(flag) for flag in self.pbc)
        if len(pbc) != 3:
            raise InputError(f"pbc {self.pbc!r} must hold three flags.")
        for name, value in (
            ("positions", positions),
            ("numbers", numbers),
            ("pbc", pbc),
            ("cell", _checked_cell(self.cell, pbc)),  # type: ignore[arg-type]
            ("charge", float(self.charge)),
            ("unpaired", float(self.unpaired)),
            ("isotope_masses", _checked_masses(self.isotope_masses, len(numbers))),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def periodic(self) -> bool:
        """Whether any axis is periodic."""
        return any(self.pbc)

    @property
    def masses(self) -> Float[np.ndarray, " atoms"]:
        """Masses in u: those of the isotopes, or standard atomic masses."""
        return atomic_masses[self.numbers] if self.isotope_masses is None else self.isotope_masses

    @property
    def center_of_mass(self) -> Float[np.ndarray, " 3"]:
        """Å; of the positions as they are given."""
        return np.average(self.positions, axis=0, weights=self.masses)

    @property
    def symbols(self) -> list[str]:
        return [chemical_symbols[z] for z in self.numbers]

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order."""
        return ase.Atoms(numbers=self.numbers).get_chemical_formula()

    def moved(self, positions: Float[np.ndarray, "atoms 3"]) -> "System":
        """The same structure with other positions."""
        return replace(self, positions=positions)

    def without_cell(self) -> "System":
        """The same atoms in vacuum."""
        return replace(self, cell=None, pbc=(False, False, False)) if self.periodic else self

    @classmethod
    def from_ase(cls, atoms: ase.Atoms) -> "System":
        """Take positions, elements, cell, periodicity, masses if they were set, and charge and spin from `atoms.info`.

        An empty cell vector along an axis that is not periodic becomes one of 1 Å, to which a stress then refers.

        Charge: `total_charge` or `charge`. Spin: the multiplicity 2S + 1 as `total_spin`, `spin_multiplicity` or
        `multiplicity`. Without them the structure is a neutral singlet.

        Raises:
            InputError: for values that contradict each other or make no sense, and for a charge without a multiplicity,
                or a multiplicity without a charge, that the number of electrons does not allow.
        """
        _refuse_half_given(atoms)
        multiplicity = _info_value(atoms.info, MULTIPLICITY_KEYS, 1.0)
        if multiplicity < 1 or multiplicity != round(multiplicity):
            raise InputError(
                f"spin multiplicity {multiplicity} in atoms.info; expected a whole number, 1 for a singlet."
            )
        periodic = bool(np.any(atoms.pbc))
        return cls(
            positions=atoms.positions,
            numbers=atoms.numbers,
            cell=np.array(atoms.cell.complete() if _missing_rows_are_free(atoms) else atoms.cell) if periodic else None,
            pbc=tuple(bool(flag) for flag in atoms.pbc),  # type: ignore[arg-type]
            charge=_info_value(atoms.info, CHARGE_KEYS, 0.0),
            unpaired=multiplicity - 1.0,
            isotope_masses=atoms.get_masses() if atoms.has("masses") else None,
        )

    def to_ase(self) -> ase.Atoms:
        """ASE Atoms; charge and multiplicity go to `info`, both or, for a neutral singlet, none."""
        atoms = ase.Atoms(
            numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, masses=self.isotope_masses
        )
        if self.charge or self.unpaired:
            atoms.info |= {"total_charge": self.charge, "total_spin": self.unpaired + 1.0}
        return atoms


def heights(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """Distances between opposite faces of the cell, Å; the same for left- and right-handed cells."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


EMPTY_BOX = 10.0
"""A cell this many times larger than what it holds, and than 10 Å, only stands for vacuum."""


def in_empty_box(system: System, wrapped: bool = False) -> bool:
    """Whether every periodic axis is so long that the cell only stands for vacuum, as the 1000 Å boxes of MD22 do.

    With `wrapped`, also where the structure lies across the faces of the cell.
    """
    if system.cell is None or not len(system):
        return False
    height = heights(system.cell)
    fractional = system.positions @ np.linalg.inv(system.cell)
    extent = (_ring_extent(fractional) if wrapped else np.ptp(fractional, axis=0)) * height
    return bool(np.all((height >= EMPTY_BOX * np.maximum(extent, 10.0)) | ~np.array(system.pbc)))


def _ring_extent(fractional: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, " 3"]:
    """What of each axis is left without the largest gap, going round."""
    inside = np.sort(fractional % 1.0, axis=0)
    gaps = np.diff(np.concatenate([inside, inside[:1] + 1.0]), axis=0)
    return 1.0 - gaps.max(axis=0)


def _refuse_half_given(atoms: ase.Atoms) -> None:
    charge = _info_value(atoms.info, CHARGE_KEYS, 0.0)
    _refuse_missing_electrons(atoms.numbers, charge)
    given = [key for key in CHARGE_KEYS if key in atoms.info]
    spins = [key for key in MULTIPLICITY_KEYS if key in atoms.info]
    multiplicity = _info_value(atoms.info, MULTIPLICITY_KEYS, 1.0)
    if multiplicity < 1 or electrons_fit(atoms.numbers, charge, multiplicity - 1.0):
        return
    if spins and not given:
        raise InputError(
            f"atoms.info['{spins[0]}'] is {multiplicity:g}, which {int(atoms.numbers.sum())} electrons of neutral "
            f"{atoms.get_chemical_formula()} cannot have, and no charge is given; set "
            f"atoms.info['{CHARGE_KEYS[0]}'] too, or correct the multiplicity (2S + 1)."
        )
    if charge and not spins:
        raise InputError(
            f"atoms.info['{given[0]}'] is {charge:g}, which leaves {atoms.get_chemical_formula()} with "
            f"{int(atoms.numbers.sum()) - round(charge)} electrons, and no multiplicity is given; set "
            f"atoms.info['{MULTIPLICITY_KEYS[0]}'] (2S + 1, 2 for a doublet)."
        )


def _refuse_missing_electrons(numbers: Int[np.ndarray, " atoms"], charge: float) -> None:
    if charge > (electrons := int(numbers.sum())):
        raise InputError(
            f"{ase.Atoms(numbers=numbers).get_chemical_formula()} has a total charge of {charge:g} e, which leaves "
            f"{electrons - charge:g} electrons; neutral it has {electrons}, so correct the charge."
        )


def impossible_spin(system: System) -> str | None:
    """A sentence about a charge and a spin that do not go together, such as a radical without a multiplicity."""
    if electrons_fit(system.numbers, system.charge, system.unpaired):
        return None
    return (
        f"{system.formula} has {int(system.numbers.sum()) - round(system.charge)} electrons with a total charge of "
        f"{system.charge:g} e, and these cannot have a multiplicity of {system.unpaired + 1.0:g}, with which it is "
        f"evaluated all the same; set {CHARGE_KEYS[0]} and {MULTIPLICITY_KEYS[0]} (2S + 1, 2 for a doublet) in the "
        "structure's file or in atoms.info."
    )


def electrons_fit(numbers: Int[np.ndarray, " atoms"], charge: float, unpaired: float) -> bool:
    """Whether so many electrons can be unpaired: an odd number in all leaves an odd number of them. True for numbers
    that are not whole, of which nothing can be said."""
    if not (np.isfinite([charge, unpaired]).all() and charge == round(charge) and unpaired == round(unpaired)):
        return True
    return (int(numbers.sum()) - round(charge) - round(unpaired)) % 2 == 0


def _missing_rows_are_free(atoms: ase.Atoms) -> bool:
    """Zero cell vectors are fine along axes that are not periodic; ASE completes them."""
    empty = ~np.any(np.asarray(atoms.cell), axis=1)
    return bool(np.any(empty)) and not bool(np.any(empty & atoms.pbc))


def _checked_masses(masses: Any, atoms: int) -> Float[np.ndarray, " atoms"] | None:
    if masses is None:
        return None
    masses = np.array(masses, dtype=np.float64)
    if masses.shape != (atoms,) or not (masses > 0).all() or not np.isfinite(masses).all():
        raise InputError(f"masses {masses.tolist()} must be {atoms} positive numbers.")
    return masses


def _checked_cell(cell: Any, pbc: tuple[bool, bool, bool]) -> Float[np.ndarray, "3 3"] | None:
    if not any(pbc):
        return None
    if cell is None:
        raise InputError(f"pbc is {pbc} but no cell is given; give cell vectors or set pbc to False.")
    cell = np.array(cell, dtype=np.float64)
    if cell.shape != (3, 3):
        raise InputError(f"cell has shape {cell.shape}; expected (3, 3) with cell vectors in rows.")
    if not np.isfinite(cell).all():
        raise InputError("the cell holds values that are not finite.")
    if not np.any(cell):
        raise InputError(f"pbc is {pbc} but all cell vectors are zero; give cell vectors or set pbc to False.")
    if abs(np.linalg.det(cell)) < MIN_VOLUME:
        raise InputError(f"the cell {cell.tolist()} has zero volume; its vectors must be linearly independent.")
    return cell


def _info_value(info: Mapping[str, Any], keys: tuple[str, ...], default: float) -> float:
    found = {key: info[key] for key in keys if key in info}
    values = {}
    for key, value in found.items():
        try:
            values[key] = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"atoms.info['{key}'] is {value!r}; expected a number.") from error
    if len(set(values.values())) > 1:
        raise InputError(f"atoms.info gives different values for the same thing: {values}; keep one.")
    return next(iter(values.values()), default)
