"""Stochastic velocity rescaling: the canonical kinetic energy, its relaxation, the heat balance."""

import jax
import numpy as np
import pytest
from oracles.dynamics import ideal_gas, mean_error, sampled, springs, started
from scipy import stats

from so3krates import md
from so3krates._errors import InputError
from so3krates.md.ensembles.operators import kinetic_energy
from so3krates.system import System
from so3krates.units import BOLTZMANN


def atoms(count: int) -> System:
    return System(np.zeros((count, 3)), np.full(count, 6))


@pytest.mark.parametrize("count", [2, 12])
def test_the_kinetic_energy_has_the_canonical_distribution(count: int) -> None:
    """K/k_BT is a gamma variable of N_f/2; with no force it is rescaling alone that makes it one."""
    integrator = md.CSVR(temperature_K=300.0, time_constant_fs=5.0)
    system = atoms(count)
    start = md.Snapshot(system, md.maxwell_boltzmann(system, 900.0, seed=1))
    state = started(integrator, start, 1.0, seed=2)
    kinetic = np.asarray(sampled(integrator, ideal_gas, state, 6000, 40, kinetic_energy))[50:]
    freedom = 3 * count - 3
    result = stats.kstest(kinetic / (BOLTZMANN * 300.0), stats.gamma(freedom / 2).cdf)
    assert result.pvalue > 1e-3


def test_the_kinetic_energy_relaxes_with_the_time_constant() -> None:
    """⟨K(t)⟩ − K̄ falls as e^(−t/τ): eq. 7 of the article."""
    system = atoms(2000)
    integrator = md.CSVR(temperature_K=300.0, time_constant_fs=100.0)
    start = md.Snapshot(system, md.maxwell_boltzmann(system, 900.0, seed=1, exact=True))
    state = started(integrator, start, 1.0, seed=3)
    kinetic = np.asarray(sampled(integrator, ideal_gas, state, 10, 10, kinetic_energy))
    mean = 0.5 * (3 * 2000 - 3) * BOLTZMANN * 300.0
    expected = mean * (1.0 + 2.0 * np.exp(-np.arange(1, 11) / 10.0))
    # σ(K)/K̄ = √(2/N_f) = 1.8 %
    assert np.abs(kinetic / expected - 1.0).max() < 0.055


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heat_balance_is_kept(dtype: str) -> None:
    integrator = md.CSVR(temperature_K=300.0, time_constant_fs=20.0)
    system = atoms(10)
    start = md.Snapshot(system, md.maxwell_boltzmann(system, 600.0, seed=1))
    state = started(integrator, start, 0.5, seed=4, dtype=dtype)
    kinetic, conserved = sampled(
        integrator, springs, state, 1000, 20, lambda s: (kinetic_energy(s), integrator.conserved(s))
    )
    assert np.asarray(conserved).dtype == dtype
    assert np.std(kinetic) > 0.05
    assert np.std(conserved) < 0.01 * np.std(kinetic)


def test_oscillators_share_the_energy_canonically() -> None:
    """⟨x²⟩ = k_BT/k over many starts, since one factor for all velocities mixes no modes."""
    integrator = md.CSVR(temperature_K=300.0, time_constant_fs=50.0)
    count = 100
    system = atoms(count)
    start = md.Snapshot(system, md.maxwell_boltzmann(system, 600.0, seed=1))
    state = started(integrator, start, 0.5, seed=5)
    squares = sampled(integrator, springs, state, 2000, 40, lambda s: (s.positions**2).sum() / (3 * count - 3))
    squares = np.asarray(squares)[200:]
    # A sum of squares obeys ⟨x²⟩(1 + (ωΔt)²/4) = k_BT/k in velocity Verlet.
    quarter = float(5.0 / system.masses[0] * np.asarray(state.timestep) ** 2) / 4
    expected = BOLTZMANN * 300.0 / 5.0 / (1.0 - quarter)
    assert mean_error(squares) < 0.02 * expected
    assert abs(squares.mean() - expected) < 3 * mean_error(squares)


def test_atoms_at_rest_are_refused() -> None:
    system = System(np.zeros((2, 3)), np.array([6, 8]), 5 * np.eye(3), (True, True, True))
    with pytest.raises(InputError, match=r"at rest, and velocity rescaling only scales"):
        md.CSVR(temperature_K=300.0).prepare(md.Snapshot(system, np.zeros((2, 3))))


def test_the_noise_differs_from_step_to_step_and_between_seeds() -> None:
    integrator = md.CSVR(temperature_K=300.0, time_constant_fs=10.0)
    system = atoms(5)
    start = md.Snapshot(system, md.maxwell_boltzmann(system, 300.0, seed=1))
    series = [
        np.diff(np.asarray(sampled(integrator, springs, started(integrator, start, 0.5, seed), 50, 1, _heat)))
        for seed in (1, 2)
    ]
    assert not np.intersect1d(*series).size
    assert len(np.unique(series[0])) == len(series[0])


def _heat(state: md.State) -> jax.Array:
    return state.thermostat.heat.total
