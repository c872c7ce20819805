"""Initial parameters: drawn with NumPy, since compiling a generator for every shape takes seconds.

Put on the device as they are: `jnp.asarray` compiles a program for every shape."""

from collections.abc import Sequence

import jax
import numpy as np

from so3krates._typing import Array, Float


def normal(rng: np.random.Generator, shape: Sequence[int], deviation: float, dtype: object) -> Float[Array, "..."]:
    """Independent normal numbers of mean zero; the same for float32 and float64 up to rounding."""
    return jax.device_put(np.asarray(deviation * rng.standard_normal(tuple(shape)), dtype))  # type: ignore[arg-type]


def constant(shape: Sequence[int], value: float, dtype: object) -> Float[Array, "..."]:
    """An array of one value."""
    return jax.device_put(np.full(tuple(shape), value, dtype))  # type: ignore[arg-type]
