"""Masked operations: values, and derivatives at the places where the plain ones have none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates._safe import masked, masked_norm

VECTORS = [[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 2.0]]
MASK = [True, False, False]


def test_norm_is_the_length_where_the_mask_holds_and_one_elsewhere() -> None:
    assert masked_norm(jnp.asarray(VECTORS), jnp.asarray(MASK)).tolist() == [5.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_to_fourth_order_are_finite_and_zero_for_padding(dtype: str) -> None:
    mask = jnp.asarray(MASK)

    def along(step: jax.Array) -> jax.Array:
        return masked_norm(jnp.asarray(VECTORS, dtype) + step * jnp.ones((3, 3), dtype), mask)

    derivative = along
    for _ in range(4):
        derivative = jax.jacfwd(derivative)
        result = derivative(jnp.zeros((), dtype))
        assert result.dtype == dtype
        assert np.isfinite(result).all()
        assert result[0] != 0.0
        assert (result[1:] == 0.0).all()


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4)])
def test_masked_sets_rows_to_zero_even_if_they_are_nan(shape: tuple[int, ...]) -> None:
    values = jnp.full(shape, jnp.nan).at[0].set(2.0)
    result = np.asarray(masked(values, jnp.asarray(MASK)))
    assert (result[0] == 2.0).all()
    assert (result[1:] == 0.0).all()
