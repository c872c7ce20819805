"""Units of reference data: declared once by the user, stated by the file, or fixed by convention; converted once."""

from typing import NamedTuple

from so3krates._errors import InputError
from so3krates.units import DEBYE, ENERGY_UNITS, GPA, KBAR, LENGTH_UNITS

_ALIASES = {
    "ev": "eV",
    "electronvolt": "eV",
    "mev": "meV",
    "hartree": "Hartree",
    "ha": "Hartree",
    "eh": "Hartree",
    "kcal/mol": "kcal/mol",
    "kcalmol-1": "kcal/mol",
    "kj/mol": "kJ/mol",
    "kjmol-1": "kJ/mol",
    "ry": "Ry",
    "rydberg": "Ry",
    "angstrom": "Angstrom",
    "ang": "Angstrom",
    "a": "Angstrom",
    "å": "Angstrom",
    "bohr": "Bohr",
    "a0": "Bohr",
    "nm": "nm",
}
_PRESSURES = {"gpa": GPA, "kbar": KBAR, "vasp-kbar": -KBAR}


class UnitNames(NamedTuple):
    """Names of units, None where nothing is said."""

    energy: str | None = None
    length: str | None = None
    force: str | None = None
    stress: str | None = None
    dipole: str | None = None


class Conversion(NamedTuple):
    """Factors from the units of a file to eV, Å, eV/Å, eV/Å³ and e·Å, with the names they came from."""

    energy: float
    length: float
    force: float
    stress: float
    dipole: float
    names: UnitNames

    def __str__(self) -> str:
        energy, length, force, stress, dipole = self.names
        shown = f"{energy}, {length}, {force or f'{energy}/{length}'}, {stress or f'{energy}/{length}^3'}"
        return shown if dipole is None else f"{shown}, {dipole}"


NOTHING_SAID = UnitNames()
EV_ANGSTROM = UnitNames("eV", "Angstrom")
OPTIONS = UnitNames("--energy-unit", "--length-unit", "--force-unit", "--stress-unit", "--dipole-unit")


def conversion(
    declared: UnitNames, stated: UnitNames = NOTHING_SAID, convention: UnitNames = EV_ANGSTROM, source: str = "data"
) -> Conversion:
    """Decide the units of a file.

    A declaration by the user and a statement in the file must agree; either goes before the convention of the format.
    Forces without a unit of their own are in energy/length, stresses in energy/length³, dipoles in e times the length.

    Args:
        declared: what the user says.
        stated: what the file says.
        convention: what files of this format hold when nobody says anything; None entries must be said.
        source: the file, for messages.

    Raises:
        InputError: unknown units, a contradiction, or no way to know.
    """
    for quantity, said, written in zip(UnitNames._fields, declared, stated, strict=True):
        if said and written and _factor(quantity, said, source) != _factor(quantity, written, source):
            raise InputError(
                f"{source}: mixed units, the file states {quantity} unit '{written}' but '{said}' was declared; "
                "drop the declaration or correct the file."
            )
    names = UnitNames(*(a or b or c for a, b, c in zip(declared, stated, convention, strict=True)))
    for quantity, name, option in zip(UnitNames._fields[:2], names, OPTIONS, strict=False):
        if name is None:
            raise InputError(
                f"{source}: the file does not say its unit of {quantity}; declare it, for instance {option} "
                f"{'kcal/mol' if quantity == 'energy' else 'Angstrom'} (MD17 files hold kcal/mol and Angstrom)."
            )
    energy = _factor("energy", str(names.energy), source)
    length = _factor("length", str(names.length), source)
    force = _factor("force", names.force, source) if names.force else energy / length
    stress = _factor("stress", names.stress, source) if names.stress else energy / length**3
    dipole = _factor("dipole", names.dipole, source) if names.dipole else length
    return Conversion(energy, length, force, stress, dipole, names)


def _factor(quantity: str, name: str, source: str) -> float:
    """Factor from the named unit to eV, Å, eV/Å, eV/Å³ or e·Å."""
    try:
        if quantity == "energy":
            return ENERGY_UNITS[_canonical(name)]
        if quantity == "length":
            return LENGTH_UNITS[_canonical(name)]
        if quantity == "dipole":
            return _dipole_factor(name)
        if quantity == "stress" and _folded(name) in _PRESSURES:
            return _PRESSURES[_folded(name)]
        energy, _, length = name.rpartition("/")
        power = 1 if quantity == "force" else 3
        base = length.removesuffix("^3").removesuffix("3") if power == 3 else length
        if power == 3 and base == length:
            raise KeyError(name)
        return ENERGY_UNITS[_canonical(energy)] / LENGTH_UNITS[_canonical(base)] ** power
    except KeyError:
        raise InputError(f"{source}: unknown {quantity} unit '{name}'; known are {_known(quantity)}.") from None


def _dipole_factor(name: str) -> float:
    if _folded(name) in ("debye", "d"):
        return DEBYE
    charge, _, length = name.replace("·", "*").rpartition("*")
    if _folded(charge) != "e":
        raise KeyError(name)
    return LENGTH_UNITS[_canonical(length)]


def _folded(name: str) -> str:
    return name.strip().lower().replace(" ", "").replace("^-1", "-1")


def _canonical(name: str) -> str:
    return _ALIASES[_folded(name)]


def _known(quantity: str) -> str:
    return {
        "energy": ", ".join(ENERGY_UNITS),
        "length": ", ".join(LENGTH_UNITS),
        "force": "an energy over a length such as eV/Angstrom, Hartree/Bohr, kcal/mol/Angstrom",
        "dipole": "Debye, or e times a length such as e*Angstrom, e*Bohr",
        "stress": "GPa, kbar, vasp-kbar (kbar with VASP's sign), or an energy over a volume such as eV/Angstrom^3",
    }[quantity]
