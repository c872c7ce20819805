"""Pairs inside compiled code in a time that grows with N: each atom looks into the runs of a grid (`grid.py`).

Same contract and same pairs as `dense.py`. Pairs stand in the order of their first atoms, these column by column of the
grid. The order follows from positions, cell and grid alone, not from capacities, and the grid stays when a list is
enlarged, so that a run whose list overflowed is bitwise the same as one whose list was large from the start.
"""

from dataclasses import replace
from math import ceil
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Bool, Float, Int, UInt
from so3krates.neighbors.compress import BITS, packed, set_bits
from so3krates.neighbors.grid import Grid, fitting, make_runs, sort_atoms, stretches
from so3krates.neighbors.overflow import ROOM, THIN, causes
from so3krates.neighbors.pairs import Pairs, rounded, with_slack
from so3krates.system import System

DEVIATIONS, SPARE = 2.0, 4
"""Room given to runs of n atoms on allocation: DEVIATIONS·√n + SPARE more. What is not filled costs a comparison, not a
pair."""

RUNS = 5
"""Of each atom: four in neighbouring columns, and the rest of its own."""

GIVE = 1.1
"""How much thinner than the present grid allows a cell may become on the grid that takes its place."""

BLOCK = 2**18
"""Candidates that are compared with the cutoff at a time: they stay in the cache."""


class Room(NamedTuple):
    """Capacities of the search; static."""

    run: int
    """Atoms in a run of a neighbouring column, a multiple of 32."""
    rest: int
    """Atoms that follow in the own column, likewise."""
    images: int
    """Atoms and images in all columns."""

    @property
    def candidates(self) -> int:
        """Of each atom."""
        return (RUNS - 1) * self.run + self.rest


class Comparison(NamedTuple):
    """Which candidates are within the cutoff, and what it takes to list them as pairs."""

    order: Int[Array, " atoms"]
    here: Float[Array, "atoms 3"]
    """Positions in the order, as they are given."""
    there: Float[Array, "images 3"]
    """The same of the atoms and images in the columns."""
    atom: Int[Array, " images"]
    begins: Int[Array, "atoms 5"]
    turns: Int[Array, "atoms 5 3"] | None
    """S of the image a run shows, less that of the first atom; None where nothing is periodic."""
    turns_there: Int[Array, "images 3"] | None
    """S of each atom or image in its column."""
    words: UInt[Array, " words"]
    """Which candidates are within the cutoff, a bit for each: atom, run, place in the run."""
    overflow: Int[Array, ""]


class Numbered(NamedTuple):
    """Pairs without vectors, for as many places as the list has."""

    centers: Int[Array, " pairs"]
    others: Int[Array, " pairs"]
    turns: Int[Array, "pairs 3"] | None
    """S of the other atom's image, in 16 bits; None where nothing is periodic."""
    found: Int[Array, ""]
    """How many there are; what stands behind them has no meaning."""
    overflow: Int[Array, ""]


class CellNeighbors(eqx.Module):
    """Parameters of the search; all static, so a larger capacity is another compilation."""

    atoms: int = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    pbc: tuple[bool, bool, bool] = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    room: Room = eqx.field(static=True)

    def update(self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None) -> Pairs:
        """The pairs at these positions. Differentiable in positions and cell through `vectors`.

        The list overflows where there are more pairs, or more atoms in one place, than there is room for, and where a
        periodic cell has become so thin that the grid would miss pairs.

        Raises:
            InputError: if the list was allocated for periodic axes and no cell is given.
        """
        if cell is None and any(self.pbc):
            raise InputError(f"this neighbour list was allocated for periodic axes {self.pbc}; give the cell.")
        return _listed(self, _compared(self, positions, cell if any(self.pbc) else None), cell)

    def numbered(self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None) -> Numbered:
        """The same pairs as atoms and images, for use at other positions."""
        found = _compared(self, positions, cell if any(self.pbc) else None)
        chosen = _chosen(self, found)
        turns = None
        if found.turns is not None:
            assert found.turns_there is not None
            turns = found.turns_there[chosen.place] + found.turns.reshape(-1, 3)[chosen.look]
            turns = turns.astype(jnp.int16)
        return Numbered(found.order[chosen.row], found.atom[chosen.place], turns, chosen.found, chosen.overflow)

    def larger(self, system: System, overflow: int = ROOM) -> "CellNeighbors | None":
        """A list with room to spare for `system`, and for what this one was short of (`overflow.py`): more room on the
        same grid if that fits `system`, or a grid for thinner cells.

        None if `system` is too small for a grid, or for one that could become thinner.
        """
        system = system if any(self.pbc) else system.without_cell()
        if overflow & THIN:
            thinner = fitting(system, self.cutoff, max(1.0, self.grid.room_to_shrink(system, self.cutoff)) * GIVE - 1.0)
            fresh = None if thinner is None else allocate(system, self.cutoff, grid=thinner)
        else:
            fresh = allocate(system, self.cutoff, grid=self.grid) or allocate(system, self.cutoff)
        if fresh is None:
            return None
        if fresh.grid != self.grid:
            kept = rounded(1.5 * self.capacity) if overflow & ROOM else self.capacity
            return replace(fresh, capacity=max(fresh.capacity, kept))
        have, want = (self.capacity, *self.room), (fresh.capacity, *fresh.room)
        # Enlarge what is short. If nothing is, it was so only later in the chunk: then enlarge all.
        short = self._short_of(fresh)
        grown = [
            max(b, ceil(1.5 * a)) if each or not any(short) else a for a, b, each in zip(have, want, short, strict=True)
        ]
        return replace(self, capacity=rounded(grown[0]), room=_rounded_room(*grown[1:]))

    def is_short_for(self, system: System) -> bool:
        """Whether a list for `system` on this grid would get more room of any kind."""
        fresh = allocate(system if any(self.pbc) else system.without_cell(), self.cutoff, grid=self.grid)
        return fresh is None or any(self._short_of(fresh))

    def _short_of(self, fresh: "CellNeighbors") -> list[bool]:
        """Of which capacities it has less."""
        return [b > a for a, b in zip((self.capacity, *self.room), (fresh.capacity, *fresh.room), strict=True)]


def allocate(
    system: System, cutoff: float, capacity: int | None = None, grid: Grid | None = None
) -> CellNeighbors | None:
    """Choose grid and capacities for structures like `system`; None if a periodic cell is thinner than the cutoff.

    Args:
        system: a representative structure.
        cutoff: Å.
        capacity: number of pairs to make room for; somewhat more than `system` needs if not given.
        grid: grid to keep if it fits the structure, and None if it does not; chosen if not given.

    Raises:
        InputError: for more pairs than can be numbered.
    """
    chosen = grid or fitting(system, cutoff)
    if chosen is None:
        return None
    cell = None if system.cell is None else jnp.asarray(system.cell)
    # As they are given, and as dynamics counts them: the grid divides a cell from the origin on.
    centered = system.positions - np.round(system.positions.mean(axis=0))
    positions = [jnp.asarray(each) for each in (system.positions, centered)]
    longest = [jax.device_get(_longest(chosen, float(cutoff), system.pbc, each, cell)) for each in positions]
    if any(bool(each.too_thin) for each in longest):
        return None
    counts = np.max([[each.run, each.rest, each.images] for each in longest], axis=0)
    room = _rounded_room(*(counts + DEVIATIONS * np.sqrt(counts) + SPARE))
    neighbors = CellNeighbors(len(system), float(cutoff), 0, system.pbc, chosen, room)
    if capacity is None:
        capacity = with_slack(int(_count(neighbors, positions[1], cell)))
    if capacity >= 2**31:
        raise InputError(
            f"{capacity} pairs of {len(system)} atoms within {cutoff:g} Å are more than compiled code can number; use "
            "a shorter cutoff."
        )
    return replace(neighbors, capacity=int(capacity))


def _rounded_room(run: float, rest: float, images: float) -> Room:
    return Room(*(BITS * max(1, ceil(count / BITS)) for count in (run, rest, images)))


class _Longest(NamedTuple):
    run: Int[Array, ""]
    rest: Int[Array, ""]
    images: Int[Array, ""]
    too_thin: Bool[Array, ""]


@eqx.filter_jit
def _longest(
    grid: Grid,
    cutoff: float,
    pbc: tuple[bool, bool, bool],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
) -> _Longest:
    """What a structure needs room for."""
    found = sort_atoms(grid, cutoff, pbc, positions, cell)
    runs = make_runs(grid, found, 1)
    _, lengths, _ = stretches(grid, found, runs, pbc)
    return _Longest(jnp.max(lengths[:, :-1]), jnp.max(lengths[:, -1]), runs.total, found.too_thin)


@eqx.filter_jit
def _count(
    neighbors: CellNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Int[Array, ""]:
    words = _compared(neighbors, positions, cell).words
    return jnp.sum(jax.lax.population_count(words).astype(jnp.int32))


def _compared(
    neighbors: CellNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Comparison:
    grid, room, pbc = neighbors.grid, neighbors.room, neighbors.pbc
    found = sort_atoms(grid, neighbors.cutoff, pbc, positions, cell)
    runs = make_runs(grid, found, room.images)
    begins, lengths, columns = stretches(grid, found, runs, pbc)
    crowded = (runs.total > room.images) | (jnp.max(lengths[:, :-1]) > room.run) | (jnp.max(lengths[:, -1]) > room.rest)
    here = positions[found.order]
    there = here[runs.atom]
    turns = turns_there = None
    away, points = jnp.broadcast_to(here[:, None, :], (*begins.shape, 3)), there
    if cell is not None:
        along = grid.axes[2]
        turns_there = found.shifts[runs.atom].at[:, along].add(runs.turn if pbc[along] else 0)
        turns = columns - found.shifts[:, None, :]
        points = there + times(turns_there, cell)
        away = away - times(turns, cell)
    words = _words(neighbors, points, away, begins, lengths)
    atom = found.order[runs.atom]
    return Comparison(
        found.order, here, there, atom, begins, turns, turns_there, words, causes(crowded, found.too_thin)
    )


def _words(
    neighbors: CellNeighbors,
    points: Float[Array, "images 3"],
    away: Float[Array, "atoms 5 3"],
    begins: Int[Array, "atoms 5"],
    lengths: Int[Array, "atoms 5"],
) -> UInt[Array, " words"]:
    """Compare the candidates of block after block of atoms with the cutoff."""
    room, atoms = neighbors.room, neighbors.atoms
    rows = max(1, min(atoms, BLOCK // room.candidates))
    blocks = -(-atoms // rows)
    most = max(room.run, room.rest)
    # Beyond the end nothing is counted, but a slice that would not fit would be moved.
    coordinates = [jnp.pad(points[:, a], (0, most)) for a in range(3)]

    def in_blocks(values: Array) -> Array:
        padded = jnp.pad(values, ((0, blocks * rows - atoms),) + ((0, 0),) * (values.ndim - 1))
        return padded.reshape(blocks, rows, *values.shape[1:])

    def inside(runs: slice, size: int, begin: Array, length: Array, origin: Array) -> UInt[Array, "rows words"]:
        def run(values: Array, start: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(values, start, size)

        squared = jnp.zeros((), points.dtype)
        for a in range(3):
            slices = jax.vmap(jax.vmap(run, (None, 0)), (None, 0))(coordinates[a], begin[:, runs])
            x = slices - origin[:, runs, a, None]
            squared = squared + x * x
        near = (squared < neighbors.cutoff**2) & (jnp.arange(size, dtype=jnp.int32) < length[:, runs, None])
        return packed(near.reshape(rows, -1, BITS))

    def block(values: tuple[Array, Array, Array]) -> UInt[Array, "rows words"]:
        neighboring = inside(slice(0, RUNS - 1), room.run, *values)
        return jnp.concatenate([neighboring, inside(slice(RUNS - 1, RUNS), room.rest, *values)], axis=1)

    words = jax.lax.map(block, (in_blocks(begins), in_blocks(lengths), in_blocks(away)))
    return words.reshape(-1)


class _Chosen(NamedTuple):
    """Where the pairs within the cutoff stand among the candidates."""

    row: Int[Array, " pairs"]
    """Of the first atom, in the order."""
    look: Int[Array, " pairs"]
    """Run of that atom, of all runs."""
    place: Int[Array, " pairs"]
    """Of the other atom, in the columns."""
    mask: Bool[Array, " pairs"]
    found: Int[Array, ""]
    overflow: Int[Array, ""]


def _chosen(neighbors: CellNeighbors, found: Comparison) -> _Chosen:
    room = neighbors.room
    word, bit, count = set_bits(found.words, neighbors.capacity)
    mask = jnp.arange(neighbors.capacity, dtype=jnp.int32) < count
    row, within = jnp.divmod(jnp.where(mask, word, 0), room.candidates // BITS)
    run = jnp.minimum(within // (room.run // BITS), RUNS - 1)
    look = row * RUNS + run
    place = (within - run * (room.run // BITS)) * BITS + bit
    place = jnp.where(mask, found.begins.reshape(-1)[look] + place, 0)
    overflow = found.overflow | causes(count > neighbors.capacity, jnp.zeros((), bool))
    return _Chosen(row, look, place, mask, count, overflow)


def _listed(neighbors: CellNeighbors, found: Comparison, cell: Float[Array, "3 3"] | None) -> Pairs:
    row, look, place, mask, _, overflow = _chosen(neighbors, found)
    vectors = found.there[place] - found.here[row]
    if found.turns is not None:
        assert cell is not None and found.turns_there is not None
        vectors = vectors + times(found.turns_there[place] + found.turns.reshape(-1, 3)[look], cell)
    return Pairs(
        jnp.where(mask[:, None], vectors, 0.0),
        jnp.where(mask, found.order[row], 0),
        jnp.where(mask, found.atom[place], 0),
        mask,
        overflow,
    )


def times(shifts: Int[Array, "*rows 3"], cell: Float[Array, "3 3"]) -> Float[Array, "*rows 3"]:
    """S·H. Products with so small a matrix are faster written out."""
    s = shifts.astype(cell.dtype)
    return s[..., 0, None] * cell[0] + s[..., 1, None] * cell[1] + s[..., 2, None] * cell[2]
