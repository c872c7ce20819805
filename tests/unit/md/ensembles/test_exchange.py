"""Temperature exchange: canonical at every temperature, acceptance as it should be, nothing lost."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.dynamics import mean_error
from scipy import integrate, stats

from so3krates import md
from so3krates._errors import InputError
from so3krates.md.engine.replicas import stacked
from so3krates.md.ensembles.exchange import begun, check_ladder, exchange
from so3krates.md.state import make_state
from so3krates.system import System
from so3krates.units import BOLTZMANN

TEMPERATURES = (200.0, 260.0, 340.0, 440.0)
FREEDOM = 12
"""Coordinates of each replica: U is a gamma variable of half as many, times k_BT, for springs."""


def ladder() -> md.State:
    system = System(np.zeros((FREEDOM // 3, 3)), np.full(FREEDOM // 3, 6))
    states = []
    for number, temperature in enumerate(TEMPERATURES):
        bath = md.Langevin(temperature_K=temperature)
        start = md.Snapshot(system, md.maxwell_boltzmann(system, temperature, seed=number))
        state = bath.init(make_state(start, np.zeros(3), 1.0, number, 9, "float64"), 1.0)
        states.append(eqx.tree_at(lambda s: s.exchanged, state, begun(number), is_leaf=lambda x: x is None))
    return stacked(states)


@jax.jit
def attempts(state: md.State, energies: jax.Array) -> tuple[md.State, jax.Array, jax.Array]:
    """New energies, drawn at each temperature, before every attempt: exchanges must leave their distribution alone."""

    def one(state: md.State, drawn: tuple[jax.Array, jax.Array]) -> tuple[md.State, tuple[jax.Array, jax.Array]]:
        turn, energy = drawn
        state = eqx.tree_at(lambda s: (s.energy, s.step), state, (energy, state.step + 1))
        after = exchange(state, jnp.ones(len(TEMPERATURES), bool), turn)
        return after, (after.energy, after.exchanged.walker)

    turns = jnp.arange(len(energies), dtype=jnp.int32)
    state, (seen, walkers) = jax.lax.scan(one, state, (turns, energies))
    return state, seen, walkers


def test_energies_stay_canonical_and_acceptance_is_that_of_the_distributions() -> None:
    thermal = BOLTZMANN * np.array(TEMPERATURES)
    rng = np.random.default_rng(1)
    drawn = thermal * rng.gamma(FREEDOM / 2, size=(40_000, len(TEMPERATURES)))
    before = ladder()
    state, seen, walkers = jax.device_get(attempts(before, jnp.asarray(drawn)))
    for number, each in enumerate(thermal):
        assert stats.kstest(seen[:, number] / each, stats.gamma(FREEDOM / 2).cdf).pvalue > 1e-3
        assert abs(seen[:, number].mean() - FREEDOM / 2 * each) < 4 * mean_error(seen[:, number])
    accepted, attempted = state.exchanged.accepted[:-1], state.exchanged.attempted[:-1]
    np.testing.assert_array_equal(attempted, [20_000, 20_000, 20_000])
    for number in range(len(TEMPERATURES) - 1):
        expected = _acceptance(thermal[number], thermal[number + 1])
        error = np.sqrt(expected * (1 - expected) / 20_000)
        assert abs(accepted[number] / attempted[number] - expected) < 4 * error
    assert (np.sort(walkers, axis=1) == np.arange(len(TEMPERATURES))).all()
    assert len(np.unique(walkers[:, 0])) == len(TEMPERATURES)


def _acceptance(low: float, high: float) -> float:
    """⟨min(1, e^Δ)⟩ over two independent gamma variables."""
    density = stats.gamma(FREEDOM / 2).pdf

    def weight(u: float, v: float) -> float:
        return density(u) * density(v) * min(1.0, np.exp((1 / low - 1 / high) * (low * u - high * v)))

    return integrate.dblquad(weight, 0, 40, 0, 40, epsabs=1e-5)[0]


def test_velocities_take_the_temperature_and_the_balance_is_kept() -> None:
    state = ladder()
    # The cold replica has the higher energy, so that the first pair always exchanges.
    state = eqx.tree_at(lambda s: s.energy, state, jnp.asarray([3.0, 1.0, 9.0, 1.0]))
    after = exchange(state, jnp.ones(4, bool), jnp.asarray(0, jnp.int32))
    np.testing.assert_allclose(after.energy, [1.0, 3.0, 1.0, 9.0])
    ratio = np.sqrt(TEMPERATURES[0] / TEMPERATURES[1])
    np.testing.assert_allclose(after.velocities[0], ratio * state.velocities[1], rtol=1e-12)
    np.testing.assert_allclose(after.velocities[1], state.velocities[0] / ratio, rtol=1e-12)
    np.testing.assert_array_equal(after.positions[0], state.positions[1])
    np.testing.assert_array_equal(after.exchanged.walker, [1, 0, 3, 2])
    bath = md.Langevin(temperature_K=300.0)
    np.testing.assert_allclose(jax.vmap(bath.conserved)(after), jax.vmap(bath.conserved)(state), rtol=1e-12)


def test_a_replica_that_has_ended_takes_no_part() -> None:
    state = eqx.tree_at(lambda s: s.energy, ladder(), jnp.asarray([3.0, 1.0, 9.0, 1.0]))
    after = exchange(state, jnp.asarray([True, False, True, True]), jnp.asarray(0, jnp.int32))
    np.testing.assert_allclose(after.energy, [3.0, 1.0, 1.0, 9.0])
    np.testing.assert_array_equal(after.exchanged.attempted, [0, 0, 1, 0])


@pytest.mark.parametrize(
    ("integrators", "sentence"),
    [
        ([md.NVE(), md.NVE()], "works with Langevin and CSVR, not with NVE"),
        ([md.CSVR(temperature_K=300.0)], "at least two replicas"),
        ([md.CSVR(temperature_K=300.0), md.CSVR(temperature_K=300.0)], "must increase .* received 300, 300 K"),
        (
            [md.CSVR(temperature_K=md.Ramp(time_ps=(0.0, 1.0), value=(1.0, 2.0))), md.CSVR(temperature_K=300.0)],
            "constant temperatures",
        ),
    ],
)
def test_ladders_that_are_none(integrators: list[md.Integrator], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_ladder(integrators)


def test_an_interval_is_whole_steps() -> None:
    assert md.TemperatureExchange(every_fs=100.0).steps(0.5) == 200
    with pytest.raises(InputError, match="every 0.7 fs; it must be a multiple of the time step, such as 0.5 fs"):
        md.TemperatureExchange(every_fs=0.7).steps(0.5)
    with pytest.raises(InputError, match="every 1e\\+300 fs; it must be a multiple of the time step"):
        md.TemperatureExchange(every_fs=1e300).steps(0.5)
    with pytest.raises(ValueError, match="should be a finite number"):
        md.TemperatureExchange(every_fs=float("inf"))
