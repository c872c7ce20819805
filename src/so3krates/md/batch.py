"""Trees of arrays side by side: all leaves get a leading axis."""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array

Values = TypeVar("Values")


def side_by_side(each: Sequence[Values]) -> Values:
    """Trees of one structure, whose leaves have the same shapes, as one.

    On the host: a program that joins hundreds of arrays takes seconds to compile for every leaf.
    """
    return jax.tree.map(lambda *leaves: _joined(leaves), *each)


def _joined(leaves: Sequence[Array]) -> Array:
    first = jnp.asarray(leaves[0])
    if jnp.issubdtype(first.dtype, jax.dtypes.prng_key):
        data = np.stack([np.asarray(jax.random.key_data(leaf)) for leaf in leaves])
        return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(first))
    return jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves]))
