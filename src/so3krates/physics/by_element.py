"""A number per element, for terms whose properties are given instead of predicted."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._precision import checked_dtype, precision_scope
from so3krates._typing import Array, Float
from so3krates.nn.embedding import ELEMENT_ROWS


def table_by_element(values: Mapping[int, float], others: float, what: str, dtype: object) -> Float[Array, " elements"]:
    """Values by atomic number, and `others` for elements that are not named.

    Raises:
        InputError: for an atomic number there is not, naming `what` was given for it.
    """
    dtype = checked_dtype(dtype)
    table = np.full(ELEMENT_ROWS, others)
    for number, value in values.items():
        if not 0 < number < ELEMENT_ROWS:
            raise InputError(f"{what} of atomic number {number}; known are 1 to {ELEMENT_ROWS - 1}.")
        table[number] = value
    with precision_scope(dtype):
        return jnp.asarray(table, dtype)
