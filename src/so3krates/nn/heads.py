"""Readouts: what is predicted from the final features of each atom."""

from math import sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._safe import masked
from so3krates._typing import Array, Float, Int
from so3krates.graph import Graph
from so3krates.nn.dense import Dense
from so3krates.nn.embedding import ELEMENT_ROWS
from so3krates.nn.initial import constant, normal

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


class ChargeHead(eqx.Module):
    """Partial charges q_i = q̃_i + (Q − Σ q̃)/N with q̃_i = W₂ SiLU(W₁ f + b₁) + b₂ + bias_Z, in e.

    The charges of a structure add up to its total charge Q.
    """

    hidden: Dense
    final: Dense
    bias: Float[Array, " elements"]

    def __init__(self, features: int, *, rng: np.random.Generator, dtype: object) -> None:
        self.hidden = Dense(features, features, rng=rng, dtype=dtype)
        self.final = Dense(features, 1, rng=rng, dtype=dtype, scale=START_SCALE)
        self.bias = constant((ELEMENT_ROWS,), 0.0, dtype)

    def __call__(self, f: Float[Array, "atoms features"], graph: Graph) -> Float[Array, " atoms"]:
        raw = self.final(jax.nn.silu(self.hidden(f)))[:, 0] + self.bias[graph.numbers]
        raw = masked(raw, graph.atom_mask)
        atoms = jnp.maximum(graph.sum_structures(graph.atom_mask.astype(f.dtype)), 1.0)
        excess = (graph.charge - graph.sum_structures(raw)) / atoms
        return masked(raw + excess[graph.structure], graph.atom_mask)


class HirshfeldHead(eqx.Module):
    """Hirshfeld ratios h_i = |shift_Z + table_Z · k(f_i)/√(F/2)|, k = W₂ SiLU(W₁ f + b₁) + b₂ of half the width.

    Volume of the atom in its surroundings over that of the free atom; 1 at the start, up to what the table says.
    """

    hidden: Dense
    final: Dense
    table: Float[Array, "elements half"]
    shift: Float[Array, " elements"]

    def __init__(self, features: int, *, rng: np.random.Generator, dtype: object) -> None:
        half = features // 2
        self.hidden = Dense(features, half, rng=rng, dtype=dtype)
        self.final = Dense(half, half, rng=rng, dtype=dtype)
        self.table = normal(rng, (ELEMENT_ROWS, half), START_SCALE, dtype)
        self.shift = constant((ELEMENT_ROWS,), 1.0, dtype)

    def __call__(self, f: Float[Array, "atoms features"], graph: Graph) -> Float[Array, " atoms"]:
        key = self.final(jax.nn.silu(self.hidden(f)))
        half = key.shape[1]
        ratio = self.shift[graph.numbers] + jnp.sum(self.table[graph.numbers] * key, axis=-1) / sqrt(half)
        return masked(jnp.abs(ratio), graph.atom_mask)
