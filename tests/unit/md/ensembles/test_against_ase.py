"""Dynamics by ASE with our calculator in float64 are those of `simulate`: one potential, two integrators."""

from collections.abc import Callable

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet

from so3krates import md
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import FEMTOSECOND

TIMESTEP_FS = 2.0
STEPS, EVERY = 200, 50


@pytest.fixture(scope="module")
def potential() -> Potential:
    return Potential(LennardJones(0.0104, 3.4, 7.0, dtype="float64"))


@pytest.fixture(scope="module")
def start() -> md.Snapshot:
    """A tilted periodic crystal whose images matter, with two elements for their masses."""
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True).repeat((2, 2, 2))
    atoms.set_cell(atoms.cell.array + np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [0.0, 0.8, 0.0]]), scale_atoms=True)
    atoms.numbers[::3] = 10
    system = System.from_ase(atoms)
    return md.Snapshot(system, md.maxwell_boltzmann(system, 90.0, seed=2))


def followed(
    potential: Potential, start: md.Snapshot, integrator: md.Integrator, make: Callable[[ase.Atoms], MolecularDynamics]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences of positions (Å), velocities (internal units) and total energy (eV) in each frame."""
    _, run = md.simulate(
        potential, start, integrator, timestep_fs=TIMESTEP_FS, steps=STEPS, save_every_fs=EVERY * TIMESTEP_FS
    )
    frames = run.frames
    assert start.velocities is not None
    atoms = start.system.to_ase()
    atoms.set_velocities(start.velocities / FEMTOSECOND)
    atoms.calc = potential.ase()
    dynamics = make(atoms)
    off = []
    for row in range(len(frames)):
        energy = frames.potential_energy[row] + frames.kinetic_energy[row]
        off.append(
            (
                np.abs(frames.positions[row] - atoms.positions).max(),
                np.abs(frames.velocities[row] / FEMTOSECOND - atoms.get_velocities()).max(),
                abs(energy - atoms.get_total_energy()),
            )
        )
        dynamics.run(EVERY)
    assert np.abs(frames.positions[-1] - frames.positions[0]).max() > 0.5
    positions, velocities, energies = np.array(off).T
    return positions, velocities, energies


def test_velocity_verlet(potential: Potential, start: md.Snapshot) -> None:
    positions, velocities, energies = followed(
        potential, start, md.NVE(), lambda atoms: VelocityVerlet(atoms, TIMESTEP_FS * FEMTOSECOND)
    )
    assert positions.max() < 1e-10
    assert velocities.max() < 1e-10
    assert energies.max() < 1e-10


def test_nose_hoover_chain(potential: Potential, start: md.Snapshot) -> None:
    """ASE counts 3N degrees of freedom. With the momentum of the whole at zero there are 3N − 3: those of N − 1 atoms,
    and with that number its chain is ours."""
    temperature, period = 120.0, 150.0
    tau = period * FEMTOSECOND / (2.0 * np.pi)

    def dynamics(atoms: ase.Atoms) -> MolecularDynamics:
        made = NoseHooverChainNVT(atoms, TIMESTEP_FS * FEMTOSECOND, temperature_K=temperature, tdamp=tau, tchain=3)
        made._thermostat = NoseHooverChainThermostat(
            num_atoms_global=len(atoms) - 1, masses=made.masses, temperature_K=temperature, tdamp=tau, tchain=3
        )
        return made

    integrator = md.NoseHoover(temperature_K=temperature, period_fs=period, chain=3)
    positions, velocities, energies = followed(potential, start, integrator, dynamics)
    assert positions.max() < 1e-10
    assert velocities.max() < 1e-10
    assert energies.max() < 1e-10
