"""The grid behind the cell list: columns of bins that the cell and the cutoff decide, and atoms sorted into them.

Two of the three axes are cut into columns at least as thick as the cutoff, and each column, along the third axis, into
thin bins. All atoms within the cutoff of an atom then lie in nine columns, in a stretch of each that is little longer
than twice the cutoff; atoms sorted by column and bin have them in nine runs.

Coordinates are distances along the normals of the faces. Periodic axes are cut into a whole number of bins, whatever
the cell becomes. The others go round as well: bins of fixed thickness, from the outermost atom on, are numbered modulo
their count. Atoms that are not near meet in a bin at worst, so that a molecule may go and grow as it likes.
"""

from math import ceil, floor, inf
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Float, Int
from so3krates.system import System, heights

REACH = 8
"""Bins along a column within the cutoff."""

SHRINKAGE = 0.02
"""A periodic cell may become thinner by so much, at least, before bins are thinner than the cutoff."""

ROUNDING = 1e-4
"""Share of the cutoff by which bins must be thicker; and more, by the rounding of coordinates far from the origin."""
ULPS = 16
"""Of the largest coordinate: the bound used for the error of a coordinate along a normal."""

SPARSEST = 4
"""Bins per atom at most; in a structure that is emptier they are made thicker, or fewer."""


class Grid(NamedTuple):
    """Number and thickness of bins; static, so another grid is another compilation.

    Entries stand in the order of `axes`: that of the columns, then that of the bins along a column.
    """

    axes: tuple[int, int, int]
    """Axes of the cell."""
    bins: tuple[int, int, int]
    sides: tuple[float, float, float]
    """Thickness along axes that are not periodic, Å; 0 along periodic ones."""

    @property
    def columns(self) -> int:
        return self.bins[0] * self.bins[1]

    @property
    def padded(self) -> int:
        """Bins of a column with those of its images before and after."""
        return self.bins[2] + 2 * REACH

    def room_to_shrink(self, system: System, cutoff: float) -> float:
        """The smallest ratio of a reach along a periodic axis to the cutoff: below 1, pairs would be missed."""
        if system.cell is None:
            return inf
        height = heights(system.cell)
        reach = [n * height[axis] / bins for n, axis, bins in zip((1, 1, REACH), self.axes, self.bins, strict=True)]
        return float(min(r for r, axis in zip(reach, self.axes, strict=True) if system.pbc[axis])) / cutoff

    def candidates(self, atoms: int) -> float:
        """Atoms among which each has to look for its pairs, where all columns are equally full."""
        return 4.5 * atoms / self.columns * (2 * REACH + 1) / self.bins[2]


def fitting(system: System, cutoff: float, shrinkage: float = SHRINKAGE) -> Grid | None:
    """The grid for structures like `system`, cutoff in Å, which allows a periodic cell to become thinner by `shrinkage`
    of the cutoff per column; None if one is thinner than the cutoff and that."""
    if not len(system):
        return None
    side = cutoff * (1.0 + shrinkage) + 2 * ULPS * _resolution(np.float32) * float(np.abs(system.positions).max())
    cell = np.eye(3) if system.cell is None else system.cell
    extent = np.ptp(system.positions @ np.linalg.inv(cell), axis=0) * heights(cell)
    length = np.where(system.pbc, heights(cell), extent)
    axes = tuple(int(axis) for axis in np.argsort(length, kind="stable"))
    thickness = (side, side, side / REACH)
    counts = [length[axis] / thick for axis, thick in zip(axes, thickness, strict=True)]
    periodic = [system.pbc[axis] for axis in axes]
    if any(count < fewest for count, fewest, p in zip(counts, (1, 1, REACH), periodic, strict=True) if p):
        return None
    # Going round, the nine columns and the bins of a stretch must be different ones.
    fewest = [1 if p and n < 2 else REACH if p else 3 if n < 2 else 2 * REACH + 1 for n, p in enumerate(periodic)]
    full = np.prod(np.maximum(counts, fewest))
    thinning = min(1.0, (SPARSEST * len(system) / full) ** (1.0 / 3.0))
    bins = tuple(
        max(fewest[n], floor(thinning * counts[n]) if periodic[n] else ceil(thinning * counts[n])) for n in range(3)
    )
    sides = tuple(0.0 if periodic[n] else thickness[n] for n in range(3))
    return Grid(axes, bins, sides)  # type: ignore[arg-type]


class Sorted(NamedTuple):
    """Atoms in the order of columns and bins, and where they are."""

    order: Int[Array, " atoms"]
    """Atom in each place of the order."""
    column: Int[Array, "atoms 2"]
    bin: Int[Array, " atoms"]
    """Along the column."""
    shifts: Int[Array, "atoms 3"]
    """S of the image inside the cell, along the axes of the cell; 0 along those that are not periodic."""
    too_thin: Bool[Array, ""]
    """Bins are thinner than the cutoff: pairs would be missed."""


def sort_atoms(
    grid: Grid,
    cutoff: float,
    pbc: tuple[bool, bool, bool],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
) -> Sorted:
    """Put atoms into bins, and in order."""
    atoms = len(positions)
    inverse = jnp.eye(3, dtype=positions.dtype) if cell is None else jnp.linalg.inv(cell)
    height = 1.0 / jnp.linalg.norm(inverse, axis=0)
    fractional = positions @ inverse
    need = cutoff * (1.0 + ROUNDING) + ULPS * _resolution(positions.dtype) * jnp.max(jnp.abs(positions))
    shifts, places, too_thin = [jnp.zeros((atoms,), jnp.int32)] * 3, [], jnp.zeros((), bool)
    for axis, count, side, reach in zip(grid.axes, grid.bins, grid.sides, (1, 1, REACH), strict=True):
        along = fractional[:, axis]
        if pbc[axis]:
            whole = jnp.floor(along)
            shifts[axis] = -whole.astype(jnp.int32)
            place = jnp.minimum(((along - whole) * count).astype(jnp.int32), count - 1)
            too_thin |= reach * height[axis] < count * need
        else:
            along = along - jnp.min(along)
            place = (along * (height[axis] / side)).astype(jnp.int32) % count
            too_thin |= reach * side < need
        # A position that is not a number must not fill a bin: it is the business of those who watch the run.
        places.append(jnp.where(jnp.isfinite(along), place, jnp.arange(atoms, dtype=jnp.int32) % count))
    key = (places[0] * grid.bins[1] + places[1]) * grid.bins[2] + places[2]
    order = jnp.argsort(key).astype(jnp.int32)
    column = jnp.stack(places[:2], axis=1)[order]
    return Sorted(order, column, places[2][order], jnp.stack(shifts, axis=1)[order], too_thin)


def _resolution(dtype: object) -> float:
    return float(np.finfo(np.dtype(dtype)).eps)  # type: ignore[call-overload]


class Runs(NamedTuple):
    """Sorted atoms with the images of the ends of each column, so that every stretch of a column is one run."""

    atom: Int[Array, " padded"]
    """Place in the sorted order; 0 beyond the last."""
    turn: Int[Array, " padded"]
    """How often the run axis was gone round to come to this image: −1, 0 or 1."""
    own: Int[Array, " atoms"]
    """Where each sorted atom is itself."""
    first: Int[Array, " bins"]
    """Where each bin of `Grid.padded` begins; one entry more than bins."""
    total: Int[Array, ""]


def make_runs(grid: Grid, found: Sorted, size: int) -> Runs:
    """Lay out the sorted atoms, and images, in `size` places. Complete if `total` is not more than that."""
    atoms = len(found.order)
    along = grid.bins[2]
    column = found.column[:, 0] * grid.bins[1] + found.column[:, 1]
    inside = jnp.zeros((grid.columns * along,), jnp.int32).at[column * along + found.bin].add(1)
    before = jnp.cumsum(inside) - inside
    rank = jnp.arange(atoms, dtype=jnp.int32) - before[column * along + found.bin]
    padded = inside.reshape(grid.columns, along)[:, np.arange(-REACH, along + REACH) % along].reshape(-1)
    ends = jnp.cumsum(padded)
    first = jnp.concatenate([jnp.zeros((1,), jnp.int32), ends])
    own = first[column * grid.padded + found.bin + REACH] + rank
    atom, turn = jnp.zeros((size,), jnp.int32), jnp.zeros((size,), jnp.int32)
    sources = jnp.arange(atoms, dtype=jnp.int32)
    # A column may be as short as the reach, so that a bin has an image on both sides.
    for image in (-1, 0, 1):
        place = found.bin + REACH + image * along
        here = (place >= 0) & (place < grid.padded)
        index = jnp.where(here, first[column * grid.padded + jnp.where(here, place, 0)] + rank, size)
        atom = atom.at[index].set(sources, mode="drop")
        turn = turn.at[index].set(image, mode="drop")
    return Runs(atom, turn, own, first, ends[-1])


def stretches(
    grid: Grid, found: Sorted, runs: Runs, pbc: tuple[bool, bool, bool]
) -> tuple[Int[Array, "atoms 5"], Int[Array, "atoms 5"], Int[Array, "atoms 5 3"]]:
    """Begin and length of the runs in which each sorted atom looks for others, and the image that each run shows.

    Each pair is in one of them: half of the neighbouring columns, and what follows in the atom's own, which is last.
    """
    begins, lengths, shifts = [], [], []
    zero = jnp.zeros_like(found.bin)
    for step in ((0, 1), (1, -1), (1, 0), (1, 1), (0, 0)):
        shift: list[Array] = [zero] * 3
        places = []
        for n, axis in enumerate(grid.axes[:2]):
            turn, place = jnp.divmod(found.column[:, n] + step[n], grid.bins[n])
            places.append(place)
            if pbc[axis]:
                shift[axis] = turn
        bin = (places[0] * grid.bins[1] + places[1]) * grid.padded + found.bin
        begin = runs.own + 1 if step == (0, 0) else runs.first[bin]
        begins.append(begin)
        lengths.append(runs.first[bin + 2 * REACH + 1] - begin)
        shifts.append(jnp.stack(shift, axis=1))
    return jnp.stack(begins, axis=1), jnp.stack(lengths, axis=1), jnp.stack(shifts, axis=1)
