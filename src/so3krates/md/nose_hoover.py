"""Nosé–Hoover chains with Suzuki–Yoshida weights (Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117)."""

from collections.abc import Iterable
from dataclasses import replace
from math import pi

import equinox as eqx
import jax.numpy as jnp
from pydantic import Field, PositiveFloat, PositiveInt

from so3krates._errors import InputError
from so3krates._typing import Array, Float
from so3krates.config import Config
from so3krates.md.operators import drift, kick, kinetic_energy, refresh, scale, tick
from so3krates.md.state import Forces, Snapshot, State
from so3krates.md.velocities import degrees_of_freedom, rotates, without_center, without_rotation
from so3krates.system import System
from so3krates.units import BOLTZMANN, FEMTOSECOND

_CUBE = 2.0 ** (1.0 / 3.0)
YOSHIDA = (1.0 / (2.0 - _CUBE), 1.0 - 2.0 / (2.0 - _CUBE), 1.0 / (2.0 - _CUBE))
"""Weights of the fourth-order decomposition; they add up to 1."""


class Chain(eqx.Module):
    """Variables of the thermostat: coordinates η, momenta p and masses Q of its links."""

    eta: Float[Array, " links"]
    momentum: Float[Array, " links"]
    mass: Float[Array, " links"]
    """Q_1 = N_f k_BT τ², Q_k = k_BT τ² for the others, with τ = period/2π."""
    thermal: Float[Array, ""]
    """k_BT."""


class NoseHoover(Config):
    """Canonical ensemble by a deterministic chain of thermostats; the centre of mass rests, 3N − 3 degrees of freedom.

    A chain scales velocities and turns nothing: an isolated molecule that does not rotate never will. With
    `fix_rotation` the angular momentum is removed at the start and 3N − 6 degrees of freedom (3N − 5 for a linear
    molecule) share the kinetic energy; an isolated molecule at rest is refused without it, since its vibrations would
    become too hot. A chain needs a system that is ergodic by itself: for a few stiff oscillators take Langevin.
    """

    temperature_K: PositiveFloat = Field(description="temperature, K")
    period_fs: PositiveFloat = Field(default=100.0, description="period of the thermostat's oscillation, fs")
    chain: PositiveInt = Field(default=3, description="number of links")
    fix_rotation: bool = Field(
        default=False, description="remove the angular momentum at the start; isolated molecules only"
    )

    @property
    def fix_center(self) -> bool:
        return True

    @property
    def start_temperature_K(self) -> float:
        return self.temperature_K

    def degrees_of_freedom(self, system: System) -> int:
        return degrees_of_freedom(system, fix_center=True, fix_rotation=self.fix_rotation)

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        system, velocities = snapshot.system, snapshot.velocities
        if velocities is None:
            return snapshot
        velocities = without_center(system, velocities)
        if self.fix_rotation:
            velocities = without_rotation(system, velocities)
        elif not rotates(system, velocities):
            raise InputError(
                f"{system.formula} does not rotate, and a Nosé–Hoover chain cannot make it: with fix_rotation=True its "
                f"{degrees_of_freedom(system, fix_center=True, fix_rotation=True)} other degrees of freedom share the "
                "kinetic energy."
            )
        return replace(snapshot, velocities=velocities)

    def init(self, state: State, timestep_fs: float) -> State:
        del timestep_fs
        thermal = BOLTZMANN * self.temperature_K
        tau = self.period_fs * FEMTOSECOND / (2.0 * pi)
        dtype = state.positions.dtype
        unit = jnp.ones((self.chain,), dtype).at[0].set(state.freedom)
        zero = jnp.zeros((self.chain,), dtype)
        return replace(state, thermostat=Chain(zero, zero, thermal * tau * tau * unit, jnp.asarray(thermal, dtype)))

    def step(self, state: State, forces: Forces) -> State:
        state = kick(_half_chain(state), 0.5)
        state = refresh(drift(state, 1.0), forces)
        return tick(_half_chain(kick(state, 0.5)))

    def conserved(self, state: State) -> Float[Array, ""]:
        """E + Σ p²/2Q + N_f k_BT η_1 + k_BT Σ_{k>1} η_k."""
        chain: Chain = state.thermostat
        own = 0.5 * jnp.sum(chain.momentum * chain.momentum / chain.mass)
        work = chain.thermal * (state.freedom * chain.eta[0] + jnp.sum(chain.eta[1:]))
        return state.energy + kinetic_energy(state) + own + work


def _half_chain(state: State) -> State:
    """exp(iL_NHC Δt/2): the chain moves for half a step and scales all velocities by one factor."""
    chain: Chain = state.thermostat
    links = range(chain.mass.shape[0])
    p, eta, mass = [chain.momentum[k] for k in links], chain.eta, [chain.mass[k] for k in links]
    doubled = 2.0 * kinetic_energy(state)
    factor = jnp.ones_like(doubled)
    for weight in YOSHIDA:
        step = (0.5 * weight) * state.timestep
        p = _push(p, mass, doubled, state.freedom, chain.thermal, step, reversed(links))
        shrink = jnp.exp(-step * p[0] / mass[0])
        factor, doubled = factor * shrink, doubled * shrink * shrink
        eta = eta + step * jnp.stack(p) / chain.mass
        p = _push(p, mass, doubled, state.freedom, chain.thermal, step, links)
    return scale(replace(state, thermostat=replace(chain, eta=eta, momentum=jnp.stack(p))), factor)


def _push(
    p: list[Float[Array, ""]],
    mass: list[Float[Array, ""]],
    doubled: Float[Array, ""],
    freedom: Float[Array, ""],
    thermal: Float[Array, ""],
    step: Float[Array, ""],
    order: Iterable[int],
) -> list[Float[Array, ""]]:
    """Half a kick of each link, between two quarter frictions by the link behind it."""
    p = list(p)
    for k in order:
        force = doubled - freedom * thermal if k == 0 else p[k - 1] * p[k - 1] / mass[k - 1] - thermal
        friction = jnp.exp(-0.25 * step * p[k + 1] / mass[k + 1]) if k + 1 < len(p) else jnp.ones_like(doubled)
        p[k] = (p[k] * friction + 0.5 * step * force) * friction
    return p
