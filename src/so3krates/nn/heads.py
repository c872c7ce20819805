"""Readouts: what is predicted from the final features of each atom."""

import equinox as eqx
import jax
import numpy as np

from so3krates._typing import Array, Float, Int
from so3krates.nn.dense import Dense
from so3krates.nn.embedding import ELEMENT_ROWS
from so3krates.nn.initial import constant

START_SCALE = 0.1
"""Initial size of atomic energies in eV per unit feature: training begins near the reference energies."""


class EnergyHead(eqx.Module):
    """E_i = scale_Z (W₂ SiLU(W₁ f + b₁) + b₂) + shift_Z, both tables trained with the rest."""

    hidden: Dense
    final: Dense
    scale: Float[Array, " elements"]
    shift: Float[Array, " elements"]

    def __init__(self, features: int, hidden: int, *, rng: np.random.Generator, dtype: object) -> None:
        self.hidden = Dense(features, hidden, rng=rng, dtype=dtype)
        self.final = Dense(hidden, 1, rng=rng, dtype=dtype, scale=START_SCALE)
        self.scale = constant((ELEMENT_ROWS,), 1.0, dtype)
        self.shift = constant((ELEMENT_ROWS,), 0.0, dtype)

    def __call__(self, f: Float[Array, "atoms features"], numbers: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        raw = self.final(jax.nn.silu(self.hidden(f)))[:, 0]
        return self.scale[numbers] * raw + self.shift[numbers]
