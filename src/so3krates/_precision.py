"""Precision as an argument: work happens inside a scope, the global JAX settings are never touched."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import jax
import numpy as np

from so3krates._errors import InputError


@contextmanager
def precision_scope(dtype: object) -> Iterator[None]:
    """A context in which arrays of `dtype` can exist, and products keep all of its digits.

    On a GPU, JAX multiplies matrices of float32 with the ten bits of TF32 unless it is told otherwise; here they are
    products of float32, but where `jax_default_matmul_precision` asks for something else.

    Example:
        >>> with precision_scope("float64"):
        ...     x = jnp.zeros(3, jnp.float64)
    """
    # Nothing is set that is set already: every setting is a part of what compiled programs are found by.
    double = checked_dtype(dtype) == np.float64 and not jax.config.jax_enable_x64  # type: ignore[attr-defined]
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    with (
        jax.enable_x64(True) if double else nullcontext(),
        jax.default_matmul_precision("highest") if asked is None else nullcontext(),
    ):
        yield


def checked_dtype(dtype: object) -> np.dtype:
    """float32 or float64 as a NumPy dtype.

    Raises:
        InputError: for any other type.
    """
    try:
        result = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError as error:
        raise InputError(f"dtype {dtype!r} is not known; use 'float32' or 'float64'.") from error
    if result not in (np.dtype("float32"), np.dtype("float64")):
        raise InputError(f"dtype {result.name!r} cannot be used here; use 'float32' or 'float64'.")
    return result
