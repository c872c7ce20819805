import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from oracles.models import CONFIGS, random_model

from so3krates.nn.dense import Dense
from so3krates.nn.low_rank import LowRank, with_adapters, without_adapters


def test_adapters_change_nothing_until_they_learn_and_merge_exactly() -> None:
    model = random_model(CONFIGS["article"])
    adapted = with_adapters(model, 3, seed=0)
    adapters = [leaf for leaf in jax.tree.leaves(adapted, is_leaf=_is_adapter) if _is_adapter(leaf)]
    dense = [leaf for leaf in jax.tree.leaves(model, is_leaf=_is_dense) if _is_dense(leaf)]
    assert len(adapters) == len(dense) > 10
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, adapters[0].dense.weight.shape[0])))
    np.testing.assert_array_equal(adapters[0](x), dense[0](x))
    learned = eqx.tree_at(lambda a: a.up, adapters[0], jnp.ones_like(adapters[0].up))
    np.testing.assert_allclose(learned.merged()(x), learned(x), rtol=1e-12)
    assert np.abs(learned(x) - dense[0](x)).max() > 1e-3
    same = without_adapters(adapted)
    assert jax.tree.structure(same) == jax.tree.structure(model)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(model), strict=True))


def _is_adapter(node: object) -> bool:
    return isinstance(node, LowRank)


def _is_dense(node: object) -> bool:
    return isinstance(node, Dense)
