"""Contacts against all distances by brute force."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.data import covalent_radii

from so3krates.neighbors.contacts import find_contacts
from so3krates.system import System

WATERS = System(
    np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0], [2.9, 0.2, 0.1]]), np.array([8, 1, 1, 8])
)


@pytest.mark.parametrize("factor", [1.0, 1.3, 3.0])
def test_contacts_of_a_molecule_are_what_all_distances_say(factor: float) -> None:
    system = System.from_ase(molecule("CH3CH2OH"))
    radii = covalent_radii[system.numbers]
    lengths = np.linalg.norm(system.positions[:, None] - system.positions[None], axis=-1)
    i, j = np.nonzero(np.triu(lengths < factor * (radii[:, None] + radii[None]), 1))
    found = find_contacts(system, factor)
    pairs = np.sort(np.stack([found.centers, found.others], axis=1), axis=1)
    order = np.lexsort(pairs.T[::-1])
    np.testing.assert_array_equal(pairs[order], np.stack([i, j], axis=1))
    np.testing.assert_allclose(found.lengths[order], lengths[i, j], rtol=1e-12)


def test_contacts_through_faces_of_a_cell_know_the_image() -> None:
    system = System.from_ase(bulk("Si", cubic=True))
    found = find_contacts(system, 1.2)
    assert system.cell is not None
    vectors = system.positions[found.others] - system.positions[found.centers] + found.shifts @ system.cell
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), found.lengths, rtol=1e-12)
    assert len(found.lengths) == 16  # four bonds of each of eight atoms, each once
    np.testing.assert_allclose(found.lengths, 5.43 * np.sqrt(3) / 4, rtol=1e-12)


def test_only_what_is_asked_for_takes_part() -> None:
    oxygens = WATERS.numbers == 8
    among = find_contacts(WATERS, 3.0, oxygens)
    assert {*zip(among.centers.tolist(), among.others.tolist(), strict=True)} <= {(0, 3), (3, 0)}
    assert len(among.lengths) == 1
    assert len(find_contacts(WATERS, 3.0, np.zeros(4, bool)).lengths) == 0
