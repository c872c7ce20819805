"""Langevin dynamics by the BAOAB splitting (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34)."""

from dataclasses import replace
from math import exp, expm1
from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
from pydantic import AfterValidator, Field, PositiveFloat

from so3krates._typing import Array, Float
from so3krates.config import Config
from so3krates.md.ensembles.heat import Heat
from so3krates.md.ensembles.operators import drift, kick, kinetic_energy, ornstein_uhlenbeck, refresh
from so3krates.md.ensembles.schedule import Ramp, Schedule, every_temperature, make_schedule, start_of
from so3krates.md.ensembles.velocities import degrees_of_freedom, without_center
from so3krates.md.state import Forces, Snapshot, State
from so3krates.units import BOLTZMANN, FEMTOSECOND


class Bath(eqx.Module):
    """Variables of the Langevin thermostat."""

    decay: Float[Array, ""]
    """e^(−γΔt)."""
    share: Float[Array, ""]
    """1 − e^(−2γΔt), of k_BT: the variance of the noise in a mass-weighted velocity."""
    thermal: Schedule
    """k_BT."""
    heat: Heat
    """Delivered so far."""


class Langevin(Config):
    """Canonical ensemble by friction and noise.

    Configurations are sampled exactly in a harmonic potential, and otherwise with an error of second order in Δt whose
    leading term vanishes at high friction.

    By default the noise moves no centre of mass, so a molecule in vacuum stays where it is and the kinetic energy is
    shared by 3N − 3 degrees of freedom. With `fix_center=False` every atom is coupled on its own: 3N.
    The kinetic temperature at the end of a step is low by (ωΔt)²/4 in a mode of frequency ω (2 % for a C–H stretch at
    0.5 fs), although the positions of such a mode are right.
    """

    temperature_K: Annotated[float | Ramp, AfterValidator(every_temperature)] = Field(
        description="temperature of the bath, K, or a ramp of it"
    )
    friction_per_ps: PositiveFloat = Field(default=1.0, description="γ, 1/ps")
    fix_center: bool = Field(default=True, description="keep the centre of mass at rest")

    @property
    def start_temperature_K(self) -> float:
        return start_of(self.temperature_K)

    @property
    def moves_cell(self) -> bool:
        return False

    @property
    def exchangeable(self) -> bool:
        return True

    def degrees_of_freedom(self, start: Snapshot) -> int:
        return degrees_of_freedom(start.system, start.fixed, fix_center=self.fix_center, fix_rotation=False)

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.velocities is None or not self.fix_center or snapshot.fixed:
            return snapshot
        return replace(snapshot, velocities=without_center(snapshot.system, snapshot.velocities))

    def init(self, state: State, timestep_fs: float) -> State:
        rate = self.friction_per_ps * timestep_fs * 1e-3
        dtype = state.positions.dtype
        bath = Bath(
            decay=jnp.asarray(exp(-rate), dtype),
            share=jnp.asarray(-expm1(-2.0 * rate), dtype),
            thermal=make_schedule(self.temperature_K, timestep_fs * FEMTOSECOND, dtype, lambda t: BOLTZMANN * t),
            heat=Heat.zero(dtype),
        )
        return replace(state, thermostat=bath)

    def step(self, state: State, forces: Forces) -> State:
        state = drift(kick(state, 0.5), 0.5)
        state = self._exchange(state)
        state = refresh(drift(state, 0.5), forces)
        return kick(state, 0.5)

    def conserved(self, state: State) -> Float[Array, ""]:
        """Total energy less the heat delivered by the bath."""
        return state.energy + kinetic_energy(state) - state.thermostat.heat.total

    def _exchange(self, state: State) -> State:
        bath: Bath = state.thermostat
        spread = jnp.sqrt(bath.share * bath.thermal.at(state.step))
        after = ornstein_uhlenbeck(state, bath.decay, spread, self.fix_center)
        # ½ Σ m (v'² − v²) as one sum of products: no difference of two large numbers.
        change = (after.velocities - state.velocities) * (after.velocities + state.velocities)
        return replace(after, thermostat=replace(bath, heat=bath.heat.plus(0.5 * jnp.sum(state.masses * change))))
