"""Bonds and their lengths along trajectories and data sets."""

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from so3krates._errors import InputError
from so3krates._typing import Float, Int

BOND_FACTOR = 1.3
"""Two atoms are bonded if their mean distance is below this multiple of the sum of their covalent radii."""


class Bonds(NamedTuple):
    """Pairs of bonded atoms with the mean of their distance in the data they were found in."""

    atoms: Int[np.ndarray, "bonds 2"]
    lengths: Float[np.ndarray, " bonds"]
    """Å"""


class Distribution(NamedTuple):
    """A normalised histogram."""

    edges: Float[np.ndarray, " edges"]
    density: Float[np.ndarray, " bins"]
    """1/unit; the integral is one."""


def find_bonds(
    positions: Float[np.ndarray, "frames atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
    cell: Float[np.ndarray, "*frames 3 3"] | None = None,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    factor: float = BOND_FACTOR,
) -> Bonds:
    """The bonds of a structure from the mean distances over frames of the same atoms in the same order.

    Args:
        positions: Å.
        numbers: atomic numbers.
        cell: cell vectors in rows, Å, if periodic, one cell or that of each frame; the nearest image counts.
        pbc: periodic axes, with a cell.
        factor: see `BOND_FACTOR`.
    """
    radii = covalent_radii[np.asarray(numbers)]
    first, second = np.triu_indices(len(numbers), k=1)
    reach = factor * (radii[first] + radii[second])
    # Only pairs that are close in the first frame can be bonded; all pairs of all frames may not fit into memory.
    start = None if cell is None else np.reshape(cell, (-1, 3, 3))[0]
    near = pair_distances(positions[:1], np.stack([first, second], axis=1), start, pbc)[0] < 2.0 * reach
    pairs = np.stack([first[near], second[near]], axis=1)
    means = pair_distances(positions, pairs, cell, pbc).mean(axis=0)
    bonded = means < reach[near]
    return Bonds(pairs[bonded], means[bonded])


def pair_distances(
    positions: Float[np.ndarray, "frames atoms 3"],
    pairs: Int[np.ndarray, "pairs 2"],
    cell: Float[np.ndarray, "*frames 3 3"] | None = None,
    pbc: tuple[bool, bool, bool] = (True, True, True),
) -> Float[np.ndarray, "frames pairs"]:
    """Distances of given pairs in Å; with a cell, or the cell of each frame, that of the nearest image, for distances
    below half the height of the cell.

    Raises:
        InputError: for pairs that point outside the atoms.
    """
    positions, pairs = np.asarray(positions, np.float64), np.asarray(pairs, np.int64).reshape(-1, 2)
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < positions.shape[1]):
        raise InputError(f"pairs point to atoms {pairs.min()} to {pairs.max()}, but there are {positions.shape[1]}.")
    vectors = positions[:, pairs[:, 1]] - positions[:, pairs[:, 0]]
    if cell is not None:
        images = np.round(vectors @ np.linalg.inv(cell)) * np.asarray(pbc, np.float64)
        vectors = vectors - images @ np.asarray(cell, np.float64)
    return np.linalg.norm(vectors, axis=-1)


def bond_kinds(bonds: Bonds, numbers: Int[np.ndarray, " atoms"]) -> dict[str, Int[np.ndarray, " members"]]:
    """Indices of the bonds of each kind, such as "C–H" or "O–H": carbon first, hydrogen last."""
    kinds: dict[str, list[int]] = {}
    for index, pair in enumerate(bonds.atoms):
        symbols = sorted((chemical_symbols[int(numbers[atom])] for atom in pair), key=_rank)
        kinds.setdefault("–".join(symbols), []).append(index)
    return {kind: np.array(kinds[kind]) for kind in sorted(kinds, key=lambda kind: [_rank(s) for s in kind.split("–")])}


def distribution(values: Float[np.ndarray, "..."], edges: Float[np.ndarray, " edges"]) -> Distribution:
    """Histogram with area one over the values inside the edges.

    Raises:
        InputError: if no value lies between the first and the last edge.
    """
    counts, edges = np.histogram(np.asarray(values).ravel(), bins=edges)
    if not counts.sum():
        raise InputError(f"no value lies between {edges[0]} and {edges[-1]}; nothing to show.")
    return Distribution(np.asarray(edges, np.float64), counts / (counts.sum() * np.diff(edges)))


def _rank(symbol: str) -> tuple[int, str]:
    return ({"C": 0, "H": 2}.get(symbol, 1), symbol)
