"""Lennard-Jones: the reference fluid against which dynamics are validated."""

import equinox as eqx
import jax.numpy as jnp

from so3krates._precision import checked_dtype, precision_scope
from so3krates._safe import masked, masked_norm
from so3krates._typing import Array, Float
from so3krates.graph import Graph, scatter_pairs
from so3krates.term import AnalyticTerm


class LennardJones(AnalyticTerm):
    """4ε[(σ/r)¹² − (σ/r)⁶] times a C² switch from 1 at 0.9 r_c to 0 at r_c, half of it given to each atom.

    The switch is 1 − 10t³ + 15t⁴ − 6t⁵, t = (r − 0.9 r_c)/(0.1 r_c): energy, force and curvature are continuous.
    """

    name = "lennard_jones"

    epsilon: Float[Array, ""]
    """eV."""
    sigma: Float[Array, ""]
    """Å."""
    cutoff: float = eqx.field(static=True)

    def __init__(self, epsilon: float, sigma: float, cutoff: float, dtype: object = "float32") -> None:
        dtype = checked_dtype(dtype)
        with precision_scope(dtype):
            self.epsilon = jnp.asarray(epsilon, dtype)
            self.sigma = jnp.asarray(sigma, dtype)
        self.cutoff = cutoff

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        r = masked_norm(graph.vectors, graph.pair_mask)
        inverse = (self.sigma / r) ** 2
        sixth = inverse * inverse * inverse
        t = jnp.clip((r - 0.9 * self.cutoff) / (0.1 * self.cutoff), 0.0, 1.0)
        switch = 1.0 - t * t * t * (10.0 - t * (15.0 - 6.0 * t))
        half = masked(2.0 * self.epsilon * sixth * (sixth - 1.0) * switch, graph.pair_mask)
        return scatter_pairs(half, half, graph)
