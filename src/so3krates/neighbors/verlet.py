"""A Verlet list: pairs within the cutoff and a skin are candidates, from which those within the cutoff are chosen step
after step. When candidates are searched for again, `verlet_state.py` decides."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Float, Int
from so3krates.neighbors import cell_list
from so3krates.neighbors.cell_list import CellNeighbors, Numbered, times
from so3krates.neighbors.compress import first_true
from so3krates.neighbors.overflow import ROOM, THIN, causes
from so3krates.neighbors.pairs import Pairs, rounded, with_slack
from so3krates.system import System

SKIN = 0.5
"""Å. A wider one is searched for less often, but there are more candidates to choose from in every step."""


class VerletNeighbors(eqx.Module):
    """A search in cells for candidates, and room for the pairs within the cutoff; all static."""

    search: CellNeighbors
    """With a cutoff that is longer by the skin."""
    cutoff: float = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    """Of pairs within the cutoff, where they are put into a list of their own."""
    compressed: bool = eqx.field(static=True, default=True)
    """Whether they are; if not, candidates beyond the cutoff are only masked."""

    @property
    def atoms(self) -> int:
        return self.search.atoms

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        return self.search.pbc

    @property
    def skin(self) -> float:
        """Å."""
        return self.search.cutoff - self.cutoff

    def update(self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None) -> Pairs:
        """The pairs at these positions, from candidates at the same positions; contract of `CellNeighbors.update`."""
        return self.chosen(self.search.numbered(positions, cell), positions, cell)

    def chosen(
        self, candidates: Numbered, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
    ) -> Pairs:
        """Those of the candidates that are within the cutoff at these positions, in their order."""
        cell = cell if any(self.pbc) else None
        listed = jnp.arange(self.search.capacity, dtype=jnp.int32) < candidates.found
        if not self.compressed:
            vectors = _vectors(candidates.centers, candidates.others, candidates.turns, positions, cell)
            mask = listed & (jnp.sum(vectors * vectors, axis=1) < self.cutoff**2)
            return _pairs(vectors, candidates.centers, candidates.others, mask, candidates.overflow)
        squared = _squared_lengths(candidates, positions, cell)
        place, found = first_true(listed & (squared < self.cutoff**2), self.capacity)
        mask = jnp.arange(self.capacity, dtype=jnp.int32) < found
        place = jnp.where(mask, place, 0)
        centers, others = candidates.centers[place], candidates.others[place]
        turns = None if candidates.turns is None else candidates.turns[place]
        vectors = _vectors(centers, others, turns, positions, cell)
        overflow = candidates.overflow | causes(found > self.capacity, jnp.zeros((), bool))
        return _pairs(vectors, centers, others, mask, overflow)

    def none(self) -> Numbered:
        """Room for candidates."""
        places = jnp.zeros((self.search.capacity,), jnp.int32)
        turns = jnp.zeros((self.search.capacity, 3), jnp.int16) if any(self.pbc) else None
        zero = jnp.zeros((), jnp.int32)
        return Numbered(places, places, turns, zero, zero)

    def larger(self, system: System, overflow: int = ROOM) -> "VerletNeighbors | CellNeighbors | None":
        """A list with room to spare for `system`, and for what this one was short of; see `CellNeighbors.larger`.

        Without a skin where the cell has become too thin for it, and None if it is too thin for a grid.
        """
        system = system if any(self.pbc) else system.without_cell()
        if self.compressed and not overflow & THIN:
            pairs = _pairs_within(self.search, self.cutoff, system)
            if pairs > self.capacity:
                return replace(self, capacity=max(with_slack(pairs), rounded(1.5 * self.capacity)))
        search = self.search.larger(system, overflow)
        if search is None:
            return cell_list.allocate(system, self.cutoff)
        # It was the candidates that had too little room, or the list had only later in the chunk.
        later = overflow & ROOM and not self.search.is_short_for(system)
        return replace(self, search=search, capacity=rounded(1.5 * self.capacity) if later else self.capacity)


def allocate(system: System, cutoff: float, skin: float, *, compressed: bool = True) -> VerletNeighbors | None:
    """Room for structures like `system`; None if a periodic cell is too thin for cutoff and skin.

    Args:
        system: a representative structure.
        cutoff: Å.
        skin: Å.
        compressed: put the pairs within the cutoff into a list of their own, which pays where a pair costs much.
    """
    search = cell_list.allocate(system, cutoff + skin)
    if search is None:
        return None
    capacity = with_slack(_pairs_within(search, cutoff, system)) if compressed else search.capacity
    return VerletNeighbors(search, float(cutoff), capacity, compressed)


def _pairs_within(search: CellNeighbors, cutoff: float, system: System) -> int:
    """How many there are, as dynamics counts positions; fewer if the search has too little room."""
    positions = jnp.asarray(system.positions - np.round(system.positions.mean(axis=0)))
    cell = None if system.cell is None else jnp.asarray(system.cell)
    return int(_count(search, cutoff, positions, cell))


@eqx.filter_jit
def _count(
    search: CellNeighbors, cutoff: float, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Int[Array, ""]:
    candidates = search.numbered(positions, cell)
    listed = jnp.arange(search.capacity, dtype=jnp.int32) < candidates.found
    squared = _squared_lengths(candidates, positions, cell if any(search.pbc) else None)
    return jnp.sum(listed & (squared < cutoff**2), dtype=jnp.int32)


def _squared_lengths(
    candidates: Numbered, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Float[Array, " pairs"]:
    """Axis by axis: gathering numbers is faster than gathering rows."""
    centers, others, turns, *_ = candidates
    squared = jnp.zeros((), positions.dtype)
    for axis in range(3):
        x = positions[:, axis][others] - positions[:, axis][centers]
        if cell is not None:
            assert turns is not None
            s = turns.astype(positions.dtype)
            x = x + (s[:, 0] * cell[0, axis] + s[:, 1] * cell[1, axis] + s[:, 2] * cell[2, axis])
        squared = squared + x * x
    return squared


def _vectors(
    centers: Int[Array, " pairs"],
    others: Int[Array, " pairs"],
    turns: Int[Array, "pairs 3"] | None,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
) -> Float[Array, "pairs 3"]:
    vectors = positions[others] - positions[centers]
    if cell is None:
        return vectors
    assert turns is not None
    return vectors + times(turns, cell)


def _pairs(
    vectors: Float[Array, "pairs 3"],
    centers: Int[Array, " pairs"],
    others: Int[Array, " pairs"],
    mask: Bool[Array, " pairs"],
    overflow: Int[Array, ""],
) -> Pairs:
    """With zeros where there is none."""
    return Pairs(
        jnp.where(mask[:, None], vectors, 0.0),
        jnp.where(mask, centers, 0),
        jnp.where(mask, others, 0),
        mask,
        overflow,
    )
