"""PDB file of one frame, for programs that want elements and bonds beside a trajectory without them."""

from collections.abc import Iterator
from io import StringIO

import ase
import ase.io
import numpy as np

from so3krates._errors import InputError
from so3krates.neighbors.contacts import find_contacts
from so3krates.system import System

BOND_FACTOR = 1.3
"""A bond is a pair closer than this times the sum of covalent radii, as for the monitor of dynamics."""
LARGEST_SERIAL = 99_999
"""Of an atom in a PDB file; bonds of larger structures have no names there."""
BONDS_PER_LINE = 4
LOWEST, HIGHEST = -999.0, 9999.0
"""Å; what eight columns with three digits after the point can hold."""


def pdb_text(system: System) -> str:
    """A structure in PDB: one residue MOL, atoms named like their elements, the cell if there is one, and bonds by
    covalent radii (also those across the faces of the cell).

    A structure too far from the origin for the columns of the format is moved to it.

    Raises:
        InputError: if the structure is longer than the format can say.
    """
    positions = system.positions
    if not _fits(positions):
        positions = positions - positions.mean(axis=0)
        if not _fits(positions):
            raise InputError(
                f"atoms of {system.formula} are {np.ptp(positions, axis=0).max():.0f} Å apart, farther than a PDB file "
                "can say; convert with --wrap, or to .extxyz."
            )
    atoms = ase.Atoms(numbers=system.numbers, positions=positions, cell=system.cell, pbc=system.pbc)
    text = StringIO()
    ase.io.write(text, atoms, format="proteindatabank")
    # Of one structure only: some readers take END behind the end of a model for another structure, without atoms.
    lines = [line for line in text.getvalue().splitlines(keepends=True) if not line.startswith(("MODEL", "ENDMDL"))]
    return "".join([*lines, *_connections(system), "END\n"])


def bonds_of(system: System) -> list[tuple[int, int]]:
    """Pairs of bonded atoms, each once, in order."""
    contacts = find_contacts(system, BOND_FACTOR)
    between = contacts.centers != contacts.others
    found = np.sort(np.stack([contacts.centers, contacts.others], axis=1)[between], axis=1)
    return [(int(i), int(j)) for i, j in np.unique(found, axis=0)]


def _fits(positions: np.ndarray) -> bool:
    return bool(positions.min() > LOWEST and positions.max() < HIGHEST)


def _connections(system: System) -> Iterator[str]:
    if len(system) > LARGEST_SERIAL:
        return
    partners: dict[int, list[int]] = {}
    for i, j in bonds_of(system):
        partners.setdefault(i, []).append(j)
        partners.setdefault(j, []).append(i)
    for atom in sorted(partners):
        others = sorted(partners[atom])
        for first in range(0, len(others), BONDS_PER_LINE):
            serials = [atom + 1, *(other + 1 for other in others[first : first + BONDS_PER_LINE])]
            yield "CONECT" + "".join(f"{serial:5d}" for serial in serials) + "\n"
