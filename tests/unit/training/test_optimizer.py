import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from so3krates._precision import precision_scope
from so3krates.training import fused_update
from so3krates.training.config import AnnealConfig, ConstantConfig, ExponentialConfig, OptimizerConfig
from so3krates.training.optimizer import Fitted, learning_rate, make_optimizer, make_update, schedule_ended


def test_anneal_warms_up_peaks_and_ends_at_its_floor() -> None:
    config = OptimizerConfig(learning_rate=1e-2, schedule=AnnealConfig(warmup=0.1, final=0.01))
    rates = [learning_rate(config, 0, p) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    np.testing.assert_allclose(rates, [1e-4, 5e-3, 1e-2, 0.5 * (1e-2 + 1e-4), 1e-4], rtol=1e-12)


def test_exponential_is_the_published_schedule() -> None:
    config = OptimizerConfig(learning_rate=1e-3, schedule=ExponentialConfig())
    assert learning_rate(config, 250_000, 0.3) == pytest.approx(1e-3 * 0.7**2.5, rel=1e-12)
    last = next(step for step in range(0, 3_000_000, 1000) if schedule_ended(config, step))
    assert learning_rate(config, last - 1000, 0.0) >= 1e-5 > learning_rate(config, last, 0.0)
    assert not schedule_ended(OptimizerConfig(schedule=ConstantConfig()), 10**9)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw"])
def test_flattened_optimizer_equals_optax_leaf_by_leaf(name: str, rng: np.random.Generator) -> None:
    """Including clipping, decoupled decay and a rate that changes from step to step."""
    decay = 0.3 if name == "adamw" else 0.0
    config = OptimizerConfig.parse({"name": name, "clip_norm": 1.0, "weight_decay": decay})
    rates = [0.1, 0.05, 0.02, 0.2]

    def schedule(step):
        return jnp.asarray(rates)[step]

    oracle = optax.chain(
        optax.clip_by_global_norm(1.0),
        {
            "adam": optax.adam(schedule),
            "amsgrad": optax.amsgrad(schedule),
            "adamw": optax.adamw(schedule, weight_decay=0.3),
        }[name],
    )
    ours = make_optimizer(config)
    params = other = {"a": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=4))}
    state, oracle_state = ours.init(params), oracle.init(params)
    for rate in rates:
        gradient = {k: jnp.asarray(rng.normal(size=v.shape)) for k, v in params.items()}
        update, state = ours.update(gradient, state, params)
        params = {k: params[k] - rate * update[k] for k in params}
        with jax.numpy_dtype_promotion("standard"):
            update, oracle_state = oracle.update(gradient, oracle_state, other)
        other = optax.apply_updates(other, update)
    for key in params:
        np.testing.assert_allclose(params[key], other[key], rtol=1e-10)


@pytest.mark.skipif(not fused_update.available(), reason="there is no compiled kernel for this device")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw"])
def test_the_kernel_takes_the_steps_of_optax(
    name: str, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clipped and not, with a rate that changes, and parameters that never have a gradient."""
    decay = 0.3 if name == "adamw" else 0.0
    config = OptimizerConfig.parse({"name": name, "clip_norm": 100.0, "weight_decay": decay})
    count = 40_001
    start = rng.normal(size=count)
    gradients = [scale * rng.normal(size=count) * (np.arange(count) % 7 > 0) for scale in (0.1, 5.0, 1e-4, 1.0)]
    found = {}
    with precision_scope(dtype):
        for kernel in (True, False):
            monkeypatch.setattr(fused_update, "available", lambda kernel=kernel: kernel)
            step = jax.jit(make_update(config))
            parameters = jnp.asarray(start, dtype)
            fitted = Fitted(parameters, parameters, make_optimizer(config).init(parameters))
            for rate, gradient in zip((0.1, 0.05, 0.02, 0.2), gradients, strict=True):
                given = jnp.asarray(gradient, dtype)
                norm = jnp.sqrt(jnp.sum(given * given))
                fitted = step(fitted, given, norm, jnp.asarray(rate, dtype), jnp.asarray(0.3, dtype))
            found[kernel] = fitted
    # Which moments follow from which differs by rounding alone, but small second moments divide by little.
    close = 1e-12 if dtype == "float64" else 2e-5
    for mine, theirs in zip(jax.tree.leaves(found[True]), jax.tree.leaves(found[False]), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=close, atol=close * float(jnp.abs(theirs).max()))
