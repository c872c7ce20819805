"""Bonds of molecules and boxes whose geometry is known."""

import numpy as np
import pytest
from ase.build import molecule
from scipy.stats import norm

from so3krates._errors import InputError
from so3krates.analysis.structure import Bonds, bond_kinds, distribution, find_bonds, pair_distances


def test_bonds_of_ethanol() -> None:
    atoms = molecule("CH3CH2OH")
    bonds = find_bonds(atoms.positions[None], atoms.numbers)
    kinds = bond_kinds(bonds, atoms.numbers)
    assert {kind: len(members) for kind, members in kinds.items()} == {"C–C": 1, "C–O": 1, "C–H": 5, "O–H": 1}
    assert list(kinds) == ["C–C", "C–O", "C–H", "O–H"]
    assert bonds.lengths[kinds["O–H"][0]] == pytest.approx(0.97, abs=0.02)


def test_lengths_are_means_over_frames() -> None:
    positions = np.zeros((2, 2, 3))
    positions[:, 1, 0] = [0.7, 0.8]
    bonds = find_bonds(positions, np.array([1, 1]))
    np.testing.assert_allclose(bonds.lengths, [0.75])
    assert bonds.atoms.tolist() == [[0, 1]]


def test_a_pair_that_is_close_once_is_no_bond() -> None:
    positions = np.zeros((2, 2, 3))
    positions[:, 1, 0] = [0.75, 5.0]
    assert len(find_bonds(positions, np.array([1, 1])).atoms) == 0


@pytest.mark.parametrize("cell", [np.diag([5.0, 6.0, 7.0]), np.array([[5.0, 0, 0], [2.0, 6.0, 0], [-1.0, 1.5, 7.0]])])
def test_bond_across_the_boundary(cell: np.ndarray) -> None:
    positions = np.array([[[0.02, 0.5, 0.5], [0.98, 0.5, 0.5]]]) @ cell
    expected = 0.04 * np.linalg.norm(cell[0])
    np.testing.assert_allclose(pair_distances(positions, np.array([[0, 1]]), cell), [[expected]])
    free = pair_distances(positions, np.array([[0, 1]]), cell, (False, True, True))
    np.testing.assert_allclose(free, [[24 * expected]])


def test_distribution_is_the_density(rng: np.random.Generator) -> None:
    edges = np.linspace(-3.0, 3.0, 25)
    found = distribution(rng.standard_normal(200_000), edges)
    expected = np.diff(norm.cdf(edges)) / np.diff(edges) / (norm.cdf(3.0) - norm.cdf(-3.0))
    np.testing.assert_allclose(found.density, expected, atol=0.01)
    assert np.sum(found.density * np.diff(found.edges)) == pytest.approx(1.0)


def test_refusals() -> None:
    with pytest.raises(InputError, match="atoms 0 to 2, but there are 2"):
        pair_distances(np.zeros((1, 2, 3)), np.array([[0, 2]]))
    with pytest.raises(InputError, match="nothing to show"):
        distribution(np.array([5.0]), np.array([0.0, 1.0]))


def test_no_bonds_have_no_kinds() -> None:
    assert bond_kinds(Bonds(np.zeros((0, 2), int), np.zeros(0)), np.array([2])) == {}


def test_distances_in_a_cell_that_moves() -> None:
    """Two atoms across the boundary of cells of 10 and 12 Å."""
    positions = np.array([[[0.5, 0, 0], [9.5, 0, 0]], [[0.5, 0, 0], [11.0, 0, 0]]])
    cells = np.array([10.0, 12.0])[:, None, None] * np.eye(3)
    np.testing.assert_allclose(pair_distances(positions, np.array([[0, 1]]), cells)[:, 0], [1.0, 1.5])
