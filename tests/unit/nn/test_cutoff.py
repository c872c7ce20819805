"""Cutoff functions against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network import cutoff_function

from so3krates.nn.cutoff import CUTOFF_FUNCTIONS

NAMES = sorted(CUTOFF_FUNCTIONS)
CUTOFF = 4.5


@pytest.mark.parametrize("name", NAMES)
def test_equals_closed_form(name: str) -> None:
    r = np.linspace(0.0, 1.3 * CUTOFF, 500)
    expected = [cutoff_function(name, distance, CUTOFF) for distance in r]
    np.testing.assert_allclose(CUTOFF_FUNCTIONS[name](jnp.asarray(r), CUTOFF), expected, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_one_at_zero_and_exactly_zero_from_the_cutoff_on(name: str) -> None:
    phi = CUTOFF_FUNCTIONS[name](jnp.asarray([0.0, CUTOFF, np.nextafter(CUTOFF, 9.0), 100.0]), CUTOFF)
    assert np.asarray(phi).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_decreases(name: str) -> None:
    phi = np.asarray(CUTOFF_FUNCTIONS[name](jnp.linspace(0.0, CUTOFF, 200), CUTOFF))
    assert (np.diff(phi) <= 0.0).all()


@pytest.mark.parametrize(("name", "continuous"), [("cosine", 1), ("polynomial", 2), ("exponential", 4)])
def test_derivatives_vanish_at_the_cutoff(name: str, continuous: int) -> None:
    """φ' everywhere; φ'' but for the cosine, whose curvature jumps by π²/(2r_c²)."""
    derivative = lambda r: CUTOFF_FUNCTIONS[name](r[None], CUTOFF)[0]  # noqa: E731
    for order in range(1, 5):
        derivative = jax.grad(derivative)
        just_inside = float(derivative(jnp.asarray(CUTOFF - 1e-7)))
        if order <= continuous:
            assert abs(just_inside) < 1e-5
        elif order == continuous + 1:
            assert abs(just_inside) > 0.1
    if name == "cosine":
        curvature = jax.grad(jax.grad(lambda r: CUTOFF_FUNCTIONS[name](r[None], CUTOFF)[0]))
        assert float(curvature(jnp.asarray(CUTOFF - 1e-9))) == pytest.approx(0.5 * (np.pi / CUTOFF) ** 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_finite_up_to_second_order(name: str, dtype: str) -> None:
    edge = np.asarray(CUTOFF, dtype)
    tiny = np.finfo(dtype).tiny
    close = [np.nextafter(edge, np.asarray(0.0, dtype)), edge, np.nextafter(edge, np.asarray(9.0, dtype))]
    r = jnp.asarray([0.0, tiny, 1e-6, 1.0, 0.99 * CUTOFF, *close, 100.0], dtype)
    value = lambda x: CUTOFF_FUNCTIONS[name](x[None], CUTOFF)[0]  # noqa: E731
    for derivative in (value, jax.grad(value), jax.grad(jax.grad(value))):
        result = jax.jit(jax.vmap(derivative))(r)
        assert result.dtype == dtype
        assert np.isfinite(result).all(), f"{result} at {r}"
