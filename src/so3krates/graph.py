"""Graph: what a potential sees of one or several structures. Pair vectors, pair indices, elements, masks."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import AnyArray, Array, Bool, Float, Int
from so3krates.system import System


class Graph(eqx.Module):
    """Atoms and pairs of one structure or of a batch, padded to static shapes.

    Each pair of neighbours is held **once**: `vectors` = r_ij = r_j − r_i + S·H with i = `centers`, j = `others`.
    A self-image (i = j, S ≠ 0) is a pair like any other and acts on its atom from both ends.
    Padded pairs hold zero vectors, point to atom 0 and are False in `pair_mask`; padded atoms hold number 0 and are
    False in `atom_mask`. Padding changes no result.
    """

    vectors: Float[AnyArray, "pairs 3"]
    centers: Int[AnyArray, " pairs"]
    others: Int[AnyArray, " pairs"]
    pair_mask: Bool[AnyArray, " pairs"]
    numbers: Int[AnyArray, " atoms"]
    atom_mask: Bool[AnyArray, " atoms"]
    structure: Int[AnyArray, " atoms"]
    """Index of the structure an atom belongs to."""
    charge: Float[AnyArray, " structures"]
    """Total charge in e."""
    unpaired: Float[AnyArray, " structures"]
    """Number of unpaired electrons, 2S."""

    @property
    def atoms(self) -> int:
        return self.numbers.shape[0]

    @property
    def structures(self) -> int:
        return self.charge.shape[0]

    def with_vectors(self, vectors: Float[Array, "pairs 3"]) -> "Graph":
        """The same pairs with other vectors; what derivatives are taken through."""
        return eqx.tree_at(lambda graph: graph.vectors, self, vectors)

    def sum_structures(self, values: Float[Array, "atoms *rest"]) -> Float[Array, "structures *rest"]:
        """Sum of per-atom values over each structure; padding must already be zero."""
        return jax.ops.segment_sum(values, self.structure, self.structures)


def scatter_pairs(
    to_centers: Float[Array, "pairs *rest"], to_others: Float[Array, "pairs *rest"], graph: Graph
) -> Float[Array, "atoms *rest"]:
    """Sum over each atom's pairs: `to_centers` where it is the first atom, `to_others` where it is the second."""
    return jax.ops.segment_sum(to_centers, graph.centers, graph.atoms) + jax.ops.segment_sum(
        to_others, graph.others, graph.atoms
    )


def pair_vectors(
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
    centers: Int[Array, " pairs"],
    others: Int[Array, " pairs"],
    shifts: Int[Array, "pairs 3"] | None,
) -> Float[Array, "pairs 3"]:
    """r_ij = r_j − r_i + S·H with the cell vectors in the rows of H."""
    vectors = positions[others] - positions[centers]
    if cell is None or shifts is None:
        return vectors
    return vectors + shifts.astype(positions.dtype) @ jnp.asarray(cell, positions.dtype)


class PairList(NamedTuple):
    """Neighbour pairs of one structure on the host, each pair once."""

    centers: Int[np.ndarray, " pairs"]
    others: Int[np.ndarray, " pairs"]
    shifts: Int[np.ndarray, "pairs 3"]
    vectors: Float[np.ndarray, "pairs 3"]
    """r_j − r_i + S·H in float64, so that positions far from the origin lose nothing in float32."""


class Sizes(NamedTuple):
    """Padded sizes of a graph; each distinct value is one compilation."""

    structures: int
    atoms: int
    pairs: int

    @classmethod
    def of(cls, systems: Sequence[System], lists: Sequence[PairList]) -> "Sizes":
        """The smallest bucket that holds the given structures."""
        atoms = bucket(sum(len(system) for system in systems))
        pairs = bucket(sum(len(pairs.centers) for pairs in lists))
        return cls(len(systems), atoms, pairs)

    def grown(self, other: "Sizes") -> "Sizes":
        """The larger of both in every entry."""
        return Sizes(*(max(a, b) for a, b in zip(self, other, strict=True)))


def bucket(count: int) -> int:
    """Round up so that sizes fall into few classes and at most an eighth is padding (for counts above 64).

    Example:
        >>> [bucket(n) for n in (0, 9, 56, 737, 2331)]
        [8, 16, 56, 768, 2560]
    """
    step = max(8, 1 << max(count.bit_length() - 4, 0))
    return max(step, -(-count // step) * step)


def make_graph(
    systems: Sequence[System], lists: Sequence[PairList], dtype: object, sizes: Sizes | None = None
) -> Graph:
    """One padded graph of NumPy arrays from structures and their pair lists.

    Args:
        systems: the structures.
        lists: their pairs, in the same order.
        dtype: of the pair vectors.
        sizes: padded sizes; the smallest fitting bucket if not given.

    Raises:
        InputError: if `sizes` is too small.
    """
    need = Sizes(len(systems), sum(map(len, systems)), sum(len(pairs.centers) for pairs in lists))
    sizes = sizes or Sizes.of(systems, lists)
    if any(have < wanted for have, wanted in zip(sizes, need, strict=True)):
        raise InputError(f"a graph of {need} does not fit into {sizes}.")
    offsets = np.cumsum([0, *(len(system) for system in systems)])
    atom_padding = sizes.atoms - need.atoms
    pair_padding = sizes.pairs - need.pairs

    def joined(parts: list[np.ndarray], padding: int, dtype: object) -> np.ndarray:
        rest = parts[0].shape[1:]
        return np.concatenate([*parts, np.zeros((padding, *rest))]).astype(dtype)  # type: ignore[call-overload]

    structure = np.repeat(np.arange(len(systems)), [len(system) for system in systems])
    return Graph(
        vectors=joined([pairs.vectors for pairs in lists], pair_padding, dtype),
        centers=joined([p.centers + o for p, o in zip(lists, offsets, strict=False)], pair_padding, np.int32),
        others=joined([p.others + o for p, o in zip(lists, offsets, strict=False)], pair_padding, np.int32),
        pair_mask=np.arange(sizes.pairs) < need.pairs,
        numbers=joined([system.numbers for system in systems], atom_padding, np.int32),
        atom_mask=np.arange(sizes.atoms) < need.atoms,
        structure=joined([structure], atom_padding, np.int32),
        charge=joined([np.array([s.charge for s in systems])], sizes.structures - need.structures, dtype),
        unpaired=joined([np.array([s.unpaired for s in systems])], sizes.structures - need.structures, dtype),
    )
