"""Positions of set bits against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from so3krates.neighbors.compress import first_set, first_true, packed


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 500])
def test_true_flags_are_found_in_order(share: float, count: int, rng: np.random.Generator) -> None:
    flags = rng.random(count) < share
    expected = np.flatnonzero(flags)
    for size in (1, len(expected), len(expected) + 5):
        found, total = first_true(jnp.asarray(flags), size)
        assert int(total) == len(expected)
        known = min(size, len(expected))
        np.testing.assert_array_equal(found[:known], expected[:known])


def test_the_first_flag_is_the_lowest_bit_and_the_last_the_highest() -> None:
    flags = np.zeros((2, 32), bool)
    flags[0, 0] = flags[1, 31] = True
    words = packed(jnp.asarray(flags))
    np.testing.assert_array_equal(words, np.array([1, 2**31], np.uint32))
    np.testing.assert_array_equal(first_set(words, 2)[0], [0, 63])
