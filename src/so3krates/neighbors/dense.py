"""All pairs inside compiled code: allocate on the host, update in jit, overflow invalidates.

The table of all pairs is made in every periodic image that can matter, and compressed to a list of fixed capacity or,
where much of it is within the cutoff, left as it is. Exact for every cell; the cost grows with N², which is the fastest
way up to a thousand atoms or so; `choice.py` decides.
"""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Bool, Float, Int, UInt
from so3krates.neighbors.compress import BITS, first_set, packed
from so3krates.neighbors.host import find_pairs
from so3krates.neighbors.overflow import ROOM, THIN, causes
from so3krates.neighbors.pairs import SPARE, Pairs, no_pairs, rounded, with_slack
from so3krates.pair_table import columns, counted_once, following, following_rows, held
from so3krates.system import System, heights

IMAGE_SLACK = 1e-3
"""Where the cutoff is almost a half-integer multiple of a height, the next image is searched too: compiled code finds
the images too few from half of this on, so that neither the rounding of a height makes a fresh list overflow, nor that
of fractional coordinates hides a pair."""

GIVE = 0.05
"""By so much, as a share, a cell may become thinner, at least, before images that were added for it are too few."""

FRACTION_BITS = 16
"""Fractional coordinates are rounded to integers of so many bits behind the point to choose the nearest image: integers
give the same choice wherever it is made, and the error is far below IMAGE_SLACK."""

WORTH_A_TABLE = 0.25
"""Long-range pairs cost little: from this share of all pairs on, the whole table is cheaper than a list of them."""

BLOCK = 2**17
"""Entries of the table that are compared with the cutoff at a time: they stay in the cache."""


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
            return no_pairs(self.capacity, positions)
        return _whole_table(self, positions, cell) if self.whole_table else _compressed(self, positions, cell)

    def larger(self, system: System, overflow: int = ROOM) -> "DenseNeighbors":
        """A list with room to spare for `system`, and for what this one was short of (`overflow.py`): at least half as
        much room again, or images for thinner cells.

        Neither more room nor more images changes the order of pairs or any vector. A list therefore never becomes the
        whole table, but the whole table becomes a list where images matter.
        """
        system = system if any(self.pbc) else system.without_cell()
        images = self._more_images(system) if overflow & THIN else images_within(system, self.cutoff)
        a, b, c = (max(pair) for pair in zip(self.images, images, strict=True))
        images = (a, b, c)
        _refuse_too_many(len(system), images)
        if self.whole_table and not any(images):
            return self
        capacity = with_slack(len(find_pairs(system, self.cutoff).centers))
        if not self.whole_table:
            capacity = max(capacity, rounded(1.5 * self.capacity) if overflow & ROOM else self.capacity)
        if capacity == _table_size(self.atoms):
            capacity += SPARE
        return replace(self, images=images, capacity=capacity)

    def _more_images(self, system: System) -> tuple[int, int, int]:
        """For cells thinner than that of `system`, and than this list was made for."""
        share = 1.0 - GIVE
        while all(n <= have for n, have in zip(images_within(system, self.cutoff / share), self.images, strict=True)):
            share *= 1.0 - GIVE
        # Another axis may be almost as thin.
        return images_within(system, self.cutoff / (share * (1.0 - GIVE)))

    @property
    def whole_table(self) -> bool:
        """Whether the list is the table of all pairs, which needs no search, only a mask."""
        return not any(self.images) and self.capacity == _table_size(self.atoms)


def allocate(system: System, cutoff: float, capacity: int | None = None, table_from: float = 1.0) -> DenseNeighbors:
    """Choose images and capacity for structures like `system`.

    Args:
        system: a representative structure.
        cutoff: Å.
        capacity: number of pairs to make room for; somewhat more than `system` needs if not given.
        table_from: share of all pairs from which on there is room for all of them, and no search.

    Raises:
        InputError: for a negative cutoff (0 gives a list without pairs), or too many atoms.
    """
    if not cutoff >= 0:
        raise InputError(f"cutoff {cutoff} Å must not be negative.")
    images = images_within(system, cutoff)
    _refuse_too_many(len(system), images)
    if capacity is None:
        capacity = with_slack(len(find_pairs(system, cutoff).centers))
        if not any(images) and capacity >= table_from * _all_pairs(len(system)):
            capacity = _table_size(len(system))
    return DenseNeighbors(len(system), float(cutoff), int(capacity), system.pbc, images)


def _refuse_too_many(atoms: int, images: tuple[int, int, int]) -> None:
    count = len(_image_shifts(images))
    if atoms * count * _words(atoms) * BITS >= 2**31:
        raise InputError(
            f"{atoms} atoms, with {count} periodic images, are more than the search over all pairs in compiled code "
            "can number; use Potential.predict or the ASE calculator, which search on the host."
        )


def _words(atoms: int) -> int:
    """Of bits for the offsets 0 to atoms/2."""
    return (atoms // 2 + BITS) // BITS


def _all_pairs(atoms: int) -> int:
    return atoms * (atoms - 1) // 2


def _table_size(atoms: int) -> int:
    return max(atoms, 1) * columns(atoms)


def images_within(system: System, cutoff: float) -> tuple[int, int, int]:
    """Shifts to search along each axis: differences rounded to the nearest image leave |S_k| ≤ cutoff/height_k + ½."""
    if system.cell is None:
        return (0, 0, 0)
    reach = np.floor(cutoff / heights(system.cell) + 0.5 + IMAGE_SLACK).astype(int)
    return tuple(int(n) if periodic else 0 for n, periodic in zip(reach, system.pbc, strict=True))  # type: ignore[return-value]


def _whole_table(
    neighbors: DenseNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Pairs:
    n, count = neighbors.atoms, columns(neighbors.atoms)
    units = _units(neighbors, positions, cell)
    x = [following(axis, count) - axis[:, None] for axis in positions.T]
    thin = jnp.zeros((), bool)
    if units is not None:
        assert cell is not None
        thin = _cell_too_thin(neighbors, cell)
        x = _moved(x, [_wraps(following(axis, count) - axis[:, None]) for axis in units.T], cell)
    inside = (_squared(x) < neighbors.cutoff**2) & jnp.asarray(held(n))
    row, column = jnp.divmod(jnp.arange(n * count, dtype=jnp.int32), count)
    vectors = jnp.stack(x, axis=-1).reshape(-1, 3)
    return Pairs(
        vectors, row, (row + column + 1) % n, inside.reshape(-1), causes(jnp.zeros((), bool), thin), table_of=n
    )


def _compressed(
    neighbors: DenseNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Pairs:
    n, images = neighbors.atoms, _image_shifts(neighbors.images)
    units = _units(neighbors, positions, cell)
    words = _words_inside(neighbors, positions, units, cell, images)
    place, found = first_set(words.reshape(-1), neighbors.capacity)
    mask = jnp.arange(neighbors.capacity, dtype=jnp.int32) < found
    place, offset = jnp.divmod(jnp.where(mask, place, 0), words.shape[2] * BITS)
    row, image = jnp.divmod(place, len(images))
    centers = jnp.where(mask, row, 0)
    others = jnp.where(mask, (row + offset) % n, 0)
    vectors = positions[others] - positions[centers]
    thin = jnp.zeros((), bool)
    if units is not None:
        assert cell is not None
        shifts = jnp.asarray(images, jnp.int32)[image] + _wraps(units[others] - units[centers])
        vectors = vectors + jnp.where(mask[:, None], shifts, 0).astype(positions.dtype) @ cell
        thin = _cell_too_thin(neighbors, cell)
    return Pairs(vectors, centers, others, mask, causes(found > neighbors.capacity, thin))


def _words_inside(
    neighbors: DenseNeighbors,
    positions: Float[Array, "atoms 3"],
    units: Int[Array, "atoms 3"] | None,
    cell: Float[Array, "3 3"] | None,
    images: Int[np.ndarray, "images 3"],
) -> UInt[Array, "rows images words"]:
    """Which pairs are within the cutoff, a bit for each: atom, image, and how many atoms further the other one is."""
    n = neighbors.atoms
    words = _words(n)
    offsets = np.arange(words * BITS, dtype=np.int32)
    positive = np.array([tuple(shift) > (0, 0, 0) for shift in images])
    rows = max(1, min(n, BLOCK // (len(images) * len(offsets))))

    def block(start: Int[Array, ""]) -> UInt[Array, "rows images words"]:
        mine = start + jnp.arange(rows, dtype=jnp.int32)
        own = jnp.minimum(mine, n - 1)

        def differences(values: Array) -> list[Array]:
            return [following_rows(axis, own, len(offsets), 0) - axis[own][:, None] for axis in values.T]

        x = differences(positions)
        if units is not None:
            assert cell is not None
            x = _moved(x, [_wraps(each) for each in differences(units)], cell)
            moves = jnp.asarray(images, positions.dtype) @ cell
            x = [axis[:, None, :] + moves[:, a, None] for a, axis in enumerate(x)]
        else:
            x = [axis[:, None, :] for axis in x]
        # Each pair once: of two atoms in any image, and of an atom and itself in those of positive shift.
        once = counted_once(mine[:, None], offsets, n)[:, None, :] | ((offsets == 0) & positive[:, None])
        inside = (_squared(x) < neighbors.cutoff**2) & once & (mine < n)[:, None, None]
        return packed(inside.reshape(rows, len(images), words, BITS))

    starts = jnp.arange(0, n, rows, dtype=jnp.int32)
    return jax.lax.map(block, starts).reshape(-1, len(images), words)


def _image_shifts(images: tuple[int, int, int]) -> Int[np.ndarray, "images 3"]:
    ranges = [np.arange(-count, count + 1) for count in images]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def _units(
    neighbors: DenseNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
) -> Int[Array, "atoms 3"] | None:
    """Fractional coordinates as integers, zero along axes without periodicity."""
    if cell is None or not any(neighbors.pbc):
        return None
    fractional = jnp.where(jnp.asarray(neighbors.pbc), positions @ jnp.linalg.inv(cell), 0.0)
    return jnp.round(fractional * 2**FRACTION_BITS).astype(jnp.int32)


def _wraps(units: Int[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Shift of cells that brings a difference in `_units` nearest to zero."""
    return -((units + 2 ** (FRACTION_BITS - 1)) >> FRACTION_BITS)


def _moved(x: Sequence[Array], shifts: Sequence[Int[Array, "*shape"]], cell: Float[Array, "3 3"]) -> list[Array]:
    """Vectors, component by component, plus S·H. Products with so small a matrix are faster written out."""
    s = [shift.astype(cell.dtype) for shift in shifts]
    return [axis + (s[0] * cell[0, a] + s[1] * cell[1, a] + s[2] * cell[2, a]) for a, axis in enumerate(x)]


def _squared(x: Sequence[Array]) -> Array:
    return x[0] * x[0] + x[1] * x[1] + x[2] * x[2]


def _cell_too_thin(neighbors: DenseNeighbors, cell: Float[Array, "3 3"]) -> Bool[Array, ""]:
    """Whether the cell has become so thin that more images matter than were allocated."""
    height = 1.0 / jnp.linalg.norm(jnp.linalg.inv(cell), axis=0)
    need = jnp.floor(neighbors.cutoff / height + 0.5 + 0.5 * IMAGE_SLACK)
    have = jnp.asarray(neighbors.images, need.dtype)
    return jnp.any(jnp.asarray(neighbors.pbc) & (need > have))
