"""Small networks that between them use every option, with parameters none of which is trivial."""

import equinox as eqx
import jax
import numpy as np

from so3krates.model import ModelConfig, SO3krates

SMALL = {"features": 12, "heads": 2, "layers": 2, "radial_functions": 6, "cutoff": 3.5, "energy_features": 8}

CONFIGS = {
    "article": ModelConfig(**SMALL),
    "so3lr": ModelConfig(
        **SMALL,
        degrees=(1, 2, 3, 4),
        cutoff_function="polynomial",
        radial_basis="bernstein",
        attention_scale="mean_neighbors",
        mean_neighbors=9.0,
        attention_norm=True,
        residual_mlp=True,
        exchange_norm=True,
        charge_embedding=True,
        spin_embedding=True,
    ),
    "invariant": ModelConfig(**SMALL, degrees=(0,), cutoff_function="exponential", radial_basis="gaussian"),
    "neighbors": ModelConfig(
        **SMALL,
        degrees=(0, 2),
        cutoff_function="exponential",
        radial_basis="fourier",
        attention_scale="none",
        euclidean_start="neighbors",
        mean_neighbors=7.0,
    ),
    "high degrees": ModelConfig(
        **{**SMALL, "features": 14, "layers": 1},
        degrees=(0, 1, 2, 3, 4, 5, 6),
        cutoff_function="polynomial",
        euclidean_start="neighbors",
        mean_neighbors=7.0,
        residual_mlp=True,
    ),
}


def random_model(config: ModelConfig, seed: int = 0, dtype: str = "float64") -> SO3krates:
    """Every parameter moved at random, so that zero biases, unit scales and zero shifts hide nothing."""
    rng = np.random.default_rng(seed)
    model = SO3krates(config, key=jax.random.key(seed), dtype=dtype)
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    moved = jax.tree.map(
        lambda leaf: jax.numpy.asarray(np.asarray(leaf) + 0.1 * rng.normal(size=leaf.shape), dtype), parameters
    )
    return eqx.combine(moved, rest)
