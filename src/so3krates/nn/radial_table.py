"""Functions of a pair's distance as tables: cubic Hermite interpolation, whose derivative is exact."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Float

SHORTEST = 0.5
"""Å; from here on tables keep to their tolerance. Dynamics stop where atoms come nearer (`md.Monitor.min_distance`)."""
BEND = 2.0
"""Å; r₀ of the variable u = r/(r + r₀) in which points of the first look are evenly spaced: radial bases are sharp at
short distances and blunt at long ones."""
LOOK = 3 * 2**9
"""Intervals of the first look at a function."""
FEWEST, MOST = 48, 4096
"""Intervals."""
FADING = 4
"""Below that knots become sparse like this power of the distance."""
EXTREME = 0.5 - 12**-0.5
"""Where in an interval the derivative of a cubic Hermite is farthest off, t(1 − t)(1 − 2t) being largest, and as far
from its other end."""
INSIDE = (EXTREME, 0.5, 1.0 - EXTREME)
"""Where tables are compared with the functions."""
SPARE = 1.02
"""By how much knots are closer than an error measured before asks for."""


class RadialTable(eqx.Module):
    """Values and slopes of functions of r at knots from 0 to the cutoff, closer where the functions need it.

    Between knots k and k + 1, with h their distance and t the position between them from 0 to 1:
    T = a + t (p + t (3(b − a) − 2p − q + t (2(a − b) + p + q))), a and b the values, p and q the slopes times h there.
    T and dT/dr are continuous, and dT/dr is the derivative of T to rounding: energies stay the integral of forces.
    """

    knots: Float[Array, " knots"]
    """Å."""
    values: Float[Array, "knots 2 functions"]
    """Values and slopes with respect to r."""

    @property
    def intervals(self) -> int:
        return self.values.shape[0] - 1

    def __call__(self, r: Float[Array, " pairs"]) -> Float[Array, "pairs functions"]:
        """The functions at distances from 0 to the cutoff; beyond it, their values there."""
        inside = jnp.minimum(r, self.knots[-1])
        knot = jnp.searchsorted(self.knots, inside, side="right").astype(jnp.int32) - 1
        knot = jnp.clip(knot, 0, self.intervals - 1)
        h = (self.knots[knot + 1] - self.knots[knot])[:, None]
        t = (inside - self.knots[knot])[:, None] / h
        a, p = self.values[knot, 0], self.values[knot, 1] * h
        b, q = self.values[knot + 1, 0], self.values[knot + 1, 1] * h
        return a + t * (p + t * (3.0 * (b - a) - 2.0 * p - q + t * (2.0 * (a - b) + p + q)))


Sampled = tuple[Float[np.ndarray, "points functions"], Float[np.ndarray, "points functions"]]
Function = Callable[[Float[np.ndarray, " points"]], Sampled]
"""From distances in Å to values and derivatives with respect to r."""
Knots = Float[np.ndarray, " knots"]


def tabulate(
    function: Function, groups: Sequence[slice], cutoff: float, tolerance: float
) -> tuple[Knots, Float[np.ndarray, "knots 2 functions"]]:
    """Knots in Å, and values and slopes there: as few as keep derivatives with respect to r within `tolerance`, in
    units of the functions per Å: their error at any distance from `SHORTEST` on, a root mean square over each of the
    groups of functions.

    Raises:
        InputError: if tables of any size are coarser than that.
    """
    shortest = min(SHORTEST, 0.5 * cutoff)
    u = np.linspace(0.0, cutoff / (cutoff + BEND), LOOK + 1)
    edges = _rounded(BEND * u / (1.0 - u), cutoff)
    error = _errors(function, groups, edges)
    # Errors fall with the third power of an interval. The largest of three neighbours, so that none is seen too small.
    error = np.max([error, np.append(error[1:], 0.0), np.append(0.0, error[:-1])], axis=0)
    density = (error / tolerance) ** (1.0 / 3.0) / np.diff(edges)
    at_shortest = density[np.searchsorted(edges, shortest)]
    fading = (edges[1:] / shortest) ** FADING
    density = np.where(edges[1:] < shortest, at_shortest * fading, density)
    density = np.maximum(density, FEWEST / cutoff)
    closer = SPARE
    while True:
        running = np.append(0.0, np.cumsum(closer * density * np.diff(edges)))
        intervals = int(np.ceil(running[-1]))
        if intervals > MOST:
            raise InputError(
                f"no table of up to {MOST} intervals keeps to a tolerance of {tolerance:g}; "
                "use exact filters (exact=True, --exact)."
            )
        knots = _rounded(np.interp(np.linspace(0.0, running[-1], intervals + 1), running, edges), cutoff)
        worst = _errors(function, groups, knots)[knots[1:] > shortest].max() / tolerance
        if worst <= 1.0:
            return knots, np.stack(function(knots), axis=1)
        closer *= SPARE * max(1.0, worst ** (1.0 / 3.0))


def _rounded(knots: Knots, cutoff: float) -> Knots:
    """To what single precision can hold; at the cutoff, whatever the rounding, the cutoff function is zero."""
    rounded = knots.astype(np.float32).astype(np.float64)
    rounded[-1] = cutoff
    return rounded


def _errors(function: Function, groups: Sequence[slice], knots: Knots) -> Float[np.ndarray, " intervals"]:
    """Largest error of dT/dr in each interval, a root mean square over a group."""
    values, slopes = function(knots)
    a, b, p, q = values[:-1], values[1:], slopes[:-1], slopes[1:]
    h = np.diff(knots)
    wide = h[:, None]
    worst = np.zeros(len(h))
    for t in INSIDE:
        slope = p + t * (2.0 * (3.0 * (b - a) / wide - 2.0 * p - q) + 3.0 * t * (2.0 * (a - b) / wide + p + q))
        squares = (slope - function(knots[:-1] + t * h)[1]) ** 2
        for group in groups:
            worst = np.maximum(worst, np.sqrt(np.mean(squares[:, group], axis=1)))
    return worst
