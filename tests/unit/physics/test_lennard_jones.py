"""Lennard-Jones against the formula and against ASE."""

import warnings

import ase.build
import numpy as np
import pytest
from ase.calculators.lj import LennardJones as AseLennardJones

from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System

EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 8.5


def potential() -> Potential:
    return Potential(LennardJones(EPSILON, SIGMA, CUTOFF, dtype="float64"))


def dimer(distance: float) -> System:
    return System(np.array([[0.0, 0.0, 0.0], [0.0, distance, 0.0]]), np.array([18, 18]))


def formula(r: float) -> float:
    t = min(max((r - 0.9 * CUTOFF) / (0.1 * CUTOFF), 0.0), 1.0)
    switch = 1.0 - 10.0 * t**3 + 15.0 * t**4 - 6.0 * t**5
    return 4.0 * EPSILON * ((SIGMA / r) ** 12 - (SIGMA / r) ** 6) * switch


@pytest.mark.parametrize("r", [2.9, 3.4, 2.0 ** (1 / 6) * 3.4, 5.0, 7.65, 7.9, 8.3, 8.499, 8.5, 9.0])
def test_dimer_equals_the_formula(r: float) -> None:
    energy, forces = potential().energy_and_forces(dimer(r))
    assert energy == pytest.approx(formula(r), rel=1e-12, abs=1e-16)
    slope = (formula(r + 1e-6) - formula(r - 1e-6)) / 2e-6
    np.testing.assert_allclose(forces, [[0.0, slope, 0.0], [0.0, -slope, 0.0]], atol=1e-8)


def test_cluster_equals_ase_where_the_switch_is_one() -> None:
    atoms = ase.build.molecule("C6H6")
    atoms.positions *= 2.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms.calc = AseLennardJones(epsilon=EPSILON, sigma=SIGMA, rc=1e3, ro=1e3)
        expected, expected_forces = atoms.get_potential_energy(), atoms.get_forces()
    large = Potential(LennardJones(EPSILON, SIGMA, 30.0, dtype="float64"))
    energy, forces = large.energy_and_forces(System.from_ase(atoms))
    assert energy == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(forces, expected_forces, atol=1e-10)


def test_crystal_of_self_images_equals_the_lattice_sum() -> None:
    """One atom in a cell far shorter than the cutoff: every pair is a pair of images."""
    cell = 2.65 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    n = np.arange(-5, 6)
    points = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 3) @ cell
    expected = 0.5 * sum(formula(r) for r in np.linalg.norm(points, axis=1) if 0.0 < r < CUTOFF)
    crystal = System(np.zeros((1, 3)), np.array([18]), cell, (True, True, True))
    assert potential().energy(crystal) == pytest.approx(expected, rel=1e-12)
