"""Attention where energies are differentiated twice, as in training: the same sums as in `attention.pair_attention`, in
the form that XLA compiles into the fewest and shortest passes over pairs × features.

Features stay cut into chunks, so that a sum over a chunk is a reduction over the last axis and a copy to a chunk a
broadcast: products with 0/1 matrices, which are faster where energies are differentiated once, cost as much here as the
filters' own matrices. Values are summed by dense products of small matrices, one for each structure and head, wherever
these are not much larger than the list of pairs: neither they nor their derivatives make an array of pairs × features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from so3krates._typing import Array, Float, Int
from so3krates.graph import Graph

DENSE_PER_PAIR = 32
"""Entries of the dense matrices that cost as much as one pair in a sum over a list."""


class Both(NamedTuple):
    """What belongs to the two directions of every pair."""

    to_centers: Array
    to_others: Array


class Slots(NamedTuple):
    """Where atoms stand in arrays of structures × places, and the reverse; out of range where nothing stands."""

    structure: Int[Array, " atoms"]
    place: Int[Array, " atoms"]
    atom: Int[Array, "structures places"]


def coefficients(
    query: Float[Array, "atoms chunks width"],
    key: Float[Array, "atoms chunks width"],
    filters: Float[Array, "pairs features"],
    factor: Float[Array, " pairs"],
    graph: Graph,
) -> Both:
    """α_ij = factor Σ_k q_ik w_ij,k k_jk of each chunk and direction: two arrays of pairs × chunks."""
    w = filters.reshape(len(filters), *query.shape[1:])
    centers, others = jnp.asarray(graph.centers), jnp.asarray(graph.others)
    # Each direction for itself: joining them in one array costs another pass.
    to_centers = jnp.sum(query[centers] * key[others] * w, axis=-1)
    to_others = jnp.sum(query[others] * key[centers] * w, axis=-1)
    return Both(to_centers * factor[:, None], to_others * factor[:, None])


def received(
    alpha: Both, values: Float[Array, "atoms chunks width"], graph: Graph
) -> Float[Array, "atoms chunks width"]:
    """Σ_j α_ij v_j of every atom."""
    receivers, senders = directed(graph)
    weights = jnp.concatenate(alpha)
    places = graph.largest
    if not places or graph.structures * places**2 > DENSE_PER_PAIR * len(graph.vectors):
        return jnp.zeros_like(values).at[receivers].add(weights[:, :, None] * values[senders])
    slots = slots_of(graph)
    shape = (graph.structures, places, places, weights.shape[1])
    at = (slots.structure[receivers], slots.place[receivers], slots.place[senders])
    matrix = jnp.zeros(shape, weights.dtype).at[at].add(weights)
    placed = values.at[slots.atom].get(mode="fill", fill_value=0)
    sums = jnp.einsum("sijc,sjcw->sicw", matrix, placed)
    return sums.at[slots.structure, slots.place].get(mode="fill", fill_value=0)


def directed(graph: Graph) -> tuple[Int[Array, " twice_pairs"], Int[Array, " twice_pairs"]]:
    """Who receives and who sends: rows 0…P−1 what the centers receive, rows P…2P−1 what the others receive."""
    centers, others = jnp.asarray(graph.centers), jnp.asarray(graph.others)
    return jnp.concatenate([centers, others]), jnp.concatenate([others, centers])


def slots_of(graph: Graph) -> Slots:
    """The atoms of each structure in a row of their own."""
    atoms = jnp.arange(graph.atoms, dtype=jnp.int32)
    structure = jnp.asarray(graph.structure)
    # Padded atoms come last and count as atoms of the first structure, behind its own.
    place = atoms - jax.ops.segment_min(atoms, structure, graph.structures)[structure]
    nobody = jnp.full((graph.structures, graph.largest), graph.atoms, jnp.int32)
    return Slots(structure, place, nobody.at[structure, place].set(atoms, mode="drop"))
