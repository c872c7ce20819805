"""Bookkeeping of degrees l and orders m in the Euclidean variables, as small constant matrices.

Products with these matrices replace index gathers over the order axis, which compile to slow loops on a CPU.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float


def repeats(degrees: Sequence[int], dtype: object) -> Float[Array, "degrees orders"]:
    """0/1 matrix that copies one number per degree to all its 2l+1 orders."""
    matrix = np.zeros((len(degrees), sum(2 * l + 1 for l in degrees)))
    start = 0
    for row, degree in enumerate(degrees):
        matrix[row, start : start + 2 * degree + 1] = 1.0
        start += 2 * degree + 1
    return jnp.asarray(matrix, dtype)  # type: ignore[arg-type]


def parities(degrees: Sequence[int]) -> Float[np.ndarray, " degrees"]:
    """(−1)^l: the factor by which Y_l changes when a pair is seen from its other end."""
    return np.array([(-1.0) ** degree for degree in degrees])


def invariants(x: Float[Array, "n orders"], degrees: Sequence[int]) -> Float[Array, "n degrees"]:
    """s_l = Σ_m x_lm²/√(2l+1): the L = 0 Clebsch–Gordan contraction of x with itself; no square root is taken."""
    contraction = repeats(degrees, x.dtype).T / jnp.sqrt(jnp.asarray([2.0 * l + 1.0 for l in degrees], x.dtype))
    return (x * x) @ contraction
