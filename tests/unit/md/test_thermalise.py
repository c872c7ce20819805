"""What a run starts with after it was thermalised."""

import ase.build
import numpy as np
import pytest

from so3krates import md
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import BOLTZMANN

TEMPERATURE_K = 10.0


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


@pytest.mark.slow
def test_a_microcanonical_run_begins_with_the_mean_energy_of_its_temperature() -> None:
    """Nine vibrations hold 9 k_B T, and fluctuate by √9 k_B T: the start is far nearer to the mean than that."""
    energies = np.array([start_energy(seed, md.NVE()) for seed in range(8)])
    assert energies.mean() == pytest.approx(9.0, abs=1.0)
    assert energies.std() < 1.2
    canonical = np.array([start_energy(seed, md.Langevin(temperature_K=TEMPERATURE_K)) for seed in range(8)])
    assert canonical.std() > 1.5
