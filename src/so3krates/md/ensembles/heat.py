"""The energy that a bath has delivered so far: a sum of millions of small terms, compensated."""

from dataclasses import replace
from typing import Self

import equinox as eqx
import jax.numpy as jnp

from so3krates._typing import Array, Float


class Heat(eqx.Module):
    """A running sum in eV after Kahan: what rounding took from it is added next time."""

    total: Float[Array, ""]
    error: Float[Array, ""]

    @classmethod
    def zero(cls, dtype: object) -> Self:
        return cls(jnp.zeros((), dtype), jnp.zeros((), dtype))  # type: ignore[arg-type]

    def plus(self, gain: Float[Array, ""]) -> "Heat":
        corrected = gain - self.error
        total = self.total + corrected
        return replace(self, total=total, error=(total - self.total) - corrected)
