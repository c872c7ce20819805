"""Compiled training steps: several optimiser steps in one call, so that the device never waits for Python."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from so3krates._typing import Array, Bool, Float, Int
from so3krates.data.batching import Batch
from so3krates.potential import Term
from so3krates.training.config import LossConfig, OptimizerConfig
from so3krates.training.loss import LossSums, loss_sums, weighted_loss
from so3krates.training.optimizer import make_optimizer


class TrainState(eqx.Module):
    """All that changes from step to step: a checkpoint of it is an exact restart."""

    model: Term
    optimizer: optax.OptState
    average: Term
    """Exponential moving average of the parameters."""
    step: Int[Array, ""]


class StepRecord(NamedTuple):
    """Sums over the steps of a call."""

    loss: Float[Array, ""]
    terms: Float[Array, " 3"]
    """Mean ℓ of energy, forces, stress, averaged over the steps."""
    finite: Bool[Array, ""]
    """Whether every loss and gradient was finite."""


def initial_state(model: Term, config: OptimizerConfig) -> TrainState:
    """Step zero."""
    optimizer = make_optimizer(config).init(eqx.filter(model, eqx.is_inexact_array))
    return TrainState(model, optimizer, model, jnp.zeros((), jnp.int32))


def make_steps(
    loss: LossConfig, optimizer: OptimizerConfig, devices: int = 1
) -> Callable[[TrainState, Batch, Float[Array, " steps"]], tuple[TrainState, StepRecord]]:
    """A compiled function `(state, batches, rates) -> (state, record)` that takes one step per leading batch entry.

    With several devices each entry has a second axis of sub-batches, one per device; their gradients are those of the
    joint batch, since sums and counts are added before the means are taken.
    """
    transform = make_optimizer(optimizer)

    def sums(model: Term, batch: Batch) -> LossSums:
        if devices == 1:
            return loss_sums(model, batch, loss)
        parts = jax.vmap(lambda part: loss_sums(model, part, loss))(batch)
        return LossSums(parts.sums.sum(0), parts.counts.sum(0))

    def objective(model: Term, batch: Batch) -> tuple[Float[Array, ""], Float[Array, " 3"]]:
        total = sums(model, batch)
        return weighted_loss(total, loss), total.sums / jnp.maximum(total.counts, 1.0)

    def one_step(state: TrainState, inputs: tuple[Batch, Float[Array, ""]]) -> tuple[TrainState, StepRecord]:
        batch, rate = inputs
        (value, terms), gradient = eqx.filter_value_and_grad(objective, has_aux=True)(state.model, batch)
        updates, optimizer_state = transform.update(
            gradient, state.optimizer, eqx.filter(state.model, eqx.is_inexact_array)
        )
        updates = jax.tree.map(lambda update: (-rate).astype(update.dtype) * update, updates)
        model = eqx.apply_updates(state.model, updates)
        average = _averaged(state.average, model, state.step, optimizer.ema)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        return TrainState(model, optimizer_state, average, state.step + 1), StepRecord(value, terms, finite)

    @eqx.filter_jit
    def steps(state: TrainState, batches: Batch, rates: Float[Array, " steps"]) -> tuple[TrainState, StepRecord]:
        arrays, static = eqx.partition(state, eqx.is_array)

        def body(carry: TrainState, inputs: tuple[Batch, Float[Array, ""]]) -> tuple[TrainState, StepRecord]:
            new, record = one_step(eqx.combine(carry, static), inputs)
            return eqx.filter(new, eqx.is_array), record

        arrays, records = jax.lax.scan(body, arrays, (batches, rates))
        record = StepRecord(records.loss.mean(), records.terms.mean(0), records.finite.all())
        return eqx.combine(arrays, static), record

    return steps


def _averaged(average: Term, model: Term, step: Int[Array, ""], decay: float | None) -> Term:
    """a ← d a + (1 − d) p with d = min(decay, (1 + n)/(10 + n)): a short memory while the parameters still run."""
    if decay is None:
        return model

    def mix(a: Array, p: Array) -> Array:
        if not eqx.is_inexact_array(p):
            return p
        count = step.astype(p.dtype)
        return a + jnp.maximum(1.0 - decay, 9.0 / (10.0 + count)) * (p - a)

    return jax.tree.map(mix, average, model)
