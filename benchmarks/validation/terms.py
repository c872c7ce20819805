"""Two terms whose thermodynamics are known in closed form: a crystal of springs, and the ideal gas."""

import equinox as eqx
import jax.numpy as jnp

from so3krates._precision import checked_dtype, precision_scope
from so3krates._safe import masked, masked_norm
from so3krates._typing import Array, Float
from so3krates.graph import Graph, scatter_pairs
from so3krates.physics.switch import smooth_step
from so3krates.term import AnalyticTerm

REACH = (1.15, 1.32)
"""Springs are quadratic up to the first of these multiples of their natural length and end at the second, before the
next neighbours of a face-centred lattice at √2."""


class Springs(AnalyticTerm):
    """½k(r − r₀)² between nearest neighbours of a face-centred cubic crystal.

    A function of distances alone, so it has pressure and shear and lets the crystal move as a whole. The well is
    lowered by its value at the end of its reach, where a smooth step ends it: thermal motion does not come near.
    """

    name = "springs"

    stiffness: Float[Array, ""]
    """k, eV/Å²."""
    length: Float[Array, ""]
    """r₀, Å."""
    cutoff: float = eqx.field(static=True)

    def __init__(self, stiffness: float, length: float, dtype: object = "float32") -> None:
        dtype = checked_dtype(dtype)
        with precision_scope(dtype):
            self.stiffness = jnp.asarray(stiffness, dtype)
            self.length = jnp.asarray(length, dtype)
        self.cutoff = REACH[1] * length

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        r = masked_norm(graph.vectors, graph.pair_mask)
        depth = 0.5 * self.stiffness * ((REACH[1] - 1.0) * self.length) ** 2
        well = 0.5 * self.stiffness * (r - self.length) ** 2 - depth
        step = smooth_step(r, REACH[0] * self.length, self.cutoff)
        half = masked(0.5 * well * step, graph.pair_mask)
        return scatter_pairs(half, half, graph)


class IdealGas(AnalyticTerm):
    """No energy: ⟨V⟩ follows from N, T and p."""

    name = "ideal_gas"

    zero: Float[Array, ""]
    """Carries the precision."""
    cutoff: float = eqx.field(static=True)

    def __init__(self, cutoff: float = 2.0, dtype: object = "float32") -> None:
        dtype = checked_dtype(dtype)
        with precision_scope(dtype):
            self.zero = jnp.asarray(0.0, dtype)
        self.cutoff = cutoff

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        none = masked(self.zero * masked_norm(graph.vectors, graph.pair_mask), graph.pair_mask)
        return scatter_pairs(none, none, graph)
