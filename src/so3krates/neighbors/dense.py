"""All pairs inside compiled code: allocate on the host, update in jit, overflow invalidates.

For each structure the N × N table of distances is made for every periodic image that can matter and compressed to a
list of fixed capacity. Exact for every cell; the cost grows with N², which is the fastest way up to some hundred atoms.
"""

from dataclasses import replace
from math import ceil

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Bool, Float, Int
from so3krates.graph import LongRangePairs
from so3krates.neighbors.host import find_pairs
from so3krates.system import System, heights

SLACK = 1.05
SPARE = 8
"""Room given on allocation: a list of n pairs may grow to SLACK·n + SPARE, rounded up to a multiple of SPARE, before it
overflows. A padded pair costs as much as a real one; an overflow costs a chunk of steps and a compilation."""

IMAGE_SLACK = 1e-3
"""Where the cutoff is almost a half-integer multiple of a height, the next image is searched too, so that rounding
inside compiled code cannot find the images too few."""


class Pairs(eqx.Module):
    """A list of fixed capacity, each pair once; what an update returns."""

    vectors: Float[Array, "pairs 3"]
    centers: Int[Array, " pairs"]
    others: Int[Array, " pairs"]
    mask: Bool[Array, " pairs"]
    overflow: Bool[Array, ""]
    """True: the list is incomplete and everything computed with it is invalid."""

    def as_long_range(self, cutoff: float) -> LongRangePairs:
        """These pairs as the long-range ones of a single structure."""
        return LongRangePairs(
            self.vectors, self.centers, self.others, self.mask, jnp.full((1,), cutoff, self.vectors.dtype)
        )


class DenseNeighbors(eqx.Module):
    """Parameters of the search; all static, so a larger capacity is another compilation."""

    atoms: int = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    pbc: tuple[bool, bool, bool] = eqx.field(static=True)
    images: tuple[int, int, int] = eqx.field(static=True)
    """Shifts from −n to n are searched along each axis, after rounding the difference to the nearest image."""

    def update(self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None) -> Pairs:
        """The pairs at these positions. Differentiable in positions and cell through `vectors`.

        Raises:
            InputError: if the list was allocated for periodic axes and no cell is given.
        """
        if cell is None and any(self.pbc):
            raise InputError(f"this neighbour list was allocated for periodic axes {self.pbc}; give the cell.")
        if self.atoms == 0 or self.cutoff == 0.0:
            return _no_pairs(self.capacity, positions)
        return _compressed(self, positions, cell) if self._compresses else _every_pair(self, positions)

    def larger(self, system: System) -> "DenseNeighbors":
        """A list with room to spare for `system` and at least half as much again as this one."""
        fresh = allocate(system if any(self.pbc) else system.without_cell(), self.cutoff)
        images = tuple(max(a, b) for a, b in zip(self.images, fresh.images, strict=True))
        capacity = max(fresh.capacity, _rounded(1.5 * self.capacity))
        return DenseNeighbors(self.atoms, self.cutoff, capacity, self.pbc, images)  # type: ignore[arg-type]

    @property
    def _compresses(self) -> bool:
        """A list that can hold all pairs of a molecule needs no search, only a mask."""
        return any(self.pbc) or self.capacity < self.atoms * (self.atoms - 1) // 2


def nearer(neighbors: DenseNeighbors, pairs: Pairs) -> Pairs:
    """The list of `neighbors`, chosen from a list with a longer cutoff instead of searched."""
    squared = jnp.sum(pairs.vectors * pairs.vectors, axis=-1)
    inside = pairs.mask & (squared < neighbors.cutoff**2)
    if neighbors.capacity >= len(pairs.mask):
        return replace(pairs, mask=inside)
    chosen, found = _first_true(inside, neighbors.capacity)
    mask = jnp.arange(neighbors.capacity, dtype=jnp.int32) < found
    chosen = jnp.where(mask, chosen, 0)
    return Pairs(
        jnp.where(mask[:, None], pairs.vectors[chosen], 0.0),
        jnp.where(mask, pairs.centers[chosen], 0),
        jnp.where(mask, pairs.others[chosen], 0),
        mask,
        pairs.overflow | (found > neighbors.capacity),
    )


def allocate(system: System, cutoff: float, capacity: int | None = None) -> DenseNeighbors:
    """Choose images and capacity for structures like `system`.

    Args:
        system: a representative structure.
        cutoff: Å.
        capacity: number of pairs to make room for; somewhat more than `system` needs if not given.

    Raises:
        InputError: for a negative cutoff; 0 gives a list without pairs.
    """
    if not cutoff >= 0:
        raise InputError(f"cutoff {cutoff} Å must not be negative.")
    all_pairs = len(system) * (len(system) - 1) // 2
    if capacity is None:
        capacity = _rounded(SLACK * len(find_pairs(system, cutoff).centers) + SPARE)
        if not system.periodic and capacity >= all_pairs:
            capacity = max(all_pairs, 1)
    return DenseNeighbors(len(system), float(cutoff), int(capacity), system.pbc, _images(system, cutoff))


def _rounded(pairs: float) -> int:
    return SPARE * ceil(pairs / SPARE)


def _images(system: System, cutoff: float) -> tuple[int, int, int]:
    """With differences rounded to the nearest image, |S_k| ≤ cutoff/height_k + ½."""
    if system.cell is None:
        return (0, 0, 0)
    reach = np.floor(cutoff / heights(system.cell) + 0.5 + IMAGE_SLACK).astype(int)
    return tuple(int(n) if periodic else 0 for n, periodic in zip(reach, system.pbc, strict=True))  # type: ignore[return-value]


def _no_pairs(capacity: int, positions: Float[Array, "atoms 3"]) -> Pairs:
    none = jnp.zeros((capacity,), jnp.int32)
    return Pairs(jnp.zeros((capacity, 3), positions.dtype), none, none, none > 0, jnp.zeros((), bool))


def _every_pair(neighbors: DenseNeighbors, positions: Float[Array, "atoms 3"]) -> Pairs:
    i, j = np.triu_indices(neighbors.atoms, 1)
    if len(i) == 0:
        i = j = np.zeros(1, np.int64)
    centers, others = jnp.asarray(i, jnp.int32), jnp.asarray(j, jnp.int32)
    vectors = positions[others] - positions[centers]
    inside = (jnp.sum(vectors * vectors, axis=-1) < neighbors.cutoff**2) & (centers != others)
    return Pairs(vectors, centers, others, inside, jnp.zeros((), bool))


def _compressed(
    neighbors: DenseNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Pairs:
    n = neighbors.atoms
    images = _image_shifts(neighbors.images)
    wrap, squared = _distances(neighbors, positions, cell, images)
    # Each pair once: i < j in any image, and self-images of positive (lexicographic) shift.
    upper = np.triu(np.ones((n, n), bool), 1)
    positive = np.array([tuple(shift) > (0, 0, 0) for shift in images])
    allowed = upper[None] | (np.eye(n, dtype=bool)[None] & positive[:, None, None])
    inside = (squared < neighbors.cutoff**2) & allowed
    flat, found = _first_true(inside.reshape(-1), neighbors.capacity)
    mask = jnp.arange(neighbors.capacity, dtype=jnp.int32) < found
    flat = jnp.where(mask, flat, 0)
    image, pair = flat // (n * n), flat % (n * n)
    centers = jnp.where(mask, pair // n, 0)
    others = jnp.where(mask, pair % n, 0)
    vectors = positions[others] - positions[centers]
    overflow = found > neighbors.capacity
    if cell is not None and wrap is not None:
        shifts = jnp.asarray(images, jnp.int32)[image] + wrap[centers, others]
        vectors = vectors + jnp.where(mask[:, None], shifts, 0).astype(positions.dtype) @ cell
        overflow = overflow | _cell_too_thin(neighbors, cell)
    return Pairs(vectors, centers.astype(jnp.int32), others.astype(jnp.int32), mask, overflow)


def _image_shifts(images: tuple[int, int, int]) -> Int[np.ndarray, "images 3"]:
    ranges = [np.arange(-count, count + 1) for count in images]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def _distances(
    neighbors: DenseNeighbors,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
    images: Int[np.ndarray, "images 3"],
) -> tuple[Int[Array, "atoms atoms 3"] | None, Float[Array, "images atoms atoms"]]:
    """Shift that brings each pair nearest, and squared distances in every image around it."""
    difference = positions[None, :, :] - positions[:, None, :]
    if cell is None or not any(neighbors.pbc):
        return None, jnp.sum(difference * difference, axis=-1)[None]
    periodic = jnp.asarray(neighbors.pbc)
    fractional = difference @ jnp.linalg.inv(cell)
    wrap = jnp.where(periodic, -jnp.round(fractional), 0.0)
    nearest = difference + wrap.astype(positions.dtype) @ cell
    moved = nearest[None] + (jnp.asarray(images, positions.dtype) @ cell)[:, None, None, :]
    return wrap.astype(jnp.int32), jnp.sum(moved * moved, axis=-1)


def _first_true(flags: Bool[Array, " n"], size: int) -> tuple[Int[Array, " size"], Int[Array, ""]]:
    """Positions of the first `size` true flags in order, and how many are true.

    A binary search in the running count: the scatter behind `jnp.nonzero` is far slower on a CPU.
    """
    running = jnp.cumsum(flags.astype(jnp.int32))
    wanted = jnp.arange(1, size + 1, dtype=jnp.int32)
    return jnp.searchsorted(running, wanted, side="left").astype(jnp.int32), running[-1]


def _cell_too_thin(neighbors: DenseNeighbors, cell: Float[Array, "3 3"]) -> Bool[Array, ""]:
    """Whether the cell has become so thin that more images matter than were allocated."""
    height = 1.0 / jnp.linalg.norm(jnp.linalg.inv(cell), axis=0)
    need = jnp.floor(neighbors.cutoff / height + 0.5)
    have = jnp.asarray(neighbors.images, need.dtype)
    return jnp.any(jnp.asarray(neighbors.pbc) & (need > have))
