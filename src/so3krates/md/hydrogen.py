"""Hydrogen mass repartitioning: slower vibrations, and so a longer time step, at the same energies."""

from dataclasses import replace

import numpy as np

from so3krates._errors import InputError
from so3krates.neighbors.contacts import find_contacts
from so3krates.system import System

BOND_FACTOR = 1.3
"""Atoms closer than this times the sum of their covalent radii are bonded."""


def repartition_hydrogen_mass(system: System, hydrogen_mass_u: float = 3.0) -> System:
    """The same structure with heavier hydrogen atoms, their additional mass taken from the atoms they are bonded to.

    What depends on positions alone (structure, free energies) does not change; velocities, diffusion and spectra do.
    Feenstra, Hess and Berendsen, J. Comput. Chem. 20, 786 (1999).

    Args:
        system: the structure; each hydrogen needs a heavier atom within a bond's length, the nearest one gives.
        hydrogen_mass_u: new mass of hydrogen, u.

    Raises:
        InputError: for a mass below that of hydrogen, a hydrogen without a heavier neighbour, or a neighbour that would
            become lighter than its hydrogens.
    """
    hydrogens: list[int] = np.flatnonzero(system.numbers == 1).tolist()
    masses = system.masses.copy()
    if not np.isfinite(hydrogen_mass_u) or np.any(hydrogen_mass_u < masses[hydrogens]):
        raise InputError(
            f"hydrogen_mass_u is {hydrogen_mass_u}; it must be at least the mass the hydrogens have, "
            f"{masses[hydrogens].max(initial=0.0):.3f} u."
        )
    donors = _nearest_heavy(system)
    for atom in hydrogens:
        masses[donors[atom]] -= hydrogen_mass_u - masses[atom]
        masses[atom] = hydrogen_mass_u
    for atom in {donors[hydrogen] for hydrogen in hydrogens}:
        if masses[atom] < hydrogen_mass_u:
            raise InputError(
                f"with hydrogen_mass_u={hydrogen_mass_u:g} atom {atom} ({system.symbols[atom]}) would keep only "
                f"{masses[atom]:.3f} u; choose a smaller mass."
            )
    return replace(system, isotope_masses=masses)


def _nearest_heavy(system: System) -> dict[int, int]:
    """Of each hydrogen, the nearest atom of another element."""
    contacts = find_contacts(system, BOND_FACTOR)
    found: dict[int, tuple[float, int]] = {}
    for i, j, length in zip(contacts.centers, contacts.others, contacts.lengths, strict=True):
        for hydrogen, heavy in ((int(i), int(j)), (int(j), int(i))):
            if system.numbers[hydrogen] == 1 and system.numbers[heavy] > 1:
                found[hydrogen] = min(found.get(hydrogen, (np.inf, -1)), (float(length), heavy))
    lonely = set(np.flatnonzero(system.numbers == 1).tolist()) - set(found)
    if lonely:
        raise InputError(f"hydrogen atom {min(lonely)} of {system.formula} is bonded to no heavier atom.")
    return {hydrogen: heavy for hydrogen, (_, heavy) in found.items()}
