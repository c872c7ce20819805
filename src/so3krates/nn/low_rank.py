"""Low-rank adapters: dense layers that learn a correction of few parameters beside weights that stay."""

from typing import TypeVar

import equinox as eqx
import jax
import numpy as np

from so3krates._typing import Array, Float
from so3krates.nn.dense import Dense
from so3krates.nn.initial import constant, normal

Tree = TypeVar("Tree")


class LowRank(eqx.Module):
    """x (W + A B) + b with A of few columns; B begins at zero. Hu et al., LoRA (arXiv:2106.09685)."""

    dense: Dense
    down: Float[Array, "inputs rank"]
    up: Float[Array, "rank outputs"]

    def __init__(self, dense: Dense, rank: int, *, rng: np.random.Generator) -> None:
        inputs, outputs = dense.weight.shape
        rank = min(rank, inputs, outputs)
        self.dense = dense
        self.down = normal(rng, (inputs, rank), inputs**-0.5, dense.weight.dtype)
        self.up = constant((rank, outputs), 0.0, dense.weight.dtype)

    @property
    def weight(self) -> Float[Array, "inputs outputs"]:
        """W + A B: where weights are looked at, an adapted layer is one like any other."""
        return self.dense.weight + self.down @ self.up

    @property
    def bias(self) -> Float[Array, " outputs"] | None:
        return self.dense.bias

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return self.merged()(x)

    def merged(self) -> Dense:
        """The dense layer that computes the same."""
        return eqx.tree_at(lambda dense: dense.weight, self.dense, self.weight)


def with_adapters(model: Tree, rank: int, seed: int) -> Tree:
    """Every dense layer of a model with an adapter."""
    rng = np.random.default_rng([seed, 2])
    return jax.tree.map(
        lambda node: LowRank(node, rank, rng=rng) if isinstance(node, Dense) else node,
        model,
        is_leaf=lambda node: isinstance(node, Dense),
    )


def without_adapters(model: Tree) -> Tree:
    """A model of the same shape as before, with what the adapters learned in its weights."""
    return jax.tree.map(
        lambda node: node.merged() if isinstance(node, LowRank) else node,
        model,
        is_leaf=lambda node: isinstance(node, LowRank),
    )
