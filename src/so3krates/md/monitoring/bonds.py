"""Bonds of the start: given or found, their lengths later, and the molecules they make."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from so3krates._errors import InputError
from so3krates._typing import Bool, Float, Int
from so3krates.md.monitoring.monitor import Monitor
from so3krates.neighbors.contacts import find_contacts
from so3krates.neighbors.host import find_pairs
from so3krates.system import System

COVALENT = (1, *range(5, 10), *range(14, 18), *range(32, 36), *range(51, 54), 85)
"""Elements between which there are bonds: non-metals and metalloids. What holds metals and salts together is no bond
that could break once, and a metal's ligands come and go."""


class Bonds(NamedTuple):
    """Bonds, each once: r_ij = r_j − r_i + S·H."""

    centers: Int[np.ndarray, " bonds"]
    others: Int[np.ndarray, " bonds"]
    shifts: Int[np.ndarray, "bonds 3"]
    lengths: Float[np.ndarray, " bonds"]
    """Of the start or as given, Å."""

    def lengths_in(
        self, positions: Float[np.ndarray, "frames atoms 3"], cells: Float[np.ndarray, "frames 3 3"] | None
    ) -> Float[np.ndarray, "frames bonds"]:
        """Å; positions must not be wrapped into the cell."""
        vectors = positions[:, self.others].astype(np.float64) - positions[:, self.centers]
        if cells is not None:
            vectors = vectors + self.shifts @ cells
        return np.linalg.norm(vectors, axis=-1)

    def molecules(self, atoms: int) -> Int[np.ndarray, " atoms"]:
        """The number of the molecule that each atom belongs to: what bonds connect."""
        return connected(self.centers, self.others, atoms)


def covalent(system: System) -> Bool[np.ndarray, " atoms"]:
    """Whether each atom is of an element that makes covalent bonds."""
    return np.isin(system.numbers, COVALENT)


def connected(
    first: Int[np.ndarray, " links"], second: Int[np.ndarray, " links"], atoms: int
) -> Int[np.ndarray, " atoms"]:
    """The number of the part that each atom belongs to: what links connect."""
    return connected_components(_links(first, second, atoms), directed=False)[1].astype(np.int64)


def find_bonds(system: System, factor: float) -> Bonds:
    """Pairs of covalent elements closer than `factor` times the sum of their covalent radii."""
    return Bonds(*find_contacts(system, factor, covalent(system)))


def alone(system: System, factor: float, cutoff: float) -> bool:
    """Whether a periodic structure is one molecule, by bonds as `find_bonds` sees them, none of whose atoms is within
    `cutoff` (Å) of an image of any of them. What bonds hold together through faces of the cell is never alone."""
    bonds = find_bonds(system, factor)
    if len(np.unique(bonds.molecules(len(system)))) != 1:
        return False
    # The molecule may lie across faces of the cell: from atom to atom along bonds, the cell in which it goes on.
    cells = _followed(bonds, bonds.shifts, len(system))
    pairs = find_pairs(system, cutoff)
    return not np.any(pairs.shifts + cells[pairs.centers] - cells[pairs.others])


def with_images_of(bonds: Bonds, system: System) -> System:
    """Atoms moved by whole cell vectors so that `bonds`, found in another start with this cell, join nearest images.

    Programs wrap atoms into the cell in different ways; the energy does not know, but a bond across a face does.
    """
    if system.cell is None or not len(bonds.lengths):
        return system
    vectors = system.positions[bonds.others] - system.positions[bonds.centers] + bonds.shifts @ system.cell
    off = np.where(system.pbc, -np.round(vectors @ np.linalg.inv(system.cell)), 0.0).astype(int)
    if not off.any():
        return system
    return system.moved(system.positions + _followed(bonds, off, len(system)) @ system.cell)


def watched_bonds(monitor: Monitor, system: System) -> Bonds:
    """The bonds of the start that a monitor watches.

    Raises:
        InputError: bonds that are not pairs of atoms, or as many lengths as bonds missing.
    """
    if monitor.bond_lengths is not None and len(monitor.bond_lengths) != len(monitor.bonds or ()):
        raise InputError(
            f"{len(monitor.bond_lengths)} bond_lengths for {len(monitor.bonds or ())} bonds; give one for each."
        )
    if monitor.bonds is None:
        return find_bonds(system, monitor.bond_factor)
    index = np.asarray(monitor.bonds, int).reshape(-1, 2)
    if index.size and (index.min() < 0 or index.max() >= len(system) or np.any(index[:, 0] == index[:, 1])):
        raise InputError(f"bonds {monitor.bonds} must be pairs of different atoms from 0 to {len(system) - 1}.")
    difference = system.positions[index[:, 1]] - system.positions[index[:, 0]]
    shifts = np.zeros((len(index), 3), int)
    if system.cell is not None:
        fractional = difference @ np.linalg.inv(system.cell)
        shifts = np.where(system.pbc, -np.round(fractional), 0.0).astype(int)
        difference = difference + shifts @ system.cell
    given = monitor.bond_lengths
    lengths = np.linalg.norm(difference, axis=1) if given is None else np.asarray(given)
    return Bonds(index[:, 0], index[:, 1], shifts, lengths)


def _followed(bonds: Bonds, steps: Int[np.ndarray, "bonds 3"], atoms: int) -> Int[np.ndarray, "atoms 3"]:
    """The sum of steps along bonds, from the first atom of each molecule to each of its atoms."""
    along = {}
    for i, j, step in zip(bonds.centers.tolist(), bonds.others.tolist(), steps, strict=True):
        along[i, j], along[j, i] = step, -step
    links, total = _links(bonds.centers, bonds.others, atoms), np.zeros((atoms, 3), int)
    for root in np.unique(bonds.molecules(atoms), return_index=True)[1]:
        order, before = breadth_first_order(links, int(root), directed=False)
        for atom in order[1:].tolist():
            total[atom] = total[before[atom]] + along[int(before[atom]), atom]
    return total


def _links(first: Int[np.ndarray, " links"], second: Int[np.ndarray, " links"], atoms: int) -> coo_matrix:
    return coo_matrix((np.ones(len(first), bool), (first, second)), shape=(atoms, atoms))
