"""Bookkeeping of degrees and orders."""

import jax.numpy as jnp
import numpy as np
import pytest

from so3krates.nn.degrees import invariants, parities, repeats


def test_repeats_copies_a_number_per_degree_to_its_orders() -> None:
    copied = jnp.asarray([5.0, 7.0, 9.0]) @ repeats((0, 1, 2), jnp.float64)
    assert copied.tolist() == [5.0, *[7.0] * 3, *[9.0] * 5]


def test_parities() -> None:
    assert parities((0, 1, 2, 5)).tolist() == [1.0, -1.0, 1.0, -1.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_invariants_are_sums_of_squares_over_the_root_of_their_number(dtype: str) -> None:
    x = jnp.asarray([[2.0, 1.0, 2.0, 2.0]], dtype)
    found = invariants(x, (0, 1))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [[4.0, 9.0 / np.sqrt(3.0)]], rtol=1e-6)
