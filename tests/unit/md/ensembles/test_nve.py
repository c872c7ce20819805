"""Velocity Verlet against ASE, its order, its reversibility, and float32 far from the origin."""

from typing import ClassVar

import ase
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet

from so3krates import md
from so3krates._errors import InputError
from so3krates.md.ensembles.velocities import kinetic_energy, without_center
from so3krates.system import System
from so3krates.units import BOLTZMANN, FEMTOSECOND


class HandMade(Calculator):
    """The same Lennard-Jones fluid written with NumPy loops, an oracle for energies and forces."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]
    epsilon, sigma, cutoff = 0.0104, 3.4, 9.0

    def calculate(self, atoms: ase.Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        energy, forces = 0.0, np.zeros((len(atoms), 3))
        for i in range(len(atoms)):
            for j in range(i):
                d = atoms.positions[i] - atoms.positions[j]
                r = np.linalg.norm(d)
                if r >= self.cutoff:
                    continue
                six = (self.sigma / r) ** 6
                pair, slope = 4 * self.epsilon * six * (six - 1), 4 * self.epsilon * six * (6 - 12 * six) / r
                t = max(0.0, (r - 0.9 * self.cutoff) / (0.1 * self.cutoff))
                switch = 1 - 10 * t**3 + 15 * t**4 - 6 * t**5
                fall = -30 * t**2 * (1 - t) ** 2 / (0.1 * self.cutoff)
                energy += pair * switch
                forces[i] -= (slope * switch + pair * fall) * d / r
                forces[j] += (slope * switch + pair * fall) * d / r
        self.results = {"energy": energy, "forces": forces}


def test_trajectory_equals_that_of_ase(cluster: System, argon) -> None:
    velocities = md.maxwell_boltzmann(cluster, 40.0, seed=3)
    start = md.Snapshot(cluster, velocities)
    _, run = md.simulate(argon("float64"), start, md.NVE(), timestep_fs=2.0, steps=200, save_every_fs=100.0)

    atoms = cluster.to_ase()
    atoms.set_velocities(velocities / FEMTOSECOND)
    atoms.calc = HandMade()
    dynamics = VelocityVerlet(atoms, timestep=2.0 * FEMTOSECOND)
    for row in range(5):
        np.testing.assert_allclose(run.frames.positions[row], atoms.positions, rtol=0, atol=1e-9)
        np.testing.assert_allclose(run.frames.velocities[row] / FEMTOSECOND, atoms.get_velocities(), rtol=0, atol=1e-9)
        assert run.frames.potential_energy[row] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        assert run.frames.kinetic_energy[row] == pytest.approx(atoms.get_kinetic_energy(), abs=1e-9)
        dynamics.run(50)


def test_energy_error_falls_with_the_square_of_the_time_step(cluster: System, argon) -> None:
    start = md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 30.0, seed=1))
    spread = []
    for timestep in (8.0, 4.0, 2.0):
        _, run = md.simulate(
            argon("float64"), start, md.NVE(), timestep_fs=timestep, steps=round(4000 / timestep), save_every_fs=8.0
        )
        spread.append(np.std(run.frames.conserved))
    ratios = np.array(spread[:-1]) / spread[1:]
    assert np.all(np.abs(ratios - 4.0) < 0.5), ratios


def test_dynamics_run_backwards_to_the_start(cluster: System, argon) -> None:
    start = md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 30.0, seed=1))
    end, _ = md.simulate(argon("float64"), start, md.NVE(), timestep_fs=2.0, steps=500)
    back, _ = md.simulate(
        argon("float64"), md.Snapshot(end.system, -end.velocities), md.NVE(), timestep_fs=2.0, steps=500
    )
    assert np.abs(end.system.positions - cluster.positions).max() > 0.1
    np.testing.assert_allclose(back.system.positions, cluster.positions, rtol=0, atol=1e-9)


def test_single_precision_is_the_same_500_angstrom_away(cluster: System, argon) -> None:
    shift = np.array([500.0, -500.0, 500.0])
    near = System(np.round(cluster.positions * 1024) / 1024, cluster.numbers)  # exactly representable with the shift
    velocities = md.maxwell_boltzmann(near, 40.0, seed=0)
    results = []
    for system in (near, near.moved(near.positions + shift)):
        _, run = md.simulate(
            argon("float32"), md.Snapshot(system, velocities), md.NVE(), timestep_fs=2.0, steps=200, save_every_fs=20.0
        )
        results.append(run.frames)
    assert results[1].positions.dtype == np.float64
    np.testing.assert_allclose(results[1].positions - shift, results[0].positions, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(results[1].conserved, results[0].conserved)


def test_degrees_of_freedom_and_temperature(cluster: System, argon) -> None:
    """With angular momentum removed there are 3N − 6 and the temperature at the start is exact."""
    integrator = md.NVE(fix_rotation=True)
    velocities = md.maxwell_boltzmann(cluster, 50.0, seed=4, fix_rotation=True, exact=True)
    start = md.Snapshot(cluster, velocities)
    _, run = md.simulate(argon("float64"), start, integrator, timestep_fs=2.0, steps=200, save_every_fs=20.0)
    assert run.summary.degrees_of_freedom == 3 * 13 - 6
    assert run.frames.temperature[0] == pytest.approx(50.0, rel=1e-12)
    arms = run.frames.positions - run.frames.positions.mean(axis=1, keepdims=True)
    angular = np.cross(arms, run.frames.velocities).sum(axis=1)
    assert np.abs(angular).max() < 1e-12
    assert np.abs(run.frames.velocities.mean(axis=1)).max() < 1e-15


def test_a_linear_molecule_without_rotation_moves_in_a_plane(argon) -> None:
    """So both bends that are alike count as one, and 3N − 6 is left: also of velocities drawn where it bends."""
    rod = System(np.array([[0.0, 0, 0], [3.8, 0, 0], [7.6, 0, 0]]), np.full(3, 18))
    integrator = md.NVE(fix_rotation=True)
    freedom = integrator.degrees_of_freedom(md.Snapshot(rod))
    assert freedom == 3
    start = md.Snapshot(rod, md.maxwell_boltzmann(rod, 20.0, seed=4))
    _, run = md.simulate(argon("float64"), start, integrator, timestep_fs=4.0, steps=500, save_every_fs=20.0)
    arms = (run.frames.positions - run.frames.positions.mean(axis=1, keepdims=True)).reshape(-1, 3)
    widths = np.linalg.svd(arms, compute_uv=False)
    assert widths[1] > 1e-2 * widths[0]
    assert widths[2] < 1e-10 * widths[0]
    bent = rod.moved(rod.positions + np.array([[0, 0, 0], [0, 0.1, 0], [0, 0, 0]]))
    drawn = [md.maxwell_boltzmann(bent, 20.0, seed, fix_rotation=True) for seed in range(2000)]
    energies = np.array([kinetic_energy(bent, each) for each in drawn]) / (0.5 * BOLTZMANN * 20.0)
    assert abs(energies.mean() - freedom) < 4.0 * energies.std() / np.sqrt(len(drawn))


def test_what_few_atoms_have_left() -> None:
    pair = System(np.array([[0.0, 0, 0], [3.8, 0, 0]]), np.full(2, 18))
    assert md.NVE(fix_rotation=True).degrees_of_freedom(md.Snapshot(pair)) == 1
    atom = System(np.zeros((1, 3)), np.array([18]))
    with pytest.raises(InputError, match="no degree of freedom"):
        md.NVE().degrees_of_freedom(md.Snapshot(atom))
    assert md.NVE(fix_center=False).degrees_of_freedom(md.Snapshot(atom)) == 3


def test_a_center_that_may_move_and_rests_has_no_energy(cluster: System) -> None:
    """The end of most runs: nothing will set it in motion."""
    free = md.NVE(fix_center=False)
    moving = md.maxwell_boltzmann(cluster, 30.0, seed=1, fix_center=False)
    assert free.degrees_of_freedom(md.Snapshot(cluster, moving)) == 39
    assert free.degrees_of_freedom(md.Snapshot(cluster, without_center(cluster, moving))) == 36


def test_rotation_of_a_periodic_structure_is_refused(argon) -> None:
    box = System(np.array([[0.0, 0, 0], [3.8, 0, 0]]), np.full(2, 18), 20 * np.eye(3), (True, True, True))
    with pytest.raises(InputError, match="angular momentum"):
        md.simulate(
            argon("float32"), md.Snapshot(box, np.zeros((2, 3))), md.NVE(fix_rotation=True), timestep_fs=1.0, steps=1
        )


def test_a_periodic_crystal_conserves_energy_in_a_tilted_cell(argon) -> None:
    """Images matter here: the cutoff is longer than half the cell."""
    a = 5.4
    cell = np.array([[0, a, a], [a, 0, a], [a, a, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(2) / 2] * 3, indexing="ij"), -1).reshape(-1, 3)
    crystal = System(grid @ cell, np.full(8, 18), cell, (True, True, True))
    _, run = md.simulate(
        argon("float64"), crystal, md.NVE(), timestep_fs=2.0, steps=500, initial_temperature_K=40.0, seed=2
    )
    assert np.std(run.frames.kinetic_energy) > 1e-4
    assert np.ptp(run.frames.conserved) < 1e-2 * np.std(run.frames.kinetic_energy)
