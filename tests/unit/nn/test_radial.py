"""Radial bases against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network import GAMMA, radial_basis
from scipy.stats import binom

from so3krates.nn.radial import RADIAL_BASES

NAMES = sorted(RADIAL_BASES)
CUTOFF = 4.5


@pytest.mark.parametrize("functions", [2, 8, 32])
@pytest.mark.parametrize("name", NAMES)
def test_equals_closed_form(name: str, functions: int) -> None:
    r = np.linspace(0.05, CUTOFF, 60)
    expected = [radial_basis(name, distance, functions, CUTOFF) for distance in r]
    found = RADIAL_BASES[name](jnp.asarray(r), functions, CUTOFF)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_agrees_with_double(name: str) -> None:
    r = np.linspace(0.5, CUTOFF, 60).astype(np.float32)
    single = RADIAL_BASES[name](jnp.asarray(r), 32, CUTOFF)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, RADIAL_BASES[name](jnp.asarray(r, jnp.float64), 32, CUTOFF), atol=2e-5)


def test_bernstein_is_the_binomial_distribution_in_exp_minus_gamma_r() -> None:
    r = np.linspace(0.0, 6.0, 40)
    expected = binom.pmf(np.arange(32), 31, np.exp(-GAMMA * r)[:, None])
    found = RADIAL_BASES["bernstein"](jnp.asarray(r), 32, CUTOFF)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(np.asarray(found).sum(axis=1), 1.0, atol=1e-12)


def test_fourier_functions_are_orthonormal_with_weight_r_squared() -> None:
    z, weights = np.polynomial.legendre.leggauss(64)
    r = 0.5 * CUTOFF * (z + 1.0)
    basis = np.asarray(RADIAL_BASES["fourier"](jnp.asarray(r), 8, CUTOFF))
    overlap = basis.T @ ((0.5 * CUTOFF * weights * r**2)[:, None] * basis)
    np.testing.assert_allclose(overlap, np.eye(8), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_equals_difference(name: str) -> None:
    r = jnp.linspace(0.3, CUTOFF, 20)
    slope = jax.vmap(jax.jacfwd(lambda x: RADIAL_BASES[name](x[None], 8, CUTOFF)[0]))(r)
    step = 1e-6
    ends = [np.asarray(RADIAL_BASES[name](r + sign * step, 8, CUTOFF)) for sign in (1.0, -1.0)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2.0 * step), atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_finite_up_to_second_order(name: str, dtype: str) -> None:
    """From a distance of zero to far beyond the cutoff."""
    r = jnp.asarray([0.0, 1e-3, 0.1, 1.0, CUTOFF, 12.0, 100.0], dtype)
    value = lambda x: RADIAL_BASES[name](x[None], 32, CUTOFF)[0]  # noqa: E731
    for order, derivative in enumerate((value, jax.jacfwd(value), jax.jacfwd(jax.jacfwd(value)))):
        result = jax.jit(jax.vmap(derivative))(r)
        assert result.dtype == dtype
        assert np.isfinite(result).all(), f"derivative {order}"
