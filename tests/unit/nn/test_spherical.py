"""Spherical harmonics against SciPy, e3x, quadrature and differences."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.harmonics import real_harmonics

from so3krates.nn.spherical import spherical_harmonics

TOP = 8
ALL = tuple(range(TOP + 1))


def directions(rng: np.random.Generator, count: int = 50) -> np.ndarray:
    """Random ones, and those where polar coordinates are singular."""
    r = np.concatenate([rng.normal(size=(count, 3)), np.eye(3), -np.eye(3)])
    return r / np.linalg.norm(r, axis=1, keepdims=True)


@pytest.mark.parametrize("degree", ALL)
def test_equals_scipy(degree: int, rng: np.random.Generator) -> None:
    unit = directions(rng)
    found = spherical_harmonics(jnp.asarray(unit), (degree,))
    np.testing.assert_allclose(found, real_harmonics(unit, degree), atol=2e-13)


def test_degree_one_is_y_z_x(rng: np.random.Generator) -> None:
    unit = directions(rng)
    expected = np.sqrt(3.0 / (4.0 * np.pi)) * unit[:, [1, 2, 0]]
    np.testing.assert_allclose(spherical_harmonics(jnp.asarray(unit), (1,)), expected, atol=1e-15)


def test_equals_e3x(rng: np.random.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        e3x = pytest.importorskip("e3x")
    unit = directions(rng)
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        warnings.simplefilter("ignore")
        expected = e3x.so3.irreps.spherical_harmonics(
            jnp.asarray(unit), TOP, cartesian_order=False, normalization="orthonormal"
        )
    found = spherical_harmonics(jnp.asarray(unit), ALL)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-6)


def test_orthonormal_by_quadrature() -> None:
    """∫ Y Y' dΩ with Gauss–Legendre in cos θ and the trapezoidal rule in φ, exact for these polynomials."""
    z, weights = np.polynomial.legendre.leggauss(TOP + 1)
    azimuth = 2.0 * np.pi * np.arange(2 * TOP + 1) / (2 * TOP + 1)
    sine = np.sqrt(1.0 - z**2)[:, None]
    grid = np.stack(np.broadcast_arrays(sine * np.cos(azimuth), sine * np.sin(azimuth), z[:, None]), axis=-1)
    area = np.repeat(weights * 2.0 * np.pi / len(azimuth), len(azimuth))
    harmonics = np.asarray(spherical_harmonics(jnp.asarray(grid.reshape(-1, 3)), ALL))
    overlap = harmonics.T @ (area[:, None] * harmonics)
    np.testing.assert_allclose(overlap, np.eye((TOP + 1) ** 2), atol=1e-13)


def test_parity_and_addition_theorem(rng: np.random.Generator) -> None:
    unit = directions(rng)
    for degree in ALL:
        here, there = (np.asarray(spherical_harmonics(jnp.asarray(s * unit), (degree,))) for s in (1.0, -1.0))
        np.testing.assert_allclose(there, (-1.0) ** degree * here, atol=1e-13)
        np.testing.assert_allclose((here**2).sum(axis=1), (2 * degree + 1) / (4.0 * np.pi), atol=1e-12)


def test_degrees_are_concatenated_in_the_order_given(rng: np.random.Generator) -> None:
    unit = jnp.asarray(directions(rng))
    parts = [np.asarray(spherical_harmonics(unit, (degree,))) for degree in (1, 4, 5)]
    np.testing.assert_array_equal(spherical_harmonics(unit, (1, 4, 5)), np.concatenate(parts, axis=1))
    assert spherical_harmonics(unit, ()).shape == (len(unit), 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_are_finite_up_to_second_order(dtype: str) -> None:
    """On the axes, where polar coordinates are singular, and at zero, which padding holds."""
    points = jnp.asarray(np.concatenate([np.eye(3), -np.eye(3), np.zeros((1, 3))]), dtype)
    value = lambda point: spherical_harmonics(point[None], (0, 3, 6))[0]  # noqa: E731
    for derivative in (value, jax.jacfwd(value), jax.jacfwd(jax.jacfwd(value))):
        result = jax.jit(jax.vmap(derivative))(points)
        assert result.dtype == dtype
        assert np.isfinite(result).all()


def test_single_precision_agrees_with_double(rng: np.random.Generator) -> None:
    unit = directions(rng)
    single = spherical_harmonics(jnp.asarray(unit, jnp.float32), ALL)
    np.testing.assert_allclose(single, spherical_harmonics(jnp.asarray(unit), ALL), atol=2e-5)
