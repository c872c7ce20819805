"""What a run starts with after it was thermalised."""

import ase.build
import numpy as np
import pytest
from ase.cluster import Icosahedron
from ase.optimize import BFGS

from so3krates import md
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import BOLTZMANN

TEMPERATURE_K = 10.0


def minimum(potential: Potential, system: System) -> System:
    atoms = system.to_ase()
    atoms.calc = potential.astype("float64").ase()
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return System.from_ase(atoms)


def start_energy(seed: int, integrator: object) -> float:
    """Total energy of the first frame, less that of the crystal, in units of k_B T."""
    cell = ase.build.bulk("Ar", "fcc", a=5.26, cubic=True)
    system = System.from_ase(cell)
    potential = Potential(LennardJones(0.0104, 3.4, 6.0))
    _, run = md.simulate(
        potential,
        system,
        integrator,  # type: ignore[arg-type]
        timestep_fs=5.0,
        steps=1,
        seed=seed,
        initial_temperature_K=TEMPERATURE_K,
        thermalise_ps=20.0,
    )
    first = run.frames
    energy = first.potential_energy[0] + first.kinetic_energy[0] - potential.energy(system)
    return float(energy / (BOLTZMANN * TEMPERATURE_K))


def test_an_atom_on_its_own_can_be_thermalised_and_moves() -> None:
    """With `fix_center=False` velocities are drawn and thermalised with all 3N degrees of freedom."""
    atom = System(np.zeros((1, 3)), np.array([18]))
    potential = Potential(LennardJones(0.0104, 3.4, 6.0))
    _, run = md.simulate(
        potential,
        atom,
        md.NVE(fix_center=False),
        timestep_fs=5.0,
        steps=10,
        initial_temperature_K=TEMPERATURE_K,
        thermalise_ps=1.0,
    )
    assert run.summary.degrees_of_freedom == 3
    assert run.summary.temperature_K.mean > 0.0
    assert np.abs(run.frames.positions[-1] - run.frames.positions[0]).max() > 0.0


@pytest.mark.slow
def test_rotation_that_is_removed_takes_no_energy_along() -> None:
    """A cluster: 3N − 6 = 12 vibrations hold 12 k_B T, whatever its rotation held while it was thermalised."""
    cluster = System.from_ase(Icosahedron("Ar", 2, latticeconstant=5.4)[:6])
    potential = Potential(LennardJones(0.0104, 3.4, 9.0))
    relaxed = minimum(potential, cluster)
    energies = []
    for seed in range(8):
        _, run = md.simulate(
            potential,
            relaxed,
            md.NVE(fix_rotation=True),
            timestep_fs=5.0,
            steps=1,
            seed=seed,
            initial_temperature_K=4.0,
            thermalise_ps=100.0,
        )
        first = run.frames.potential_energy[0] + run.frames.kinetic_energy[0]
        energies.append(float((first - potential.energy(relaxed)) / (BOLTZMANN * 4.0)))
    assert np.mean(energies) == pytest.approx(12.0, abs=0.7)
    assert np.std(energies) < 0.8


@pytest.mark.slow
def test_a_microcanonical_run_begins_with_the_mean_energy_of_its_temperature() -> None:
    """Nine vibrations hold 9 k_B T, and fluctuate by √9 k_B T: the start is far nearer to the mean than that."""
    energies = np.array([start_energy(seed, md.NVE()) for seed in range(8)])
    assert energies.mean() == pytest.approx(9.0, abs=1.0)
    assert energies.std() < 1.2
    canonical = np.array([start_energy(seed, md.Langevin(temperature_K=TEMPERATURE_K)) for seed in range(8)])
    assert canonical.std() > 1.5
