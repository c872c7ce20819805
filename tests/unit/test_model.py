"""Size of the article's model, and configurations that make no sense."""

import equinox as eqx
import jax
import pytest

from so3krates._errors import ConfigError, InputError
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn.embedding import ELEMENT_ROWS


def parameters(model: SO3krates) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)))


def test_article_model_has_its_published_size() -> None:
    """319,213 with a table of 100 elements; this one has 119 rows, and a scale and a shift for each element."""
    config = ModelConfig()
    expected = 319_213 + (ELEMENT_ROWS - 100) * config.features + 2 * ELEMENT_ROWS
    assert expected == 321_959
    assert parameters(SO3krates(config, key=jax.random.key(0))) == expected


def test_defaults_are_those_of_the_article() -> None:
    config = ModelConfig()
    assert (config.features, config.layers, config.heads, config.degrees) == (132, 3, 4, (1, 2, 3))
    assert (config.cutoff, config.radial_functions, config.radial_basis) == (5.0, 32, "physnet")
    assert (config.cutoff_function, config.attention_scale, config.euclidean_start) == (
        "cosine",
        "sqrt_head_features",
        "zero",
    )
    assert not any((config.attention_norm, config.residual_mlp, config.exchange_norm))
    assert not any((config.charge_embedding, config.spin_embedding))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"features": 130}, "heads"),
        ({"features": 132, "degrees": [0, 1, 2, 3, 4]}, "degrees"),
        ({"degrees": []}, "degrees"),
        ({"degrees": [2, 1, 3]}, "ascending"),
        ({"degrees": [1, 1, 2]}, "distinct"),
        ({"degrees": [-1, 1, 2]}, "negative"),
        ({"cutoff": 0.0}, "cutoff"),
        ({"radial_functions": 1}, "radial_functions"),
        ({"cutoff_function": "cos"}, "cutoff_function"),
        ({"layer": 3}, "unknown key 'layer'"),
    ],
)
def test_refuses(values: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ModelConfig.parse(values)


@pytest.mark.parametrize("values", [{"attention_scale": "mean_neighbors"}, {"euclidean_start": "neighbors"}])
def test_says_when_the_mean_number_of_neighbours_is_missing(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="mean_neighbors"):
        SO3krates(ModelConfig.parse(values), key=jax.random.key(0))


def test_refuses_other_precisions() -> None:
    with pytest.raises(InputError, match="float16"):
        SO3krates(ModelConfig(features=12), key=jax.random.key(0), dtype="float16")
