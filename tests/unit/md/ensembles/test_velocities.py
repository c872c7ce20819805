"""Drawing velocities and removing motion as a whole, with unequal masses throughout."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates import md
from so3krates._errors import InputError
from so3krates.md.ensembles.operators import ornstein_uhlenbeck
from so3krates.md.ensembles.velocities import kinetic_energy, maxwell_boltzmann, without_center, without_rotation
from so3krates.md.state import make_state
from so3krates.system import System
from so3krates.units import BOLTZMANN, FEMTOSECOND

TEMPERATURE_K = 300.0


@pytest.fixture
def molecule(rng: np.random.Generator) -> System:
    """Hydrogen to iodine, and a deuterium."""
    numbers = np.array([1, 1, 6, 17, 53])
    masses = np.array([1.008, 2.014, 12.011, 35.45, 126.904])
    return System(rng.uniform(-2.0, 2.0, size=(5, 3)), numbers, isotope_masses=masses)


def shares(system: System) -> np.ndarray:
    """⟨m_i v_i²⟩/3k_BT = 1 − m_i/M with the centre of mass at rest."""
    return 1.0 - system.masses / system.masses.sum()


def angular_momentum(system: System, velocities: np.ndarray) -> np.ndarray:
    center = system.masses @ system.positions / system.masses.sum()
    return np.cross(system.positions - center, system.masses[:, None] * velocities).sum(axis=0)


def test_every_atom_has_its_share_of_the_energy(molecule: System) -> None:
    draws = np.stack([maxwell_boltzmann(molecule, TEMPERATURE_K, seed) for seed in range(4000)]) / FEMTOSECOND
    found = molecule.masses * (draws**2).sum(axis=2) / (3.0 * BOLTZMANN * TEMPERATURE_K)
    error = 4.0 * found.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(found.mean(axis=0) - shares(molecule)) < error).all()
    np.testing.assert_allclose(np.einsum("i,nix->nx", molecule.masses, draws), 0.0, atol=1e-12)


def test_noise_gives_every_atom_its_share(molecule: System) -> None:
    """The O step alone, with no memory of the velocity before."""
    state = make_state(md.Snapshot(molecule), np.zeros(3), 1.0, 0, 12, "float64")
    forgetting, spread = jnp.zeros(()), jnp.sqrt(jnp.asarray(BOLTZMANN * TEMPERATURE_K))
    steps = jnp.arange(4000, dtype=state.step.dtype)
    velocities = np.asarray(
        jax.vmap(lambda n: ornstein_uhlenbeck(replace(state, step=n), forgetting, spread, True).velocities)(steps)
    )
    found = molecule.masses * (velocities**2).sum(axis=2) / (3.0 * BOLTZMANN * TEMPERATURE_K)
    error = 4.0 * found.std(axis=0) / np.sqrt(len(steps))
    assert (np.abs(found.mean(axis=0) - shares(molecule)) < error).all()


def test_motion_as_a_whole_is_removed(molecule: System, rng: np.random.Generator) -> None:
    velocities = rng.standard_normal((5, 3))
    still = without_rotation(molecule, without_center(molecule, velocities))
    np.testing.assert_allclose(molecule.masses @ still, 0.0, atol=1e-12)
    np.testing.assert_allclose(angular_momentum(molecule, still), 0.0, atol=1e-11)
    assert kinetic_energy(molecule, still) < kinetic_energy(molecule, velocities)


def test_an_exact_temperature_counts_what_is_removed(molecule: System) -> None:
    drawn = maxwell_boltzmann(molecule, TEMPERATURE_K, 1, fix_rotation=True, exact=True)
    assert kinetic_energy(molecule, drawn) == pytest.approx(0.5 * 9 * BOLTZMANN * TEMPERATURE_K, rel=1e-12)


def test_a_chain_refuses_a_molecule_that_cannot_begin_to_rotate(molecule: System) -> None:
    """Its 9 vibrations would share the energy of 12 degrees of freedom."""
    turning = maxwell_boltzmann(molecule, TEMPERATURE_K, 2)
    chain = md.NoseHoover(temperature_K=TEMPERATURE_K)
    assert chain.degrees_of_freedom(md.Snapshot(molecule)) == 12
    assert chain.prepare(md.Snapshot(molecule, turning)).velocities is not None
    still = md.Snapshot(molecule, without_rotation(molecule, turning))
    with pytest.raises(InputError, match="does not rotate, and a Nosé–Hoover chain cannot make it.* 9 other degrees"):
        chain.prepare(still)
    fixed = md.NoseHoover(temperature_K=TEMPERATURE_K, fix_rotation=True)
    assert fixed.degrees_of_freedom(md.Snapshot(molecule)) == 9
    prepared = fixed.prepare(md.Snapshot(molecule, turning)).velocities
    assert prepared is not None
    np.testing.assert_allclose(angular_momentum(molecule, prepared), 0.0, atol=1e-12)


def test_a_cell_that_is_only_vacuum_counts_as_none(molecule: System) -> None:
    boxed = System(
        molecule.positions, molecule.numbers, 1000.0 * np.eye(3), (True,) * 3, isotope_masses=molecule.isotope_masses
    )
    still = md.Snapshot(boxed, without_rotation(boxed, maxwell_boltzmann(boxed, TEMPERATURE_K, 2)))
    with pytest.raises(InputError, match="does not rotate"):
        md.CSVR(temperature_K=TEMPERATURE_K).prepare(still)
    assert md.CSVR(temperature_K=TEMPERATURE_K, fix_rotation=True).degrees_of_freedom(still) == 9


def test_what_is_held_along_a_line_could_turn_about_it(molecule: System) -> None:
    thermostat = md.CSVR(temperature_K=TEMPERATURE_K)
    for fixed, free in (((1,), np.eye(3)), ((1, 3), molecule.positions[[3]] - molecule.positions[1])):
        turning = maxwell_boltzmann(molecule, TEMPERATURE_K, 3, fixed=fixed)
        assert thermostat.prepare(md.Snapshot(molecule, turning, fixed=fixed)).velocities is not None
        # Rotations about the held atom, or the line, taken off by least squares in the kinetic energy.
        arms, root = molecule.positions - molecule.positions[1], np.sqrt(molecule.masses)[:, None]
        rotations = np.stack([(root * np.cross(axis, arms)).ravel() for axis in free], axis=1)
        amount = np.linalg.lstsq(rotations, (root * turning).ravel(), rcond=None)[0]
        still = turning - np.cross(amount @ free, arms)
        still[list(fixed)] = 0.0  # they are, up to rounding
        with pytest.raises(InputError, match="could turn about what holds it"):
            thermostat.prepare(md.Snapshot(molecule, still, fixed=fixed))
    three = maxwell_boltzmann(molecule, TEMPERATURE_K, 3, fixed=(0, 1, 3))
    assert thermostat.prepare(md.Snapshot(molecule, three, fixed=(0, 1, 3))).velocities is not None


def test_a_chain_of_atoms_through_its_images_could_turn_about_its_axis() -> None:
    """Periodic along one axis, as a polymer is."""
    sites, cell = np.array([[0.0, 0.3, 0.0], [1.2, -0.3, 0.0]]), np.diag([2.4, 20.0, 20.0])
    zigzag = System(sites, np.array([6, 6]), cell, (True, False, False))
    thermostat = md.CSVR(temperature_K=TEMPERATURE_K)
    about = np.cross([1.0, 0.0, 0.0], zigzag.positions)
    along = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    assert thermostat.prepare(md.Snapshot(zigzag, 1e-3 * (along + about))).velocities is not None
    with pytest.raises(InputError, match="could turn about what holds it"):
        thermostat.prepare(md.Snapshot(zigzag, 1e-3 * along + 1e-3 * zigzag.positions))
