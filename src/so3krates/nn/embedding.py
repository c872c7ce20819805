"""Initial features from elements, total charge and spin; initial Euclidean variables from the neighbours."""

from math import sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float
from so3krates.graph import Graph, scatter_pairs
from so3krates.nn.attention import PairGeometry
from so3krates.nn.degrees import parities, repeats
from so3krates.nn.dense import Dense
from so3krates.nn.initial import normal

ELEMENT_ROWS = 119
"""Rows of an element table: row Z for atomic number Z, row 0 for padding."""


class ElementEmbedding(eqx.Module):
    """f_i = table[Z_i]."""

    table: Float[Array, "elements features"]

    def __init__(self, features: int, *, rng: np.random.Generator, dtype: object, scale: float) -> None:
        """Entries normal with standard deviation `scale`."""
        self.table = normal(rng, (ELEMENT_ROWS, features), scale, dtype)

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        return self.table[graph.numbers]


class ElectronicEmbedding(eqx.Module):
    """Embedding of a total ψ (charge, or number of unpaired electrons), spread over the atoms; SpookyNet, eqs. 9–10.

    a_i = ψ softplus(q_i·k/√F) / Σ_{atoms of the structure} softplus(q·k/√F), u_i = a_i v,
    e_i = u_i + W₂ SiLU(W₁ SiLU(u_i)); q_i = query[Z_i]; k, v are row 0 for ψ ≥ 0 and row 1 for ψ < 0; no biases.
    """

    query: Float[Array, "elements features"]
    key: Float[Array, "2 features"]
    value: Float[Array, "2 features"]
    first: Dense
    second: Dense

    def __init__(self, features: int, *, rng: np.random.Generator, dtype: object) -> None:
        deviation = 1.0 / sqrt(features)
        self.query = normal(rng, (ELEMENT_ROWS, features), deviation, dtype)
        self.key = normal(rng, (2, features), deviation, dtype)
        self.value = normal(rng, (2, features), deviation, dtype)
        self.first = Dense(features, features, rng=rng, dtype=dtype, bias=False)
        self.second = Dense(features, features, rng=rng, dtype=dtype, bias=False)

    def __call__(self, total: Float[Array, " structures"], graph: Graph) -> Float[Array, "atoms features"]:
        row = (total < 0).astype(jnp.int32)[graph.structure]
        logits = jnp.sum(self.query[graph.numbers] * self.key[row], axis=-1) / sqrt(self.query.shape[1])
        weights = jnp.where(graph.atom_mask, jax.nn.softplus(logits), jnp.zeros_like(logits))
        share = weights / jnp.maximum(graph.sum_structures(weights), jnp.finfo(weights.dtype).tiny)[graph.structure]
        u = (total[graph.structure] * share)[:, None] * self.value[row]
        return u + self.second(jax.nn.silu(self.first(jax.nn.silu(u))))


def neighbor_harmonics(
    geometry: PairGeometry, graph: Graph, degrees: tuple[int, ...], mean_neighbors: float
) -> Float[Array, "atoms orders"]:
    """x_i = (1/⟨N⟩) Σ_j φ(r_ij) Y(r̂_ij); article, eq. 11."""
    dtype = geometry.harmonics.dtype
    to_centers = (geometry.cutoff / mean_neighbors)[:, None] * geometry.harmonics
    parity = jnp.asarray(parities(degrees), dtype) @ repeats(degrees, dtype)
    return scatter_pairs(to_centers, to_centers * parity, graph)
