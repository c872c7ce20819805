"""A Nosé–Hoover chain that moves for half a step, with Suzuki–Yoshida weights of fourth order.

Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996). Beside momenta, the coordinates of a chain matter for
the conserved quantity alone: in their place stands the heat that it has taken, which also holds where the temperature
changes.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import pi

import equinox as eqx
import jax.numpy as jnp

from so3krates._typing import Array, Float
from so3krates.md.ensembles.heat import Heat
from so3krates.units import FEMTOSECOND

_CUBE = 2.0 ** (1.0 / 3.0)
YOSHIDA = (1.0 / (2.0 - _CUBE), 1.0 - 2.0 / (2.0 - _CUBE), 1.0 / (2.0 - _CUBE))
"""Weights of the fourth-order decomposition; they add up to 1."""


class Chain(eqx.Module):
    """Momenta p and masses Q of the links."""

    momentum: Float[Array, " links"]
    mass: Float[Array, " links"]
    """Q_1 = N_f k_BT τ², Q_k = k_BT τ² for the others, with τ = period/2π."""
    heat: Heat
    """−∫ (N_f k_BT dη_1 + k_BT Σ_{k>1} dη_k)."""

    @property
    def energy(self) -> Float[Array, ""]:
        """Σ p²/2Q less the heat delivered: what has to be added to the energy of the system for a constant sum."""
        return 0.5 * jnp.sum(self.momentum * self.momentum / self.mass) - self.heat.total


def make_chain(links: int, freedom: float | Float[Array, ""], thermal: float, period_fs: float, dtype: object) -> Chain:
    """A chain at rest for so many degrees of freedom.

    Args:
        links: its length.
        freedom: of what it is coupled to.
        thermal: k_BT, eV.
        period_fs: of its oscillation.
        dtype: of the arithmetic.
    """
    tau = period_fs * FEMTOSECOND / (2.0 * pi)
    unit = jnp.ones((links,), dtype).at[0].set(freedom)  # type: ignore[arg-type]
    return Chain(jnp.zeros((links,), dtype), thermal * tau * tau * unit, Heat.zero(dtype))  # type: ignore[arg-type]


def half_step(
    chain: Chain,
    doubled: Float[Array, ""],
    freedom: float | Float[Array, ""],
    thermal: Float[Array, ""],
    timestep: Float[Array, ""],
) -> tuple[Chain, Float[Array, ""]]:
    """exp(iL_NHC Δt/2): the chain after half a step, and the factor for the velocities it is coupled to.

    Args:
        chain: before.
        doubled: twice the kinetic energy of these velocities.
        freedom: their number.
        thermal: k_BT now.
        timestep: Δt.
    """
    links = range(chain.mass.shape[0])
    p, mass, heat = [chain.momentum[k] for k in links], [chain.mass[k] for k in links], chain.heat
    factor = jnp.ones_like(doubled)
    for weight in YOSHIDA:
        step = (0.5 * weight) * timestep
        p = _push(p, mass, doubled, freedom, thermal, step, reversed(links))
        shrink = jnp.exp(-step * p[0] / mass[0])
        factor, doubled = factor * shrink, doubled * shrink * shrink
        turns = freedom * p[0] / mass[0] + sum(p[k] / mass[k] for k in links[1:])
        heat = heat.plus(-step * thermal * turns)
        p = _push(p, mass, doubled, freedom, thermal, step, links)
    return replace(chain, momentum=jnp.stack(p), heat=heat), factor


def _push(
    p: list[Float[Array, ""]],
    mass: list[Float[Array, ""]],
    doubled: Float[Array, ""],
    freedom: float | Float[Array, ""],
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
