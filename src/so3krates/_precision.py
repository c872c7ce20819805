"""Precision as an argument: float64 work happens inside a scope, the global JAX setting is never touched."""

from contextlib import AbstractContextManager, nullcontext

import jax
import numpy as np

from so3krates._errors import InputError


def precision_scope(dtype: object) -> AbstractContextManager[object]:
    """A context in which arrays of `dtype` can exist; float32 needs none.

    Example:
        >>> with precision_scope("float64"):
        ...     x = jnp.zeros(3, jnp.float64)
    """
    return jax.enable_x64(True) if checked_dtype(dtype) == np.float64 else nullcontext()


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
