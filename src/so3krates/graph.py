"""Graph: what a potential sees of one or several structures. Pair vectors, pair indices, elements, masks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import AnyArray, Array, Bool, Float, Int
from so3krates.long_range import AllPairs, LongRangePairs
from so3krates.system import System

Purpose = Literal["any", "inference", "training"]
MOST_KINDS = 12
"""Of atoms: for more, tables of what belongs to any two of them are larger than what they save."""


class Lattice(eqx.Module):
    """Where atoms and cells are, for terms that sum over all periodic images."""

    positions: Float[AnyArray, "atoms 3"]
    """Å; zero for padding."""
    cells: Float[AnyArray, "structures 3 3"]
    """Cell vectors in rows, Å; unit cells for padding."""
    mesh: tuple[int, int, int] = eqx.field(static=True)
    """Mesh points along the cell vectors."""


class Kinds(eqx.Module):
    """Atoms of the same element, which in a first layer are all alike."""

    of_atoms: Int[AnyArray, " atoms"]
    """Index of an atom's kind; 0 for padding."""
    examples: Int[AnyArray, " kinds"]
    """An atom of each kind; the first one where there are fewer kinds than there is room for."""


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
    long_range: LongRangePairs | AllPairs | None = None
    """None: no term asks for them."""
    lattice: Lattice | None = None
    """Likewise."""
    charges: Float[AnyArray, " atoms"] | None = None
    """Partial charges in e, once they are known."""
    hirshfeld_ratios: Float[AnyArray, " atoms"] | None = None
    """Volumes of the atoms over those of free atoms, once they are known."""
    kinds: Kinds | None = None
    """None: not said."""
    purpose: Purpose = eqx.field(static=True, default="any")
    """What energies are differentiated by, and how often; `any` promises nothing.

    `inference`: once at most, by the geometry; many pairs are worked on block after block (`nn/blocks.py`).
    `training`: by the geometry, and what is made of energies and forces by the parameters, in reverse both times.
    For either there is a compiled kernel.
    """
    largest: int = eqx.field(static=True, default=0)
    """No structure has more atoms; 0: not said. Sums over the pairs of a structure can then be products of small dense
    matrices (`nn/pairwise.py`)."""

    def __check_init__(self) -> None:
        if self.purpose not in get_args(Purpose):
            raise InputError(f"purpose is {self.purpose!r}; it can be {', '.join(get_args(Purpose))}.")

    @property
    def inference(self) -> bool:
        return self.purpose == "inference"

    @property
    def atoms(self) -> int:
        return self.numbers.shape[0]

    @property
    def structures(self) -> int:
        return self.charge.shape[0]

    @property
    def geometry(self) -> "Geometry":
        far = None if self.long_range is None else self.long_range.lengths
        if self.lattice is None:
            return Geometry(self.vectors, far)
        return Geometry(self.vectors, far, self.lattice.positions, self.lattice.cells)

    def with_geometry(self, geometry: "Geometry") -> "Graph":
        """The same pairs at other places; what derivatives are taken through."""
        graph = replace(self, vectors=geometry.near)
        if self.long_range is not None:
            graph = replace(graph, long_range=replace(self.long_range, lengths=geometry.far))
        if self.lattice is not None:
            lattice = replace(self.lattice, positions=geometry.positions, cells=geometry.cells)
            graph = replace(graph, lattice=lattice)
        return graph

    def with_properties(
        self, charges: Float[Array, " atoms"] | None, hirshfeld_ratios: Float[Array, " atoms"] | None
    ) -> "Graph":
        """The same graph with properties of its atoms; None leaves what is there."""
        return replace(
            self,
            charges=self.charges if charges is None else charges,
            hirshfeld_ratios=self.hirshfeld_ratios if hirshfeld_ratios is None else hirshfeld_ratios,
        )

    def sum_structures(self, values: Float[Array, "atoms *rest"]) -> Float[Array, "structures *rest"]:
        """Sum of per-atom values over each structure; padding must already be zero."""
        return jax.ops.segment_sum(values, self.structure, self.structures)


class Geometry(NamedTuple):
    """What energies are differentiated with respect to: pair vectors, and where a term asks for them, the atoms'
    positions and the cells as well."""

    near: Float[AnyArray, "pairs 3"]
    far: Float[AnyArray, " long"] | None = None
    """Lengths of the long-range pairs, if there are any."""
    positions: Float[AnyArray, "atoms 3"] | None = None
    cells: Float[AnyArray, "structures 3 3"] | None = None


def scatter_pairs(
    to_centers: Float[Array, "pairs *rest"], to_others: Float[Array, "pairs *rest"], graph: Graph
) -> Float[Array, "atoms *rest"]:
    """Sum over each atom's pairs: `to_centers` where it is the first atom, `to_others` where it is the second."""
    received = jax.ops.segment_sum(to_others, graph.others, graph.atoms)
    return jax.ops.segment_sum(to_centers, graph.centers, graph.atoms) + received


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


class PairLists(NamedTuple):
    """All pairs of one structure that a potential needs."""

    near: PairList
    far: PairList | None = None
    """Long-range pairs, the near ones included."""
    far_cutoff: float = 0.0
    """Å."""
    mesh: tuple[int, int, int] = (0, 0, 0)
    """Points along the cell vectors for sums over all periodic images; zeros where no term makes any."""

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for pairs in (self.near, self.far or ()) for array in pairs)

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.near.centers), 0 if self.far is None else len(self.far.centers)


class Sizes(NamedTuple):
    """Padded sizes of a graph; each distinct value is one compilation."""

    structures: int
    atoms: int
    pairs: int
    long_range: int = 0
    mesh_a: int = 0
    mesh_b: int = 0
    mesh_c: int = 0
    """Points along each cell vector."""
    largest: int = 0
    """Most atoms in one structure, where batches are trained on; 0: not said."""
    kinds: int = 0
    """Number of elements, likewise."""

    @classmethod
    def of(cls, systems: Sequence[System], lists: Sequence[PairLists]) -> "Sizes":
        """The smallest bucket that holds the given structures."""
        need = cls.needed(systems, lists)
        long_range = bucket(need.long_range) if need.long_range else 0
        return need._replace(atoms=bucket(need.atoms), pairs=bucket(need.pairs), long_range=long_range)

    @classmethod
    def needed(cls, systems: Sequence[System], lists: Sequence[PairLists]) -> "Sizes":
        """Without any padding."""
        near, far = (sum(counts) for counts in zip(*(pairs.counts for pairs in lists), strict=True))
        mesh = (max(points) for points in zip(*(pairs.mesh for pairs in lists), strict=True))
        return cls(len(systems), sum(map(len, systems)), near, far, *mesh)

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
    systems: Sequence[System], lists: Sequence[PairLists], dtype: object, sizes: Sizes | None = None
) -> Graph:
    """One padded graph of NumPy arrays from structures and their pair lists.

    Args:
        systems: the structures.
        lists: their pairs, in the same order; long-range ones for all or for none.
        dtype: of the pair vectors.
        sizes: padded sizes; the smallest fitting bucket if not given.

    Raises:
        InputError: if `sizes` is too small.
    """
    need = Sizes.needed(systems, lists)
    sizes = sizes or Sizes.of(systems, lists)
    if any(have < wanted for have, wanted in zip(sizes, need, strict=True)):
        raise InputError(f"a graph of {need} does not fit into {sizes}.")
    if 0 < sizes.largest < max(map(len, systems), default=0):
        raise InputError(f"a structure of {max(map(len, systems))} atoms does not fit into {sizes}.")
    numbers = _joined([system.numbers for system in systems], sizes.atoms, np.int32)
    offsets = np.cumsum([0, *map(len, systems)])[:-1].tolist()
    near = _joined_pairs([pairs.near for pairs in lists], offsets, sizes.pairs, dtype)
    structure = np.repeat(np.arange(len(systems)), [len(system) for system in systems])
    return Graph(
        *near,
        numbers=numbers,
        atom_mask=np.arange(sizes.atoms) < need.atoms,
        structure=_joined([structure], sizes.atoms, np.int32),
        charge=_joined([np.array([s.charge for s in systems])], sizes.structures, dtype),
        unpaired=_joined([np.array([s.unpaired for s in systems])], sizes.structures, dtype),
        long_range=_long_range(lists, offsets, sizes, dtype),
        lattice=_lattice(systems, sizes, dtype),
        kinds=_kinds(numbers, need.atoms, sizes),
        largest=sizes.largest,
    )


def _kinds(numbers: Int[np.ndarray, " atoms"], atoms: int, sizes: Sizes) -> Kinds | None:
    if not sizes.kinds:
        return None
    found, examples, of_atoms = np.unique(numbers[:atoms], return_index=True, return_inverse=True)
    if len(found) > sizes.kinds:
        raise InputError(f"{len(found)} elements do not fit into {sizes}.")
    return Kinds(_joined([of_atoms], sizes.atoms, np.int32), _joined([examples], sizes.kinds, np.int32))


def _lattice(systems: Sequence[System], sizes: Sizes, dtype: object) -> Lattice | None:
    mesh = (sizes.mesh_a, sizes.mesh_b, sizes.mesh_c)
    if not all(mesh):
        return None
    cells = [system.cell for system in systems if system.cell is not None]
    if len(cells) < len(systems):
        raise InputError("some structures have no cell, so nothing can be summed over the periodic images of all.")
    # Into the cell in float64: far from the origin float32 has no digits for fractions of the mesh.
    inside = [(s.positions @ np.linalg.inv(cell) % 1.0) @ cell for s, cell in zip(systems, cells, strict=True)]
    padding = [np.eye(3)] * (sizes.structures - len(cells))
    return Lattice(_joined(inside, sizes.atoms, dtype), np.stack([*cells, *padding]).astype(dtype), mesh)  # type: ignore[call-overload]


def _long_range(
    lists: Sequence[PairLists], offsets: Sequence[int], sizes: Sizes, dtype: object
) -> LongRangePairs | None:
    far = [pairs.far for pairs in lists if pairs.far is not None]
    if not far:
        return None
    if len(far) < len(lists):
        raise InputError("some structures have long-range pairs and some have none; find them for all.")
    cutoffs = np.array([pairs.far_cutoff for pairs in lists])
    # Padding has a cutoff too: what is divided by it must stay finite.
    padded = np.concatenate([cutoffs, np.ones(sizes.structures - len(cutoffs))])
    joined = _joined_pairs(far, offsets, sizes.long_range, dtype)
    lengths = np.ones(sizes.long_range)
    lengths[joined.mask] = np.linalg.norm(np.concatenate([pairs.vectors for pairs in far]), axis=1)
    return LongRangePairs(
        joined.vectors,
        lengths.astype(dtype),  # type: ignore[call-overload]
        joined.centers,
        joined.others,
        joined.mask,
        padded.astype(dtype),  # type: ignore[call-overload]
    )


class _Joined(NamedTuple):
    """The pairs of all structures in one list, numbered through and padded."""

    vectors: np.ndarray
    centers: np.ndarray
    others: np.ndarray
    mask: np.ndarray


def _joined_pairs(lists: Sequence[PairList], offsets: Sequence[int], size: int, dtype: object) -> _Joined:
    return _Joined(
        _joined([pairs.vectors for pairs in lists], size, dtype),
        _joined([pairs.centers + start for pairs, start in zip(lists, offsets, strict=True)], size, np.int32),
        _joined([pairs.others + start for pairs, start in zip(lists, offsets, strict=True)], size, np.int32),
        np.arange(size) < sum(len(pairs.centers) for pairs in lists),
    )


def _joined(parts: list[np.ndarray], size: int, dtype: object) -> np.ndarray:
    rest = parts[0].shape[1:]
    padding = np.zeros((size - sum(map(len, parts)), *rest))
    return np.concatenate([*parts, padding]).astype(dtype)  # type: ignore[call-overload]
