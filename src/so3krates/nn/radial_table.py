"""Functions of a pair's distance as tables: cubic Hermite interpolation, whose derivative is exact."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Float

BEND = 2.0
"""Å; r₀ of the variable u = r/(r + r₀) in which knots are evenly spaced: radial bases are sharp at short distances and
blunt at long ones."""
SHORTEST = 0.7
"""Å; from here on tables keep to their tolerance. The bond of H₂, the shortest there is, has 0.74 Å."""
FINE = (3 * 2**10, 3 * 2**12, 3 * 2**14)
"""Intervals of the grids that tables are compared with."""
FEWEST = 48
LEAST_INSIDE = 4
"""Points of the fine grid from knot to knot, at least: with fewer, none lies where the error is large."""
EXTREME = 0.5 - 12**-0.5
"""Where in an interval the derivative of a cubic Hermite is farthest off, t(1 − t)(1 − 2t) being largest, and as far
from its other end."""


class RadialTable(eqx.Module):
    """Values and slopes of functions of r at knots from 0 to the cutoff, evenly spaced in u = r/(r + r₀).

    Between knots k and k + 1, with t the position between them from 0 to 1:
    T = a + t (p + t (3(b − a) − 2p − q + t (2(a − b) + p + q))), a and b the values, p and q the slopes dT/dt there.
    T and dT/dr are continuous, and dT/dr is the derivative of T to rounding: energies stay the integral of forces.
    """

    values: Float[Array, "knots 2 functions"]
    """Values and slopes with respect to t."""
    cutoff: float = eqx.field(static=True)
    """Å."""

    @property
    def intervals(self) -> int:
        return self.values.shape[0] - 1

    def __call__(self, r: Float[Array, " pairs"]) -> Float[Array, "pairs functions"]:
        """The functions at distances from 0 to the cutoff; beyond it, their values there."""
        dtype = self.values.dtype
        per_knot = jnp.asarray(self.intervals * (self.cutoff + BEND) / self.cutoff, dtype)
        inside = jnp.minimum(r, jnp.asarray(self.cutoff, dtype))
        place = inside / (inside + jnp.asarray(BEND, dtype)) * per_knot
        knot = jnp.clip(place.astype(jnp.int32), 0, self.intervals - 1)
        t = (place - knot.astype(dtype))[:, None]
        a, p = self.values[knot, 0], self.values[knot, 1]
        b, q = self.values[knot + 1, 0], self.values[knot + 1, 1]
        return a + t * (p + t * (3.0 * (b - a) - 2.0 * p - q + t * (2.0 * (a - b) + p + q)))


Sampled = tuple[Float[np.ndarray, "knots functions"], Float[np.ndarray, "knots functions"]]
Function = Callable[[Float[np.ndarray, " knots"]], Sampled]
"""From distances in Å to values and derivatives with respect to r."""


def knots(cutoff: float, intervals: int) -> Float[np.ndarray, " knots"]:
    """Distances in Å, from 0 to the cutoff."""
    u = np.linspace(0.0, cutoff / (cutoff + BEND), intervals + 1)
    r = BEND * u / (1.0 - u)
    r[-1] = cutoff  # whatever the rounding: there the cutoff function is zero
    return r


def table_values(function: Function, cutoff: float, tolerance: float) -> Float[np.ndarray, "knots 2 functions"]:
    """Values and slopes dT/dt at as few knots as keep derivatives with respect to r within `tolerance`, in units of the
    functions per Å: their error at any distance from `SHORTEST` on, as a root mean square over the functions.

    Raises:
        InputError: if tables of any size are coarser than that.
    """
    for fine in FINE:
        r = knots(cutoff, fine)
        values, derivatives = function(r)
        intervals = _enough(r, values, derivatives, cutoff, tolerance)
        if intervals is not None:
            every = fine // intervals
            stretch = _stretch(r[::every], cutoff, intervals)
            return np.stack([values[::every], derivatives[::every] * stretch], axis=1)
    raise InputError(
        f"no table of up to {FINE[-1] // LEAST_INSIDE} intervals keeps to a tolerance of {tolerance:g}; "
        "use exact filters (exact=True, --exact)."
    )


def _stretch(r: Float[np.ndarray, " knots"], cutoff: float, intervals: int) -> Float[np.ndarray, "knots 1"]:
    """dr/dt."""
    return ((r + BEND) ** 2 / BEND * (cutoff / (cutoff + BEND) / intervals))[:, None]


def _enough(
    r: Float[np.ndarray, " knots"],
    values: Float[np.ndarray, "knots functions"],
    derivatives: Float[np.ndarray, "knots functions"],
    cutoff: float,
    tolerance: float,
) -> int | None:
    fine = len(r) - 1
    candidates = sorted(fine // n for n in range(LEAST_INSIDE, fine // FEWEST + 1) if fine % n == 0)
    for intervals in candidates:
        if _error(r, values, derivatives, cutoff, intervals) <= tolerance:
            return intervals
    return None


def _error(
    r: Float[np.ndarray, " knots"],
    values: Float[np.ndarray, "knots functions"],
    derivatives: Float[np.ndarray, "knots functions"],
    cutoff: float,
    intervals: int,
) -> float:
    """Largest error of dT/dr, a root mean square over the functions, at points of the fine grid within intervals."""
    every = (len(r) - 1) // intervals
    worst = []
    near = max(1, round(EXTREME * every))
    for inside in (near, every // 2, every - near):
        points = np.arange(inside, len(r), every)
        points = points[r[points] >= SHORTEST]
        first = points - inside
        t = inside / every
        p, q = (derivatives[at] * _stretch(r[at], cutoff, intervals) for at in (first, first + every))
        a, b = values[first], values[first + every]
        slope = p + t * (2.0 * (3.0 * (b - a) - 2.0 * p - q) + 3.0 * t * (2.0 * (a - b) + p + q))
        found = slope / _stretch(r[points], cutoff, intervals)
        worst.append(np.sqrt(np.mean((found - derivatives[points]) ** 2, axis=1)).max(initial=0.0))
    return float(np.max(worst))
