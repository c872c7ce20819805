"""Which search in compiled code: that over all pairs, or that in cells; chosen by what they cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from so3krates.neighbors import cell_list, dense, verlet
from so3krates.neighbors.cell_list import CellNeighbors, Room
from so3krates.neighbors.dense import DenseNeighbors
from so3krates.neighbors.grid import Grid, fitting
from so3krates.neighbors.overflow import ROOM
from so3krates.neighbors.verlet import VerletNeighbors
from so3krates.system import System

Searched = DenseNeighbors | CellNeighbors | VerletNeighbors

SORTING = 250.0
"""What it costs to sort an atom into a grid and look up its runs, in comparisons of the search over all pairs."""
CANDIDATE = 0.7
"""What a candidate in cells costs, in the same unit, room in its run that is not filled included."""


def allocate(system: System, cutoff: float, capacity: int | None = None, table_from: float = 1.0) -> Searched:
    """The cheaper search for structures like `system`, with room for their pairs.

    Args:
        system: a representative structure.
        cutoff: Å.
        capacity: number of pairs to make room for; somewhat more than `system` needs if not given.
        table_from: share of all pairs from which on there is room for all of them, and no search.

    Raises:
        InputError: for a negative cutoff (0 gives a list without pairs), or more atoms or pairs than can be numbered.
    """
    grid = fitting(system, cutoff) if cutoff > 0.0 else None
    if grid is not None and _cheaper(grid, system, cutoff):
        cells = cell_list.allocate(system, cutoff, capacity)
        if cells is not None:
            return cells
    return dense.allocate(system, cutoff, capacity, table_from)


def with_skin(neighbors: Searched, system: System, skin: float, *, compressed: bool) -> Searched:
    """A list for many steps with structures like `system`: a search in cells gets a skin (Å) if the cell is thick
    enough for it; see `verlet.allocate`. Where all pairs are compared, candidates would save little: they are few."""
    if not isinstance(neighbors, CellNeighbors):
        return neighbors
    system = system if any(neighbors.pbc) else system.without_cell()
    return verlet.allocate(system, neighbors.cutoff, skin, compressed=compressed) or neighbors


def enlarged(neighbors: Searched, system: System, overflow: int = ROOM) -> Searched:
    """A list with more of what this one was short of (`overflow.py`), by the same search if that can do it."""
    larger = neighbors.larger(system, overflow)
    return dense.allocate(system, neighbors.cutoff) if larger is None else larger


def recorded(neighbors: Searched) -> list[Any]:
    """What `restored` needs to make the list again, as JSON."""
    if isinstance(neighbors, DenseNeighbors):
        return [neighbors.capacity, neighbors.images]
    if isinstance(neighbors, VerletNeighbors):
        return [neighbors.capacity, neighbors.search.cutoff, recorded(neighbors.search)]
    return [neighbors.capacity, *neighbors.grid, neighbors.room]


def restored(neighbors: Searched, record: Sequence[Any]) -> Searched:
    """A list for the same structure and cutoff as this one, with recorded search and capacities."""
    capacity, *rest = record
    same = neighbors.atoms, neighbors.cutoff, capacity, neighbors.pbc
    if len(rest) == 1:
        return DenseNeighbors(*same, tuple(rest[0]))
    if len(rest) == 2:
        reach, (places, axes, bins, sides, room) = rest
        return VerletNeighbors(_in_cells(neighbors, reach, places, axes, bins, sides, room), neighbors.cutoff, capacity)
    return _in_cells(neighbors, neighbors.cutoff, capacity, *rest)


def _in_cells(neighbors: Searched, cutoff: float, capacity: int, *grid_and_room: Sequence[Any]) -> CellNeighbors:
    axes, bins, sides, room = (tuple(each) for each in grid_and_room)
    return CellNeighbors(neighbors.atoms, cutoff, capacity, neighbors.pbc, Grid(axes, bins, sides), Room(*room))


def described(neighbors: Searched) -> str:
    """What an enlargement changes, for a log."""
    if isinstance(neighbors, DenseNeighbors):
        images = int(np.prod(2 * np.array(neighbors.images) + 1))
        return f"all pairs in {images} image{'s' if images > 1 else ''}, room for {neighbors.capacity} pairs"
    if isinstance(neighbors, VerletNeighbors):
        search = described(neighbors.search).replace("pairs", "candidates")
        return f"{search} within {neighbors.skin:g} Å more, and for {neighbors.capacity} pairs"
    a, b, c = neighbors.grid.bins
    return f"{a} × {b} columns of {c} bins with {neighbors.room.images} atoms, room for {neighbors.capacity} pairs"


def _cheaper(grid: Grid, system: System, cutoff: float) -> bool:
    """Whether cells cost less than all pairs."""
    all_pairs = 0.5 * len(system) * np.prod(2 * np.array(dense.images_within(system, cutoff)) + 1)
    return bool(SORTING + CANDIDATE * grid.candidates(len(system)) < all_pairs)
