"""The host list against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pairs import KINDS, canonical, compare, random_system, within

from so3krates.neighbors.host import find_pairs
from so3krates.system import System


def found_by_host(system: System, cutoff: float) -> list:
    pairs = find_pairs(system, cutoff)
    return [canonical(i, j, s) for i, j, s in zip(pairs.centers, pairs.others, pairs.shifts, strict=True)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    atoms=st.integers(0, 7),
    cutoff=st.floats(1.0, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_brute_force(kind: str, atoms: int, cutoff: float, seed: int) -> None:
    system = random_system(kind, atoms, seed)
    report = compare(system, cutoff, found_by_host(system, cutoff))
    assert not report, report


@settings(max_examples=40, deadline=None, derandomize=True)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_vectors_belong_to_indices_and_shifts(kind: str, seed: int) -> None:
    system = random_system(kind, 5, seed)
    pairs = find_pairs(system, 2.5)
    cell = np.zeros((3, 3)) if system.cell is None else system.cell
    expected = system.positions[pairs.others] - system.positions[pairs.centers] + pairs.shifts @ cell
    np.testing.assert_allclose(pairs.vectors, expected, atol=1e-12)
    assert pairs.vectors.dtype == np.float64
    assert (np.linalg.norm(pairs.vectors, axis=1) <= 2.5).all()


def test_simple_cubic_has_three_pairs_of_images_at_one_lattice_constant() -> None:
    system = System(np.zeros((1, 3)), np.array([84]), 3.3 * np.eye(3), (True, True, True))
    pairs = find_pairs(system, 3.4)
    assert len(pairs.centers) == 3
    assert sorted(map(tuple, np.abs(pairs.shifts))) == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]


def test_many_images_of_one_atom_fill_the_sphere() -> None:
    """Number of lattice points within a large radius: volume of the sphere over volume of the cell, half of them."""
    cell = np.array([[0.5, 0.1, 0.0], [0.0, 0.6, 0.1], [0.1, 0.0, 0.55]])
    pairs = find_pairs(System(np.zeros((1, 3)), np.array([1]), cell, (True, True, True)), 4.0)
    points = 4.0 / 3.0 * np.pi * 4.0**3 / abs(np.linalg.det(cell))
    assert len(pairs.centers) == pytest.approx(0.5 * points, rel=0.03)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_positions_far_from_the_cell(offset: float) -> None:
    system = random_system("ordinary", 5, 3)
    near, far = find_pairs(system, 2.5), find_pairs(system.moved(system.positions + offset), 2.5)
    lengths = [np.sort(np.linalg.norm(pairs.vectors, axis=1)) for pairs in (near, far)]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-9)


@pytest.mark.parametrize("atoms", [0, 1])
def test_nothing_to_pair(atoms: int) -> None:
    pairs = find_pairs(System(np.zeros((atoms, 3)), np.ones(atoms, int)), 5.0)
    assert [len(part) for part in pairs] == [0, 0, 0, 0]
    assert pairs.vectors.shape == (0, 3)
    assert pairs.shifts.shape == (0, 3)


@pytest.mark.parametrize(
    ("lengths", "pbc"),
    [
        ((1e4, 1e4, 0.0), (False, False, False)),
        ((1e6, 0.0, 0.0), (False, False, False)),
        ((2e3, 2e3, 5.0), (True, True, True)),
        ((2e3, 5.0, 2e3), (True, False, True)),
        ((1e5, 8.0, 8.0), (True, True, True)),
    ],
)
def test_structures_far_longer_than_thin(lengths: tuple[float, float, float], pbc: tuple[bool, bool, bool]) -> None:
    """What is left of a molecule that flew apart, or of a slab: the search must neither fail nor miss a pair."""
    rng = np.random.default_rng(0)
    ends = np.array([np.zeros(3), lengths])
    positions = np.concatenate([end + rng.uniform(0.0, 1.5, (3, 3)) for end in ends])
    cell = np.diag(np.maximum(lengths, 5.0)) if any(pbc) else None
    system = System(positions, np.ones(6, int), cell, pbc)
    assert sorted(found_by_host(system, 4.0)) == sorted(within(system, 4.0))
