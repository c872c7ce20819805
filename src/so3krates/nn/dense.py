"""Affine layers with the initialisation stated where they are made."""

from math import sqrt

import equinox as eqx
import jax
import numpy as np

from so3krates._typing import Array, Float
from so3krates.nn.initial import constant, normal


class Dense(eqx.Module):
    """x W + b over the last axis."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"] | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        dtype: object,
        bias: bool = True,
        scale: float = 1.0,
    ) -> None:
        """Weights normal with standard deviation scale/√inputs, biases zero."""
        self.weight = normal(rng, (inputs, outputs), scale / sqrt(inputs), dtype)
        self.bias = constant((outputs,), 0.0, dtype) if bias else None

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class MLP(eqx.Module):
    """Dense layers with SiLU between them; the last one is linear."""

    layers: tuple[Dense, ...]

    def __init__(self, sizes: tuple[int, ...], *, rng: np.random.Generator, dtype: object, scale: float = 1.0) -> None:
        """`sizes` are the widths from input to output; `scale` multiplies the initial weights of the first layer."""
        self.layers = tuple(
            Dense(sizes[n], sizes[n + 1], rng=rng, dtype=dtype, scale=1.0 if n else scale)
            for n in range(len(sizes) - 1)
        )

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        for layer in self.layers[:-1]:
            x = jax.nn.silu(layer(x))
        return self.layers[-1](x)
