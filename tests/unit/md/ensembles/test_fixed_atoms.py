"""Atoms that do not move, and hydrogens made heavier."""

import numpy as np
import pytest

from so3krates import md
from so3krates._errors import InputError
from so3krates.system import System

ENSEMBLES = (
    md.NVE(),
    md.Langevin(temperature_K=30.0, friction_per_ps=10.0),
    md.NoseHoover(temperature_K=30.0),
    md.CSVR(temperature_K=30.0),
)


@pytest.mark.parametrize("integrator", ENSEMBLES, ids=lambda each: type(each).__name__)
def test_fixed_atoms_stay_and_the_others_share_the_energy(integrator: md.Integrator, cluster: System, argon) -> None:
    start = md.Snapshot(cluster, fixed=(0, 5))
    assert integrator.degrees_of_freedom(start) == 3 * 11
    final, run = md.simulate(
        argon("float64"), start, integrator, timestep_fs=2.0, steps=200, initial_temperature_K=30.0
    )
    moved = np.abs(run.frames.positions - cluster.positions).max(axis=(0, 2))
    assert (moved[[0, 5]] < 1e-12).all()
    assert (np.delete(moved, [0, 5]) > 1e-3).all()
    assert not np.any(run.frames.velocities[:, [0, 5]])
    assert final.fixed == (0, 5)
    # Momentum is not conserved, and nothing is taken off to make it so.
    momentum = (cluster.masses[:, None] * run.frames.velocities).sum(axis=1)
    assert np.abs(momentum).max() > 1e-2
    assert np.std(run.frames.conserved) < 0.02 * np.ptp(run.frames.kinetic_energy)


def test_velocities_drawn_have_the_temperature_of_the_atoms_that_move(cluster: System) -> None:
    drawn = md.maxwell_boltzmann(cluster, 30.0, seed=1, exact=True, fixed=(3,))
    assert not np.any(drawn[3])
    integrator = md.NVE()
    freedom = integrator.degrees_of_freedom(md.Snapshot(cluster, drawn, fixed=(3,)))
    assert freedom == 36


@pytest.mark.parametrize(
    ("fixed", "sentence"),
    [((13,), r"numbered from 0 to 12; received \[13\]"), ((-1,), r"received \[-1\]")],
)
def test_atoms_that_do_not_exist(fixed: tuple[int, ...], sentence: str, cluster: System) -> None:
    with pytest.raises(InputError, match=sentence):
        md.Snapshot(cluster, fixed=fixed)


def test_a_fixed_atom_with_a_velocity(cluster: System) -> None:
    with pytest.raises(InputError, match="atom 1 is fixed but has a velocity"):
        md.Snapshot(cluster, np.ones((13, 3)), fixed=(1,))


def test_nothing_left_to_move(cluster: System, argon) -> None:
    start = md.Snapshot(cluster, fixed=tuple(range(13)))
    with pytest.raises(InputError, match="all atoms of Ar13 are fixed"):
        md.simulate(argon("float64"), start, md.NVE(), timestep_fs=1.0, steps=1, initial_temperature_K=10.0)
    with pytest.raises(InputError, match="leave it out where atoms are fixed"):
        md.NVE(fix_rotation=True).degrees_of_freedom(md.Snapshot(cluster, fixed=(1,)))


def ethane() -> System:
    carbon = [[0.0, 0.0, 0.0], [1.54, 0.0, 0.0]]
    angle = np.array([0.0, 2.0944, 4.1888])
    ring = np.stack([np.full(3, 0.0), 1.03 * np.cos(angle), 1.03 * np.sin(angle)], axis=1)
    return System(np.concatenate([carbon, ring - [0.36, 0, 0], np.add(ring, [1.90, 0, 0])]), np.array([6, 6, *[1] * 6]))


def test_mass_moves_from_carbon_to_hydrogen() -> None:
    light = ethane()
    heavy = md.repartition_hydrogen_mass(light, 3.0)
    assert heavy.masses.sum() == pytest.approx(light.masses.sum())
    np.testing.assert_allclose(heavy.masses[2:], 3.0)
    np.testing.assert_allclose(heavy.masses[:2], light.masses[0] - 3 * (3.0 - light.masses[2]))


def test_masses_that_cannot_be_moved() -> None:
    with pytest.raises(InputError, match=r"atom 0 \(C\) would keep only"):
        md.repartition_hydrogen_mass(ethane(), 4.5)
    with pytest.raises(InputError, match=r"hydrogen_mass_u is 0.5; it must be at least"):
        md.repartition_hydrogen_mass(ethane(), 0.5)
    molecule = System(np.array([[0.0, 0, 0], [0.74, 0, 0]]), np.array([1, 1]))
    with pytest.raises(InputError, match=r"hydrogen atom 0 of H2 is bonded to no heavier atom"):
        md.repartition_hydrogen_mass(molecule)
