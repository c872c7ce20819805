"""Attention between neighbours: the one place where atoms exchange information.

Three forms of the same sums: `pair_attention`, where energies are differentiated once at most; that of `pairwise`,
which is faster where forces are trained on; and the compiled kernel (`fused`), which takes the place of whole layers.
"""

from functools import partial
from math import sqrt
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag

from so3krates._typing import Array, Float, Int
from so3krates.graph import Graph, Kinds
from so3krates.nn import trained_pairs
from so3krates.nn.blocks import in_blocks
from so3krates.nn.degrees import invariants, parities, repeats
from so3krates.nn.filter import Filter, both
from so3krates.nn.initial import normal
from so3krates.nn.pairwise import coefficients, directed, received

VALUE_SCALE = 0.3
"""Initial size of the values relative to the features: three layers of messages stay smaller than what they add to."""


class PairGeometry(NamedTuple):
    """What every layer needs of the pairs; made once."""

    lengths: Float[Array, " pairs"]
    """r_ij, Å; 1 for padding."""
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


class AtomInputs(NamedTuple):
    """What attention needs of the atoms."""

    query: Float[Array, "atoms twice_features"]
    """For f, then for x."""
    key: Float[Array, "atoms twice_features"]
    value: Float[Array, "atoms features"]
    x: Float[Array, "atoms orders"] | None


class PairInputs(NamedTuple):
    """What attention needs of the pairs."""

    centers: Int[Array, " pairs"]
    others: Int[Array, " pairs"]
    geometry: PairGeometry


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
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients | None]:
        """Messages Δf, Δx and the attention coefficients; `x` is None where all Euclidean variables are zero.

        No coefficients where the compiled kernel runs.
        """
        if not graph.inference:
            return self._twice_differentiable(f, x, geometry, graph)
        atoms = self.atom_inputs(f, x)
        size = sum(2 * degree + 1 for degree in self.degrees)
        nothing = (jnp.zeros_like(f), jnp.zeros((len(f), size), f.dtype))
        pairs = PairInputs(jnp.asarray(graph.centers), jnp.asarray(graph.others), geometry)
        (delta_f, delta_x), coefficients = in_blocks(partial(self._messages, atoms), nothing, pairs)
        return delta_f, delta_x, coefficients

    def _twice_differentiable(
        self,
        f: Float[Array, "atoms features"],
        x: Float[Array, "atoms orders"] | None,
        geometry: PairGeometry,
        graph: Graph,
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients | None]:
        """The same in the form that is fastest where forces are trained on (`nn/pairwise.py`)."""
        if graph.purpose == "training" and trained_pairs.available(self.degrees):
            return self._by_kernel(f, x, geometry, graph)
        query_f, key_f, value = _in_chunks(f, self.query_f, self.key_f, self.value_f)
        query_x, key_x = _in_chunks(f, self.query_x, self.key_x)
        s = None if x is None else invariants(x[graph.others] - x[graph.centers], self.degrees)
        filter_f, filter_x = both(self.filter_f, self.filter_x, geometry.basis, s)
        phi = geometry.cutoff
        alpha = coefficients(query_f, key_f, filter_f, self.scale_f * phi, graph)
        beta = coefficients(query_x, key_x, filter_x, self.scale_x * phi, graph)
        delta_f = received(alpha, value, graph).reshape(f.shape)
        to_orders = repeats(self.degrees, f.dtype)
        parity = jnp.asarray(parities(self.degrees), f.dtype) @ to_orders
        harmonics = jnp.concatenate([geometry.harmonics, geometry.harmonics * parity])
        receivers, _ = directed(graph)
        delta_x = jax.ops.segment_sum((jnp.concatenate(beta) @ to_orders) * harmonics, receivers, graph.atoms)
        return delta_f, delta_x, Coefficients(*alpha, *beta)

    def _by_kernel(
        self,
        f: Float[Array, "atoms features"],
        x: Float[Array, "atoms orders"] | None,
        geometry: PairGeometry,
        graph: Graph,
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], None]:
        """The same by the compiled kernel (`nn/trained_pairs.py`), which does not keep the coefficients."""
        centers, others = jnp.asarray(graph.centers, jnp.int32), jnp.asarray(graph.others, jnp.int32)
        s = jnp.zeros((len(centers), 0), f.dtype) if x is None else invariants(x[others] - x[centers], self.degrees)
        pairs = trained_pairs.PairRows(geometry.cutoff, geometry.harmonics, geometry.basis, s)
        kinds = graph.kinds if x is None else None
        atoms, filters = self._of_atoms(f, at_origin=x is None) if kinds is None else self._of_kinds(f, kinds)
        ends = trained_pairs.PairEnds(centers, others, kinds, self.degrees, (self.scale_f, self.scale_x))
        return *trained_pairs.messages(pairs, atoms, filters, ends), None

    def _of_atoms(
        self, f: Float[Array, "atoms features"], *, at_origin: bool
    ) -> tuple[trained_pairs.AtomRows, trained_pairs.PairFilters]:
        """What the kernel needs where every atom has queries and keys of its own."""
        rows_f, rows_x = _side_by_side(f, self.query_f, self.key_f), _side_by_side(f, self.query_x, self.key_x)
        filters = (each.parameters(at_origin=at_origin) for each in (self.filter_f, self.filter_x))
        return trained_pairs.AtomRows(rows_f, rows_x, _by_chunks(f, self.value_f)), trained_pairs.PairFilters(*filters)

    def _of_kinds(
        self, f: Float[Array, "atoms features"], kinds: Kinds
    ) -> tuple[trained_pairs.AtomRows, trained_pairs.PairFilters]:
        """Where those of a kind share them, and filters are needed in products with them alone."""
        example = f[kinds.examples]
        filters = (
            each.parameters(at_origin=True).by_kinds(*_in_chunks(example, query, key))
            for each, query, key in (
                (self.filter_f, self.query_f, self.key_f),
                (self.filter_x, self.query_x, self.key_x),
            )
        )
        no_f, no_x = (jnp.zeros((len(f), len(matrices), 2, 0), f.dtype) for matrices in (self.query_f, self.query_x))
        return trained_pairs.AtomRows(no_f, no_x, _by_chunks(f, self.value_f)), trained_pairs.PairFilters(*filters)

    @property
    def heads(self) -> int:
        """H."""
        return self.query_f.shape[0]

    def atom_inputs(self, f: Float[Array, "atoms features"], x: Float[Array, "atoms orders"] | None) -> AtomInputs:
        """Queries, keys and values."""
        return AtomInputs(
            jnp.concatenate([_by_chunks(f, self.query_f), _by_chunks(f, self.query_x)], axis=1),
            jnp.concatenate([_by_chunks(f, self.key_f), _by_chunks(f, self.key_x)], axis=1),
            _by_chunks(f, self.value_f),
            x,
        )

    def _messages(
        self, atoms: AtomInputs, sums: tuple[Array, Array], pairs: PairInputs
    ) -> tuple[tuple[Array, Array], Coefficients]:
        x, basis = atoms.x, pairs.geometry.basis
        s = None if x is None else invariants(x[pairs.others] - x[pairs.centers], self.degrees)
        return pair_attention(
            atoms,
            jnp.concatenate([self.filter_f(basis, s), self.filter_x(basis, s)], axis=1),
            pairs,
            sums,
            heads=self.heads,
            degrees=self.degrees,
            scales=(self.scale_f, self.scale_x),
        )


def pair_attention(
    atoms: AtomInputs,
    filters: Float[Array, "pairs twice_features"],
    pairs: PairInputs,
    sums: tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"]],
    *,
    heads: int,
    degrees: tuple[int, ...],
    scales: tuple[float, float],
) -> tuple[tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"]], Coefficients]:
    """Messages of these pairs added to `sums`, and their coefficients; `scales` are the 1/c of eq. 21 for f and for x.

    Both directions of every pair in the same operations: rows 0…P−1 are what the centers receive, rows P…2P−1 what the
    others receive. Columns of filters, queries and keys: those for f, then those for x.
    """
    count, features, dtype = len(filters), atoms.value.shape[1], filters.dtype
    receivers = jnp.concatenate([pairs.centers, pairs.others])
    senders = jnp.concatenate([pairs.others, pairs.centers])
    # Sums over a head and copies to a head are products with 0/1 matrices, which beat reshaping and index gathers.
    to_heads = repeats_of_chunks(heads, features, dtype)
    to_degrees = repeats_of_chunks(len(degrees), features, dtype)
    to_orders = repeats(degrees, dtype)
    parity = jnp.asarray(parities(degrees), dtype) @ to_orders

    products = (atoms.query[receivers] * atoms.key[senders]).reshape(2, count, 2 * features) * filters
    sum_chunks = block_diag(scales[0] * to_heads, scales[1] * to_degrees).T
    weights = (products.reshape(2 * count, 2 * features) @ sum_chunks) * jnp.tile(pairs.geometry.cutoff, 2)[:, None]
    alpha, beta = weights[:, :heads], weights[:, heads:]
    harmonics = jnp.concatenate([pairs.geometry.harmonics, pairs.geometry.harmonics * parity])
    delta_f = sums[0].at[receivers].add((alpha @ to_heads) * atoms.value[senders])
    delta_x = sums[1].at[receivers].add((beta @ to_orders) * harmonics)
    return (delta_f, delta_x), Coefficients(alpha[:count], alpha[count:], beta[:count], beta[count:])


def repeats_of_chunks(chunks: int, features: int, dtype: object) -> Float[Array, "chunks features"]:
    """0/1 matrix that copies one number per chunk to all features of the chunk."""
    return jnp.repeat(jnp.eye(chunks, dtype=dtype), features // chunks, axis=1)  # type: ignore[arg-type]


def _by_chunks(
    f: Float[Array, "atoms features"], matrices: Float[Array, "chunks width width"]
) -> Float[Array, "atoms features"]:
    """Each chunk of the features times its own matrix (inputs, outputs)."""
    chunks, width, _ = matrices.shape
    return jnp.einsum("nci,cio->nco", f.reshape(-1, chunks, width), matrices).reshape(f.shape)


def _in_chunks(
    f: Float[Array, "atoms features"], *matrices: Float[Array, "chunks width width"]
) -> list[Float[Array, "atoms chunks width"]]:
    """Each chunk of the features times its own matrices, all in one product."""
    chunks = len(matrices[0])
    joined = jnp.einsum("nci,cio->nco", f.reshape(len(f), chunks, -1), jnp.concatenate(matrices, axis=2))
    return jnp.split(joined, len(matrices), axis=2)


def _side_by_side(
    f: Float[Array, "atoms features"],
    query: Float[Array, "chunks width width"],
    key: Float[Array, "chunks width width"],
) -> Float[Array, "atoms chunks 2 width"]:
    """Queries and keys side by side."""
    chunks, width, _ = query.shape
    joined = jnp.einsum("nci,cio->nco", f.reshape(len(f), chunks, width), jnp.concatenate([query, key], axis=2))
    return joined.reshape(len(f), chunks, 2, width)


def _chunk_matrices(
    rng: np.random.Generator, chunks: int, width: int, dtype: object, scale: float = 1.0
) -> Float[Array, "chunks width width"]:
    return normal(rng, (chunks, width, width), scale / sqrt(width), dtype)
