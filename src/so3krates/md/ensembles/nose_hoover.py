"""Nosé–Hoover chains: canonical ensemble without noise (Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117)."""

from dataclasses import replace

import equinox as eqx
from pydantic import Field, PositiveInt

from so3krates._typing import Array, Float
from so3krates.md.ensembles.chain import Chain, half_step, make_chain
from so3krates.md.ensembles.operators import drift, kick, kinetic_energy, refresh, scale
from so3krates.md.ensembles.scaling import ConstantVolume
from so3krates.md.ensembles.schedule import Schedule
from so3krates.md.ensembles.slow import Slow
from so3krates.md.state import Forces, State
from so3krates.units import BOLTZMANN


class Chained(eqx.Module):
    """Variables of the thermostat."""

    chain: Chain
    thermal: Schedule
    """k_BT."""


class NoseHoover(ConstantVolume):
    """Canonical ensemble by a deterministic chain of thermostats; the centre of mass rests, 3N − 3 degrees of freedom.

    A chain scales velocities and turns nothing: an isolated molecule that does not rotate never will. With
    `fix_rotation` the angular momentum is removed at the start and 3N − 6 degrees of freedom share the kinetic energy;
    an isolated molecule at rest is refused without it, since its vibrations would become too hot. A chain needs a
    system that is ergodic by itself: for a few stiff oscillators take Langevin.

    The mass of the first link is N_f k_BT τ² at the first temperature of a ramp. The period is `period_fs` where
    kinetic and potential energy share alike, as in a solid; in a gas it is shorter by √2, and at a higher temperature
    of a ramp by the root of the ratio.
    """

    scaled_by = "a Nosé–Hoover chain"

    period_fs: Slow = Field(default=100.0, description="period of the thermostat's oscillation, fs")
    chain: PositiveInt = Field(default=3, description="number of links")
    fix_rotation: bool = Field(
        default=False, description="remove the angular momentum at the start; isolated molecules only"
    )

    def init(self, state: State, timestep_fs: float) -> State:
        dtype, start = state.positions.dtype, BOLTZMANN * self.start_temperature_K
        chain = make_chain(self.chain, state.freedom, start, self.period_fs, dtype)
        return replace(state, thermostat=Chained(chain, self.thermal(timestep_fs, dtype)))

    def step(self, state: State, forces: Forces) -> State:
        state = kick(_half_chain(state), 0.5)
        state = refresh(drift(state, 1.0), forces)
        return _half_chain(kick(state, 0.5))

    def conserved(self, state: State) -> Float[Array, ""]:
        """E + Σ p²/2Q + ∫ (N_f k_BT dη_1 + k_BT Σ_{k>1} dη_k)."""
        return state.energy + kinetic_energy(state) + state.thermostat.chain.energy


def _half_chain(state: State) -> State:
    own: Chained = state.thermostat
    doubled = 2.0 * kinetic_energy(state)
    chain, factor = half_step(own.chain, doubled, state.freedom, own.thermal.at(state.step), state.timestep)
    return scale(replace(state, thermostat=replace(own, chain=chain)), factor)
