"""The mesh of sums over all periodic images: how many points a cell needs, and when it has outgrown them.

What is left out of such a sum are waves shorter than two spacings of points along a cell vector, whatever the angles of
the cell. The number of points is static, so a cell that moves keeps its points until they lie COARSER than the term
asks for. Errors of forces grow at most like the fourth power of the spacing.
"""

from math import ceil

import jax.numpy as jnp
import numpy as np
from scipy.fft import next_fast_len

from so3krates._typing import Array, Bool, Float

MIN_POINTS = 8
"""Along an axis at least: an atom is spread over five of them."""
COARSER = 0.05
"""By so much, as a share, points may lie farther apart than asked for before a cell that grew needs more of them."""

Points = tuple[int, int, int]


def points(lengths: Float[np.ndarray, " 3"], spacing: float) -> Points:
    """For cell vectors of these lengths and points not farther apart than `spacing`, both in Å."""
    a, b, c = (max(MIN_POINTS, next_fast_len(ceil(length / spacing)) or 0) for length in lengths)
    return (a, b, c)


def too_coarse(mesh: Points, spacing: float, cell: Float[Array, "3 3"]) -> Bool[Array, ""]:
    """Whether the cell has outgrown the mesh."""
    apart = jnp.linalg.norm(cell, axis=1) / jnp.asarray(mesh, cell.dtype)
    return jnp.any(apart > (1.0 + COARSER) * spacing)


def finer(mesh: Points, spacing: float, cell: Float[np.ndarray, "3 3"]) -> Points:
    """More points than `mesh`, which was too coarse for some cell after this one: as asked for in this cell when it has
    grown, evenly, to where the mesh became too coarse and by COARSER beyond."""
    lengths = np.linalg.norm(cell, axis=1)
    outgrown = (1.0 + COARSER) * spacing * np.array(mesh)
    more = points((1.0 + COARSER) * lengths * max(1.0, float(np.min(outgrown / lengths))), spacing)
    a, b, c = (max(pair) for pair in zip(mesh, more, strict=True))
    return (a, b, c)
