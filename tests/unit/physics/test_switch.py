import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates.physics.switch import smooth_step


def textbook(r: np.ndarray, on: float, off: float) -> np.ndarray:
    c = (r - on) / (off - on)
    with np.errstate(divide="ignore", over="ignore"):
        rising, falling = (np.where(x > 0, np.exp(-1.0 / x), 0.0) for x in (c, 1.0 - c))
    return falling / (rising + falling)


def test_is_the_quotient_of_flat_functions() -> None:
    r = np.linspace(0.0, 4.0, 4001)
    np.testing.assert_allclose(smooth_step(jnp.asarray(r), 1.0, 3.0), textbook(r, 1.0, 3.0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_are_finite_and_vanish_outside(dtype: str) -> None:
    r = jnp.asarray([0.0, 0.5, 1.0, 1.0 + 1e-6, 2.0, 3.0 - 1e-6, 3.0, 10.0, 1000.0], dtype)
    derivative = lambda x: smooth_step(x, 1.0, 3.0)  # noqa: E731
    for _ in range(3):
        derivative = jax.grad(derivative)
        values = np.asarray(jax.vmap(derivative)(r))
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values[[0, 1, 2, 6, 7, 8]], 0.0)
