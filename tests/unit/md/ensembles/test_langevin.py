"""Langevin: the distribution against closed forms, the heat balance, the noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from so3krates import md
from so3krates.evaluation import Evaluation
from so3krates.md.engine.loop import stepped
from so3krates.md.ensembles.noise import normal, threefry
from so3krates.md.ensembles.operators import kinetic_energy
from so3krates.md.state import State, make_state
from so3krates.system import System
from so3krates.term import Outputs
from so3krates.units import BOLTZMANN

STIFFNESS = 5.0


def harmonic(positions: jax.Array, cell: None, verlet: None) -> Evaluation:
    """Every coordinate a spring to the origin."""
    energy = 0.5 * STIFFNESS * jnp.sum(positions * positions)
    zero = jnp.zeros((), positions.dtype)
    virial, overflow = jnp.zeros((3, 3), positions.dtype), jnp.zeros((), jnp.int32)
    outputs = Outputs(0.5 * STIFFNESS * jnp.sum(positions * positions, axis=1), {})
    return Evaluation(energy, -STIFFNESS * positions, virial, zero, overflow, outputs)


@eqx.filter_jit
def sampled(integrator: md.Langevin, state: State, samples: int, stride: int) -> tuple[jax.Array, ...]:
    def one(state: State, _: None) -> tuple[State, tuple[jax.Array, ...]]:
        state = jax.lax.fori_loop(0, stride, lambda _, s: stepped(integrator, s, harmonic), state)
        return state, (state.positions, kinetic_energy(state), integrator.conserved(state))

    return jax.lax.scan(one, state, None, length=samples)[1]


def oscillators(count: int) -> System:
    return System(np.zeros((count, 3)), np.full(count, 6))


@pytest.mark.parametrize("fix_center", [True, False])
def test_oscillators_have_the_canonical_variance(fix_center: bool) -> None:
    """⟨x²⟩ = k_BT/k for BAOAB at any time step; ⟨K⟩ is low by (ωΔt)²/4; 3N − 3 share it if the centre rests."""
    count, temperature, timestep = 20, 300.0, 1.0
    integrator = md.Langevin(temperature_K=temperature, friction_per_ps=20.0, fix_center=fix_center)
    system = oscillators(count)
    freedom = integrator.degrees_of_freedom(md.Snapshot(system))
    assert freedom == 3 * count - (3 if fix_center else 0)
    state = integrator.init(make_state(md.Snapshot(system), np.zeros(3), timestep, 7, freedom, "float64"), timestep)
    positions, kinetic, _ = jax.device_get(sampled(integrator, state, 4000, 50))
    positions, kinetic = positions[100:], kinetic[100:]
    variance = np.sum(positions**2, axis=(1, 2)) / freedom
    expected = BOLTZMANN * temperature / STIFFNESS
    error = 3 * np.std(variance) / np.sqrt(len(variance) / 4)
    assert error < 0.02 * expected
    assert abs(variance.mean() - expected) < error

    quarter = float(STIFFNESS / system.masses[0] * np.asarray(state.timestep) ** 2) / 4
    share = 2 * kinetic / freedom / (BOLTZMANN * temperature)
    error = 3 * np.std(share) / np.sqrt(len(share) / 4)
    assert error < 0.02
    assert abs(share.mean() - (1 - quarter)) < error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heat_balance_is_kept(dtype: str) -> None:
    """The conserved quantity fluctuates with Δt² while much more heat goes back and forth."""
    integrator = md.Langevin(temperature_K=300.0, friction_per_ps=10.0)
    system = oscillators(10)
    state = integrator.init(make_state(md.Snapshot(system), np.zeros(3), 0.5, 7, 27, dtype), 0.5)
    _, kinetic, conserved = jax.device_get(sampled(integrator, state, 1000, 20))
    assert conserved.dtype == dtype
    assert np.std(kinetic) > 0.05
    assert np.std(conserved) < 0.01 * np.std(kinetic)


def test_centre_of_mass_stays(cluster: System, argon) -> None:
    _, run = md.simulate(argon("float64"), cluster, md.Langevin(temperature_K=40.0), timestep_fs=2.0, steps=500)
    centre = run.frames.positions.mean(axis=1)
    assert np.abs(centre - centre[0]).max() < 1e-10
    _, run = md.simulate(
        argon("float64"), cluster, md.Langevin(temperature_K=40.0, fix_center=False), timestep_fs=2.0, steps=500
    )
    centre = run.frames.positions.mean(axis=1)
    assert np.abs(centre - centre[0]).max() > 1e-3


@pytest.mark.parametrize(
    "bad", [{"temperature_K": 0.0}, {"temperature_K": -1.0}, {"temperature_K": 300, "friction_per_ps": 0.0}]
)
def test_impossible_thermostats_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive|greater than 0"):
        md.Langevin(**bad)


def test_threefry_equals_the_library(rng: np.random.Generator) -> None:
    key = jnp.asarray(rng.integers(2**32, size=2), jnp.uint32)
    counters = jnp.asarray(rng.integers(2**32, size=(2, 50)), jnp.uint32)
    ours = threefry(key[0], key[1], counters[0], counters[1])
    theirs = threefry_2x32(key, counters.reshape(-1)).reshape(2, -1)
    np.testing.assert_array_equal(np.stack(ours), theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_standard_normal_and_independent(dtype: str) -> None:
    key = jax.random.key(5)
    noise = np.asarray(jax.vmap(lambda step: normal(key, step, (7, 3), dtype))(jnp.arange(5000, dtype=jnp.int32)))
    assert noise.dtype == dtype
    assert stats.kstest(noise.reshape(-1), "norm").pvalue > 1e-3
    flat = noise.reshape(5000, -1)
    correlation = np.corrcoef(flat.T) - np.eye(21)
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)
    assert abs(np.mean(flat[1:] * flat[:-1])) < 5 / np.sqrt(flat.size)
    other = np.asarray(normal(jax.random.key(6), jnp.int32(0), (7, 3), dtype))
    assert not np.any(other == noise[0])
