"""Ramps: their values in compiled code, a bath that follows one, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from oracles.dynamics import STIFFNESS, sampled, springs, started

from so3krates import md
from so3krates.md.ensembles.operators import kinetic_energy, temperature
from so3krates.md.ensembles.schedule import make_schedule
from so3krates.system import System
from so3krates.units import BOLTZMANN, PICOSECOND

RAMP = md.Ramp(time_ps=(1.0, 3.0, 4.0), value=(100.0, 500.0, 200.0))


def test_values_are_those_of_straight_lines() -> None:
    schedule = make_schedule(RAMP, 1e-3 * PICOSECOND, "float64", lambda t: 2 * t)
    times = np.array([0, 1000, 1500, 3000, 3999, 4000, 9000])
    found = [float(schedule.at(jnp.asarray(step, jnp.int32))) for step in times]
    np.testing.assert_allclose(found, 2 * np.interp(times, [1000, 3000, 4000], RAMP.value), rtol=1e-6)


@pytest.mark.parametrize("kind", [md.Langevin, md.CSVR, md.NoseHoover])
def test_the_temperature_follows_and_the_balance_is_kept(kind: type) -> None:
    """Heating from 100 K to 400 K within 4 ps; the mean of many oscillators is sharp."""
    amplitude = np.sqrt(BOLTZMANN * 100.0 / STIFFNESS)
    system = System(amplitude * np.random.default_rng(0).standard_normal((500, 3)), np.full(500, 6))
    ramp = md.Ramp(time_ps=(0.0, 4.0), value=(100.0, 400.0))
    options = {md.Langevin: {"friction_per_ps": 50.0}, md.CSVR: {"time_constant_fs": 20.0}, md.NoseHoover: {}}
    integrator = kind(temperature_K=ramp, **options[kind])
    assert integrator.start_temperature_K == 100.0
    start = md.Snapshot(system, md.maxwell_boltzmann(system, 100.0, seed=1))
    state = started(integrator, start, 0.5, seed=2)
    heat, conserved, kinetic = sampled(
        integrator,
        springs,
        state,
        200,
        50,
        lambda s: (temperature(s), integrator.conserved(s), kinetic_energy(s)),
    )
    means = np.asarray(heat).reshape(10, 20).mean(axis=1)
    expected = np.interp(np.arange(10) * 0.5 + 0.2625, [0, 4], [100, 400])
    # Oscillators of one frequency follow a chain late, since it scales them together; they end where they should.
    followed = slice(-1, None) if kind is md.NoseHoover else slice(1, None)
    assert np.abs(means[followed] - expected[followed]).max() < 30.0
    assert np.ptp(np.asarray(kinetic)) > 10.0
    assert np.ptp(np.asarray(conserved)) < 0.05 * np.ptp(np.asarray(kinetic))


@pytest.mark.parametrize(
    ("times", "values", "sentence"),
    [
        ((0.0,), (1.0,), "at least two; received 1 times and 1 values"),
        ((0.0, 1.0), (1.0,), "received 2 times and 1 values"),
        ((0.0, 0.0), (1.0, 2.0), "start at 0 or later and increase"),
        ((-1.0, 1.0), (1.0, 2.0), "start at 0 or later and increase"),
        ((0.0, 1.0), (1.0, float("nan")), "should be a finite number"),
    ],
)
def test_ramps_that_are_none(times: tuple, values: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        md.Ramp(time_ps=times, value=values)


def test_temperatures_along_a_ramp_are_positive() -> None:
    with pytest.raises(ValueError, match=r"temperatures must be positive, in K; received 300, 0"):
        md.CSVR(temperature_K=md.Ramp(time_ps=(0.0, 1.0), value=(300.0, 0.0)))
