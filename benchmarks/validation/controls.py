"""Integrators that are wrong on purpose: the checks must find each of them."""

import jax
import jax.numpy as jnp
from pydantic import PositiveFloat
from validation.ensembles import Ensemble, Maker, StatePoint, Surroundings

from so3krates import md
from so3krates.md import Integrator, State
from so3krates.md.ensembles.operators import scale, temperature
from so3krates.md.state import Forces, Snapshot
from so3krates.units import FEMTOSECOND

WARM = 1.03
"""Temperature of `warm` over the one that was asked for."""


class WeakCoupling(md.NVE):
    """Berendsen's thermostat: the mean temperature is right, its fluctuations are too small."""

    temperature_K: PositiveFloat
    time_constant_fs: PositiveFloat

    @property
    def start_temperature_K(self) -> float:  # type: ignore[override]
        return self.temperature_K

    def step(self, state: State, forces: Forces) -> State:
        state = super().step(state, forces)
        share = state.timestep / jnp.asarray(self.time_constant_fs * FEMTOSECOND, state.timestep.dtype)
        return scale(state, jnp.sqrt(1.0 + share * (self.temperature_K / temperature(state) - 1.0)))


class AllDegrees(md.NoseHoover):
    """A chain which believes that 3N degrees of freedom share the kinetic energy, although the centre of mass rests."""

    def degrees_of_freedom(self, start: Snapshot) -> int:
        return super().degrees_of_freedom(start) + 3


class CenterForgotten(md.StochasticCellRescaling):
    """Without the pressure of the centre of mass, which rests but lies anywhere: p(V) ∝ V^(N−1) e^(−pV/k_BT)."""

    def _pull(self, state: State) -> jax.Array:
        pull = super()._pull(state)
        return pull - state.thermostat.rescaling.thermal.at(state.step) * jnp.eye(3, dtype=pull.dtype)


class HalfTheNoise(md.StochasticCellRescaling):
    """A volume that relaxes towards its mean as it should and is kicked too little."""

    def _strain(self, state: State, pull: jax.Array) -> jax.Array:
        drift = state.thermostat.mobility * pull
        return drift + 0.5 * (super()._strain(state, pull) - drift)


def weak_coupling(point: StatePoint, around: Surroundings) -> Integrator:
    return WeakCoupling(temperature_K=point.temperature_K, time_constant_fs=around.period_fs)


def warm(point: StatePoint, around: Surroundings) -> Integrator:
    return md.Langevin(temperature_K=WARM * point.temperature_K, friction_per_ps=around.friction_per_ps)


def all_degrees(point: StatePoint, around: Surroundings) -> Integrator:
    return AllDegrees(temperature_K=point.temperature_K, period_fs=around.period_fs)


def _barostat(kind: type[md.StochasticCellRescaling]) -> Maker:
    def make(point: StatePoint, around: Surroundings) -> Integrator:
        assert point.pressure_GPa is not None
        return kind(
            temperature_K=point.temperature_K,
            pressure_GPa=point.pressure_GPa,
            compressibility_per_GPa=around.compressibility_per_GPa,
            barostat_time_fs=5.0 * around.period_fs,
            thermostat_time_fs=around.period_fs,
        )

    return make


CONTROLS = {
    "velocities scaled towards the mean (Berendsen)": Ensemble("NVT", weak_coupling),
    "temperature 3 % too high": Ensemble("NVT", warm),
    "3N degrees of freedom instead of 3N − 3": Ensemble("NVT", all_degrees),
}
"""What is wrong → how it is made."""

BAROSTATS = {
    "the centre of mass has no pressure": Ensemble("NPT", _barostat(CenterForgotten)),
    "half of the noise of the volume": Ensemble("NPT", _barostat(HalfTheNoise)),
}
"""Those that the volume of a few atoms of ideal gas shows."""
