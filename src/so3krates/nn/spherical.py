"""Real orthonormal spherical harmonics of unit vectors, as polynomials, for any degree."""

from collections.abc import Sequence
from math import factorial, pi, sqrt

import jax.numpy as jnp

from so3krates._typing import Array, Float


def spherical_harmonics(unit: Float[Array, "pairs 3"], degrees: Sequence[int]) -> Float[Array, "pairs orders"]:
    """Y_lm of unit vectors for the given degrees l, concatenated, m = −l…l within each.

    Convention: ∫ Y_lm Y_l'm' dΩ = δ δ, Y_00 = 1/(2√π), no Condon–Shortley phase; l = 1 is √(3/4π) (y, z, x).

    Y_lm = N_lm Q_l|m|(z) · {√2 Im(x+iy)^|m| for m < 0; 1 for m = 0; √2 Re(x+iy)^m for m > 0}, where Q_lm is the
    derivative polynomial of the Legendre recursion (z, with sin^m taken out). Everything is a polynomial in x, y, z,
    hence every derivative is finite everywhere.

    Source: Varshalovich et al., *Quantum Theory of Angular Momentum*, chapter 5; recursion as in Bigi et al.,
    doi 10.1063/5.0156307.
    """
    if not degrees:
        return jnp.zeros((unit.shape[0], 0), unit.dtype)
    x, y, z = unit[:, 0], unit[:, 1], unit[:, 2]
    top = max(degrees)
    legendre = _legendre(z, top)
    real, imaginary = _powers(x, y, top)
    columns = []
    for degree in degrees:
        for m in range(-degree, degree + 1):
            order = abs(m)
            value = _normalisation(degree, order) * legendre[degree, order]
            if m < 0:
                value = value * imaginary[order]
            elif m > 0:
                value = value * real[order]
            columns.append(value)
    return jnp.stack(columns, axis=-1)


def _normalisation(degree: int, order: int) -> float:
    value = sqrt((2 * degree + 1) / (4 * pi) * factorial(degree - order) / factorial(degree + order))
    return value if order == 0 else sqrt(2.0) * value


def _legendre(z: Float[Array, " pairs"], top: int) -> dict[tuple[int, int], Float[Array, " pairs"]]:
    """Q_lm = d^m P_l(z)/dz^m by recursion over l at fixed m."""
    table: dict[tuple[int, int], Float[Array, " pairs"]] = {}
    double_factorial = 1.0
    for m in range(top + 1):
        table[m, m] = jnp.full_like(z, double_factorial)
        double_factorial *= 2 * m + 1
        for degree in range(m + 1, top + 1):
            value = (2 * degree - 1) * z * table[degree - 1, m]
            if degree >= m + 2:
                value = value - (degree + m - 1) * table[degree - 2, m]
            table[degree, m] = value / (degree - m)
    return table


def _powers(
    x: Float[Array, " pairs"], y: Float[Array, " pairs"], top: int
) -> tuple[list[Float[Array, " pairs"]], list[Float[Array, " pairs"]]]:
    """Real and imaginary parts of (x + iy)^m for m = 0…top."""
    real, imaginary = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(top):
        real.append(x * real[-1] - y * imaginary[-1])
        imaginary.append(x * imaginary[-1] + y * real[-2])
    return real, imaginary
