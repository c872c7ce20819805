"""Langevin dynamics by the BAOAB splitting (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34)."""

from dataclasses import replace
from math import exp, expm1, sqrt

import equinox as eqx
import jax.numpy as jnp
from pydantic import Field, PositiveFloat

from so3krates._typing import Array, Float
from so3krates.config import Config
from so3krates.md.operators import drift, kick, kinetic_energy, ornstein_uhlenbeck, refresh, tick
from so3krates.md.state import Forces, Snapshot, State
from so3krates.md.velocities import degrees_of_freedom, without_center
from so3krates.system import System
from so3krates.units import BOLTZMANN


class Bath(eqx.Module):
    """Variables of the Langevin thermostat."""

    decay: Float[Array, ""]
    """e^(−γΔt)."""
    spread: Float[Array, ""]
    """√(k_BT(1 − e^(−2γΔt)))."""
    heat: Float[Array, ""]
    """Energy delivered by the bath so far, eV."""
    heat_error: Float[Array, ""]
    """What rounding took from `heat`: the sum of millions of small terms is compensated."""


class Langevin(Config):
    """Canonical ensemble by friction and noise.

    Configurations are sampled exactly in a harmonic potential, and otherwise with an error of second order in Δt whose
    leading term vanishes at high friction.

    By default the noise moves no centre of mass, so a molecule in vacuum stays where it is and the kinetic energy is
    shared by 3N − 3 degrees of freedom. With `fix_center=False` every atom is coupled on its own: 3N.
    The kinetic temperature at the end of a step is low by (ωΔt)²/4 in a mode of frequency ω (2 % for a C–H stretch at
    0.5 fs), although the positions of such a mode are right.
    """

    temperature_K: PositiveFloat = Field(description="temperature of the bath, K")
    friction_per_ps: PositiveFloat = Field(default=1.0, description="γ, 1/ps")
    fix_center: bool = Field(default=True, description="keep the centre of mass at rest")

    @property
    def start_temperature_K(self) -> float:
        return self.temperature_K

    def degrees_of_freedom(self, system: System) -> int:
        return degrees_of_freedom(system, fix_center=self.fix_center, fix_rotation=False)

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.velocities is None or not self.fix_center:
            return snapshot
        return replace(snapshot, velocities=without_center(snapshot.system, snapshot.velocities))

    def init(self, state: State, timestep_fs: float) -> State:
        rate = self.friction_per_ps * timestep_fs * 1e-3
        dtype = state.positions.dtype
        bath = Bath(
            decay=jnp.asarray(exp(-rate), dtype),
            spread=jnp.asarray(sqrt(-BOLTZMANN * self.temperature_K * expm1(-2.0 * rate)), dtype),
            heat=jnp.zeros((), dtype),
            heat_error=jnp.zeros((), dtype),
        )
        return replace(state, thermostat=bath)

    def step(self, state: State, forces: Forces) -> State:
        state = drift(kick(state, 0.5), 0.5)
        state = self._exchange(state)
        state = refresh(drift(state, 0.5), forces)
        return tick(kick(state, 0.5))

    def conserved(self, state: State) -> Float[Array, ""]:
        """Total energy less the heat delivered by the bath."""
        return state.energy + kinetic_energy(state) - state.thermostat.heat

    def _exchange(self, state: State) -> State:
        bath: Bath = state.thermostat
        after = ornstein_uhlenbeck(state, bath.decay, bath.spread, self.fix_center)
        # ½ Σ m (v'² − v²) as one sum of products: no difference of two large numbers.
        change = (after.velocities - state.velocities) * (after.velocities + state.velocities)
        gain = 0.5 * jnp.sum(state.masses * change) - bath.heat_error
        heat = bath.heat + gain
        return replace(after, thermostat=replace(bath, heat=heat, heat_error=(heat - bath.heat) - gain))
