"""Operations whose derivatives of every order stay finite where entries are masked out."""

import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float


def masked_norm(vectors: Float[Array, "pairs 3"], mask: Bool[Array, " pairs"]) -> Float[Array, " pairs"]:
    """Length of the vectors where `mask` holds, 1 elsewhere.

    The square root has no derivative at zero, and zero vectors are what padding holds. The mask is applied *before*
    the root: with it applied afterwards the gradient would still be 0 · ∞ = NaN.
    """
    squared = jnp.sum(vectors * vectors, axis=-1)
    return jnp.sqrt(jnp.where(mask, squared, jnp.ones_like(squared)))


def masked(values: Float[Array, "*shape"], mask: Bool[Array, " _"]) -> Float[Array, "*shape"]:
    """`values` where the mask over the leading axis holds, exact zeros elsewhere."""
    mask = mask.reshape(mask.shape + (1,) * (values.ndim - 1))
    return jnp.where(mask, values, jnp.zeros_like(values))
