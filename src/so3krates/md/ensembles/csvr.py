"""Stochastic velocity rescaling, CSVR (Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101, 2007)."""

from dataclasses import replace
from math import exp

import equinox as eqx
import jax.numpy as jnp
from pydantic import Field, PositiveFloat

from so3krates._typing import Array, Float
from so3krates.md.ensembles.heat import Heat
from so3krates.md.ensembles.noise import normal
from so3krates.md.ensembles.operators import drift, kick, kinetic_energy, refresh, scale
from so3krates.md.ensembles.scaling import ConstantVolume
from so3krates.md.ensembles.schedule import Schedule
from so3krates.md.state import Forces, State


class Rescaling(eqx.Module):
    """Variables of the thermostat."""

    decay: Float[Array, ""]
    """e^(−Δt/τ)."""
    thermal: Schedule
    """k_BT."""
    heat: Heat
    """Delivered so far."""


class CSVR(ConstantVolume):
    """Canonical ensemble by one random factor for all velocities; the centre of mass rests, 3N − 3 degrees of freedom.

    The kinetic energy follows its own stochastic dynamics towards the canonical distribution within the time constant,
    while the motion is disturbed less than by Langevin dynamics: diffusion and spectra stay close to those at constant
    energy. Like a Nosé–Hoover chain it scales velocities and turns nothing (`fix_rotation`), and modes that exchange no
    energy by themselves keep their shares.
    """

    scaled_by = "velocity rescaling"

    time_constant_fs: PositiveFloat = Field(default=100.0, description="time constant τ of the thermostat, fs")
    fix_rotation: bool = Field(
        default=False, description="remove the angular momentum at the start; isolated molecules only"
    )

    @property
    def exchangeable(self) -> bool:
        return True

    def init(self, state: State, timestep_fs: float) -> State:
        thermal = self.thermal(timestep_fs, state.positions.dtype)
        return replace(state, thermostat=make_rescaling(thermal, timestep_fs / self.time_constant_fs))

    def step(self, state: State, forces: Forces) -> State:
        state = drift(kick(state, 0.5), 1.0)
        state = kick(refresh(state, forces), 0.5)
        state, rescaling = rescale(state, state.thermostat)
        return replace(state, thermostat=rescaling)

    def conserved(self, state: State) -> Float[Array, ""]:
        """Total energy less the heat delivered by the thermostat."""
        return state.energy + kinetic_energy(state) - state.thermostat.heat.total


def make_rescaling(thermal: Schedule, rate: float) -> Rescaling:
    """A thermostat that has delivered nothing yet; its rate is Δt/τ."""
    dtype = thermal.start.dtype
    return Rescaling(decay=jnp.asarray(exp(-rate), dtype), thermal=thermal, heat=Heat.zero(dtype))


def rescale(state: State, rescaling: Rescaling) -> tuple[State, Rescaling]:
    """v ← αv, with α² = K'/K drawn from the exact solution for the kinetic energy (their appendix A7).

    The sum over N_f squares is made of N_f normal numbers: no rejection, and the same in every batch. α is negative
    with the probability that makes the rule right for few degrees of freedom (Bussi and Parrinello, Comput. Phys.
    Commun. 179, 26, 2008).
    """
    kinetic, decay = kinetic_energy(state), rescaling.decay
    noise = normal(state.key, state.step, (state.positions.size,), state.positions.dtype)
    counted = jnp.arange(noise.size, dtype=jnp.int32) < state.freedom.astype(jnp.int32)
    others = jnp.sum(jnp.where(counted, noise * noise, 0.0).at[0].set(0.0))
    # K̄(1 − c)/(N_f K) with K̄ = N_f k_BT/2
    ratio = 0.5 * rescaling.thermal.at(state.step) * (1.0 - decay) / kinetic
    along = jnp.sqrt(decay) + jnp.sqrt(ratio) * noise[0]
    square = along * along + ratio * others
    factor = jnp.sign(noise[0] + jnp.sqrt(decay / ratio)) * jnp.sqrt(square)
    heat = rescaling.heat.plus(kinetic * (square - 1.0))
    return scale(state, factor), replace(rescaling, heat=heat)
