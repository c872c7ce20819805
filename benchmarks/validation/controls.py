"""Integrators that are wrong on purpose: the checks must find each of them."""

import jax.numpy as jnp
from pydantic import PositiveFloat
from validation.ensembles import Ensemble, StatePoint, Surroundings

from so3krates import md
from so3krates.md import Integrator, State
from so3krates.md.operators import scale, temperature
from so3krates.md.state import Forces
from so3krates.system import System

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
        share = state.timestep / jnp.asarray(self.time_constant_fs * md.state.FEMTOSECOND, state.timestep.dtype)
        return scale(state, jnp.sqrt(1.0 + share * (self.temperature_K / temperature(state) - 1.0)))


class AllDegrees(md.NoseHoover):
    """A chain which believes that 3N degrees of freedom share the kinetic energy, although the centre of mass rests."""

    def degrees_of_freedom(self, system: System) -> int:
        return super().degrees_of_freedom(system) + 3


def weak_coupling(point: StatePoint, around: Surroundings) -> Integrator:
    return WeakCoupling(temperature_K=point.temperature_K, time_constant_fs=around.period_fs)


def warm(point: StatePoint, around: Surroundings) -> Integrator:
    return md.Langevin(temperature_K=WARM * point.temperature_K, friction_per_ps=around.friction_per_ps)


def all_degrees(point: StatePoint, around: Surroundings) -> Integrator:
    return AllDegrees(temperature_K=point.temperature_K, period_fs=around.period_fs)


CONTROLS = {
    "velocities scaled towards the mean (Berendsen)": Ensemble("NVT", weak_coupling),
    "temperature 3 % too high": Ensemble("NVT", warm),
    "3N degrees of freedom instead of 3N − 3": Ensemble("NVT", all_degrees),
}
"""What is wrong → how it is made."""
