"""One layer: attention, then exchange, each with a skip connection."""

import equinox as eqx
import jax
import numpy as np

from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.nn.attention import Attention, Coefficients, PairGeometry
from so3krates.nn.dense import Dense
from so3krates.nn.exchange import Exchange
from so3krates.nn.tabulated import TabulatedAttention

LAYER_NORM_EPSILON = 1e-6


class ResidualMLP(eqx.Module):
    """f + Dense(SiLU(Dense(SiLU(f))))."""

    first: Dense
    second: Dense

    def __init__(self, features: int, *, rng: np.random.Generator, dtype: object) -> None:
        self.first = Dense(features, features, rng=rng, dtype=dtype)
        self.second = Dense(features, features, rng=rng, dtype=dtype)

    def __call__(self, f: Float[Array, "atoms features"]) -> Float[Array, "atoms features"]:
        return f + self.second(jax.nn.silu(self.first(jax.nn.silu(f))))


class Layer(eqx.Module):
    """Attention + skip → [LayerNorm] → [residual MLP] → exchange + skip → [LayerNorm]; brackets are optional.

    The norms act on the invariant features alone. Article, eqs. 22–27; SO3LR uses all the optional parts.
    """

    attention: Attention | TabulatedAttention
    exchange: Exchange
    attention_norm: eqx.nn.LayerNorm | None
    residual: ResidualMLP | None
    exchange_norm: eqx.nn.LayerNorm | None

    def __init__(
        self,
        attention: Attention,
        exchange: Exchange,
        *,
        features: int,
        attention_norm: bool,
        residual_mlp: bool,
        exchange_norm: bool,
        rng: np.random.Generator,
        dtype: object,
    ) -> None:
        self.attention = attention
        self.exchange = exchange
        self.attention_norm = _layer_norm(features, dtype) if attention_norm else None
        self.residual = ResidualMLP(features, rng=rng, dtype=dtype) if residual_mlp else None
        self.exchange_norm = _layer_norm(features, dtype) if exchange_norm else None

    def __call__(
        self,
        f: Float[Array, "atoms features"],
        x: Float[Array, "atoms orders"] | None,
        geometry: PairGeometry,
        graph: Graph,
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients | None]:
        """The new f and x and the attention coefficients, if they are kept; `x` is None where all Euclidean variables
        are zero."""
        delta_f, delta_x, coefficients = self.attention(f, x, geometry, graph)
        f, x = f + delta_f, delta_x if x is None else x + delta_x
        if self.attention_norm is not None:
            f = jax.vmap(self.attention_norm)(f)
        if self.residual is not None:
            f = self.residual(f)
        delta_f, delta_x = self.exchange(f, x)
        f, x = f + delta_f, x + delta_x
        if self.exchange_norm is not None:
            f = jax.vmap(self.exchange_norm)(f)
        return f, x, coefficients


def _layer_norm(features: int, dtype: object) -> eqx.nn.LayerNorm:
    return eqx.nn.LayerNorm(features, eps=LAYER_NORM_EPSILON, dtype=dtype)  # type: ignore[arg-type]
