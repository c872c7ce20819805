"""Attention between neighbours: the one place where atoms exchange information.

Everything that touches pairs × features happens in `pair_attention`, from the atoms' queries, keys and values and the
pair geometry to the aggregated messages. It is a function of arrays so that another implementation can take its place.
"""

from math import sqrt
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.nn.degrees import invariants, parities, repeats
from so3krates.nn.filter import Filter
from so3krates.nn.initial import normal

VALUE_SCALE = 0.3
"""Initial size of the values relative to the features: three layers of messages stay smaller than what they add to."""


class PairGeometry(NamedTuple):
    """What every layer needs of the pairs; made once."""

    basis: Float[Array, "pairs functions"]
    cutoff: Float[Array, " pairs"]
    """φ(r_ij), zero for padding."""
    harmonics: Float[Array, "pairs orders"]


class Coefficients(NamedTuple):
    """Attention coefficients of both directions of each pair: α_ij (centers receive) and α_ji (others receive)."""

    features_to_centers: Float[Array, "pairs heads"]
    features_to_others: Float[Array, "pairs heads"]
    euclidean_to_centers: Float[Array, "pairs degrees"]
    euclidean_to_others: Float[Array, "pairs degrees"]


class Attention(eqx.Module):
    """Update of invariant features and Euclidean variables by attention; article, eqs. 15–21.

    α_ij = φ(r_ij)/c Σ_k (W_Q f_i)_k w_ij,k (W_K f_j)_k per head, without softmax;
    Δf_i = concat_h Σ_j α_ij W_V f_j;  Δx_i,lm = Σ_j α_ij,l Y_lm(r̂_ij).

    The features are cut into chunks first, H for f and |D| for x, each with matrices of its own, no bias.
    """

    query_f: Float[Array, "heads width width"]
    key_f: Float[Array, "heads width width"]
    value_f: Float[Array, "heads width width"]
    query_x: Float[Array, "degrees chunk chunk"]
    key_x: Float[Array, "degrees chunk chunk"]
    filter_f: Filter
    filter_x: Filter
    degrees: tuple[int, ...] = eqx.field(static=True)
    scale_f: float = eqx.field(static=True)
    scale_x: float = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        heads: int,
        degrees: tuple[int, ...],
        functions: int,
        scales: tuple[float, float],
        basis_scale: float,
        *,
        rng: np.random.Generator,
        dtype: object,
    ) -> None:
        width, chunk = features // heads, features // len(degrees)
        # A divisor smaller than the usual √width must not make attention run away at the start.
        damping_f = min(1.0, 1.0 / (scales[0] * sqrt(width)))
        damping_x = min(1.0, 1.0 / (scales[1] * sqrt(chunk)))
        self.query_f = _chunk_matrices(rng, heads, width, dtype, damping_f)
        self.key_f = _chunk_matrices(rng, heads, width, dtype)
        self.value_f = _chunk_matrices(rng, heads, width, dtype, VALUE_SCALE)
        self.query_x = _chunk_matrices(rng, len(degrees), chunk, dtype, damping_x)
        self.key_x = _chunk_matrices(rng, len(degrees), chunk, dtype)
        self.filter_f = Filter(features, functions, len(degrees), basis_scale, rng=rng, dtype=dtype)
        self.filter_x = Filter(features, functions, len(degrees), basis_scale, rng=rng, dtype=dtype)
        self.degrees = degrees
        self.scale_f, self.scale_x = scales

    def __call__(
        self,
        f: Float[Array, "atoms features"],
        x: Float[Array, "atoms orders"] | None,
        geometry: PairGeometry,
        graph: Graph,
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients]:
        """Messages Δf, Δx and the attention coefficients; `x` is None where all Euclidean variables are zero."""
        s = None if x is None else invariants(x[graph.others] - x[graph.centers], self.degrees)
        return pair_attention(
            _by_chunks(f, self.query_f),
            _by_chunks(f, self.key_f),
            _by_chunks(f, self.value_f),
            _by_chunks(f, self.query_x),
            _by_chunks(f, self.key_x),
            self.filter_f(geometry.basis, s),
            self.filter_x(geometry.basis, s),
            geometry,
            graph,
            heads=self.query_f.shape[0],
            degrees=self.degrees,
            scales=(self.scale_f, self.scale_x),
        )


def pair_attention(
    query_f: Float[Array, "atoms features"],
    key_f: Float[Array, "atoms features"],
    value_f: Float[Array, "atoms features"],
    query_x: Float[Array, "atoms features"],
    key_x: Float[Array, "atoms features"],
    filter_f: Float[Array, "pairs features"],
    filter_x: Float[Array, "pairs features"],
    geometry: PairGeometry,
    graph: Graph,
    *,
    heads: int,
    degrees: tuple[int, ...],
    scales: tuple[float, float],
) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients]:
    """Both directions of every pair in the same operations; `scales` are the 1/c of eq. 21 for f and for x.

    Rows 0…P−1 are what the centers receive, rows P…2P−1 what the others receive.
    """
    pairs, features = filter_f.shape
    dtype = filter_f.dtype
    receivers = jnp.concatenate([graph.centers, graph.others])
    senders = jnp.concatenate([graph.others, graph.centers])
    # Sums over a head and copies to a head are products with 0/1 matrices, which beat reshaping and index gathers.
    to_heads = repeats_of_chunks(heads, features, dtype)
    to_degrees = repeats_of_chunks(len(degrees), features, dtype)
    to_orders = repeats(degrees, dtype)
    parity = jnp.asarray(parities(degrees), dtype) @ to_orders

    def coefficients(query: Array, key: Array, filters: Array, to_chunks: Array, scale: float) -> Array:
        products = (query[receivers] * key[senders]).reshape(2, pairs, features) * filters
        return (products.reshape(2 * pairs, features) @ to_chunks.T) * (jnp.tile(geometry.cutoff, 2) * scale)[:, None]

    alpha = coefficients(query_f, key_f, filter_f, to_heads, scales[0])
    beta = coefficients(query_x, key_x, filter_x, to_degrees, scales[1])
    harmonics = jnp.concatenate([geometry.harmonics, geometry.harmonics * parity])
    delta_f = jax.ops.segment_sum((alpha @ to_heads) * value_f[senders], receivers, graph.atoms)
    delta_x = jax.ops.segment_sum((beta @ to_orders) * harmonics, receivers, graph.atoms)
    return delta_f, delta_x, Coefficients(alpha[:pairs], alpha[pairs:], beta[:pairs], beta[pairs:])


def repeats_of_chunks(chunks: int, features: int, dtype: object) -> Float[Array, "chunks features"]:
    """0/1 matrix that copies one number per chunk to all features of the chunk."""
    return jnp.repeat(jnp.eye(chunks, dtype=dtype), features // chunks, axis=1)  # type: ignore[arg-type]


def _by_chunks(
    f: Float[Array, "atoms features"], matrices: Float[Array, "chunks width width"]
) -> Float[Array, "atoms features"]:
    """Each chunk of the features times its own matrix (inputs, outputs)."""
    chunks, width, _ = matrices.shape
    return jnp.einsum("nci,cio->nco", f.reshape(-1, chunks, width), matrices).reshape(f.shape)


def _chunk_matrices(
    rng: np.random.Generator, chunks: int, width: int, dtype: object, scale: float = 1.0
) -> Float[Array, "chunks width width"]:
    return normal(rng, (chunks, width, width), scale / sqrt(width), dtype)
