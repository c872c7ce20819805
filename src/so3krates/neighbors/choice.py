"""Which search in compiled code: that over all pairs, or that in cells; chosen by what they cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so3krates._errors import FileError
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


def recorded(neighbors: Searched) -> dict[str, Any]:
    """What `restored` needs to make the list again, as JSON."""
    found: dict[str, Any] = {"capacity": neighbors.capacity}
    match neighbors:
        case DenseNeighbors():
            return found | {"kind": "all pairs", "images": neighbors.images}
        case VerletNeighbors():
            own = {"reach": neighbors.search.cutoff, "compressed": neighbors.compressed}
            return found | {"kind": "verlet", "search": recorded(neighbors.search)} | own
        case CellNeighbors():
            return found | {"kind": "cells", "grid": neighbors.grid, "room": neighbors.room}


def restored(neighbors: Searched, record: Mapping[str, Any]) -> Searched:
    """A list for the same structure and cutoff as this one, with recorded search and capacities."""
    return _restored(neighbors, neighbors.cutoff, record)


def _restored(neighbors: Searched, cutoff: float, record: Mapping[str, Any]) -> Searched:
    capacity = record["capacity"]
    same = neighbors.atoms, cutoff, capacity, neighbors.pbc
    match record["kind"]:
        case "all pairs":
            a, b, c = record["images"]
            return DenseNeighbors(*same, (a, b, c))
        case "cells":
            axes, bins, sides = (tuple(each) for each in record["grid"])
            return CellNeighbors(*same, Grid(axes, bins, sides), Room(*record["room"]))  # type: ignore[arg-type]
        case "verlet":
            search = _restored(neighbors, record["reach"], record["search"])
            assert isinstance(search, CellNeighbors)
            return VerletNeighbors(search, cutoff, capacity, record["compressed"])
        case kind:
            raise FileError(f"the checkpoint holds a neighbour list of kind {kind!r}, which is unknown here.")


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
