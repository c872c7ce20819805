"""Exchange of information between invariant features and Euclidean variables on each atom."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float
from so3krates.nn.degrees import invariants, repeats
from so3krates.nn.dense import Dense

START_SCALE = 0.2
"""Initial size of the updates relative to what they are added to."""


class Exchange(eqx.Module):
    """[a ; b] = Linear([f ; s(x)]); Δf = a, Δx_l = b_l x_l; article, eqs. 24–27."""

    linear: Dense
    degrees: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, features: int, degrees: tuple[int, ...], *, rng: np.random.Generator, dtype: object) -> None:
        width = features + len(degrees)
        self.linear = Dense(width, width, rng=rng, dtype=dtype, scale=START_SCALE)
        self.degrees = degrees

    def __call__(
        self, f: Float[Array, "atoms features"], x: Float[Array, "atoms orders"]
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"]]:
        """The updates Δf and Δx."""
        mixed = self.linear(jnp.concatenate([f, invariants(x, self.degrees)], axis=-1))
        a, b = jnp.split(mixed, [f.shape[-1]], axis=-1)
        return a, (b @ repeats(self.degrees, x.dtype)) * x
