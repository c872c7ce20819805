"""Compiled training steps: several optimiser steps in one call, so that the device never waits for Python."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from so3krates._typing import Array, Bool, Float, Int
from so3krates.data.batching import Batch
from so3krates.term import Term
from so3krates.training.config import LossConfig, OptimizerConfig
from so3krates.training.loss import LossSums, batch_errors, loss_sums, weighted_loss
from so3krates.training.optimizer import Fitted, make_optimizer, make_update

DATA_AXIS = "data"


def data_mesh(devices: int) -> Mesh:
    """The first local devices in a row."""
    return Mesh(np.array(jax.local_devices()[:devices]), (DATA_AXIS,))


class TrainState(eqx.Module):
    """All that changes from step to step: a checkpoint of it is an exact restart."""

    model: Term
    optimizer: optax.OptState
    average: Term
    """Exponential moving average of the parameters."""
    step: Int[Array, ""]


class StepRecord(NamedTuple):
    """What the steps of a call report together."""

    loss: Float[Array, ""]
    """Mean over the steps."""
    absolute: Float[Array, " quantities"]
    """Σ |error| of each kind of label."""
    counts: Float[Array, " quantities"]
    """Number of labelled entries of each."""
    finite: Bool[Array, ""]
    """Whether every loss and gradient was finite."""


def initial_state(model: Term, config: OptimizerConfig, trained: Any = eqx.is_inexact_array) -> TrainState:
    """Step zero; `trained` is the filter of the parameters that are trained."""
    vector, _ = ravel_pytree(eqx.filter(model, trained))
    return TrainState(model, make_optimizer(config).init(vector), model, jnp.zeros((), jnp.int32))


class _Carry(NamedTuple):
    """A train state with all parameters in one vector, so that an update is a few long loops, not hundreds of short."""

    fitted: Fitted
    step: Int[Array, ""]


def make_steps(
    loss: LossConfig, optimizer: OptimizerConfig, devices: int = 1, trained: Any = eqx.is_inexact_array
) -> Callable[[TrainState, Batch, Float[Array, " steps"]], tuple[TrainState, StepRecord]]:
    """A compiled function `(state, batches, rates) -> (state, record)` that takes one step per leading batch entry.

    With several devices each entry has a second axis of sub-batches, one per device; their gradients are those of the
    joint batch, since counts are added before the means are taken, and gradients after. `trained` is the filter of the
    parameters that are trained; the others stay as they are.
    """
    update = make_update(optimizer)

    def over_devices(tree: Any) -> Any:
        return tree if devices == 1 else jax.lax.psum(tree, DATA_AXIS)

    def one_step(
        carry: _Carry, inputs: tuple[Batch, Float[Array, ""]], unravel: Callable[[Array], Term]
    ) -> tuple[_Carry, StepRecord]:
        batch, rate = inputs

        def objective(parameters: Array) -> tuple[Float[Array, ""], LossSums]:
            part = loss_sums(batch_errors(unravel(parameters), batch), batch, loss)
            return weighted_loss(part._replace(counts=over_devices(part.counts)), loss), part

        (value, parts), gradient = jax.value_and_grad(objective, has_aux=True)(carry.fitted.parameters)
        value, gradient, total = over_devices((value, gradient, parts))
        norm = jnp.asarray(optax.tree.norm(gradient))
        weight = _weight_in_average(carry.step, optimizer.ema or 0.0, gradient.dtype)
        fitted = update(carry.fitted, gradient, norm, rate.astype(gradient.dtype), weight)
        if optimizer.ema is None:  # not their difference added to it, which is rounded
            fitted = fitted._replace(average=fitted.parameters)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        record = StepRecord(value, total.absolute, total.counts, finite)
        return _Carry(fitted, carry.step + 1), record

    # Not `eqx.filter_jit`, which waits for the result: the caller has other things to do meanwhile.
    @jax.jit
    def steps(state: TrainState, batches: Batch, rates: Float[Array, " steps"]) -> tuple[TrainState, StepRecord]:
        parameters, rest = eqx.partition(state.model, trained)
        vector, unravel_trained = ravel_pytree(parameters)
        average, _ = ravel_pytree(eqx.filter(state.average, trained))

        def unravel(parameters: Array) -> Term:
            return eqx.combine(unravel_trained(parameters), rest)

        def several(carry: _Carry, batches: Batch, rates: Array) -> tuple[_Carry, StepRecord]:
            if devices > 1:  # this device's part of each batch
                batches = jax.tree.map(lambda leaf: leaf[:, 0], batches)
            carry, records = jax.lax.scan(partial(one_step, unravel=unravel), carry, (batches, rates))
            sums = (records.absolute.sum(0), records.counts.sum(0))
            return carry, StepRecord(records.loss.mean(), *sums, records.finite.all())

        if devices > 1:
            # Every device runs the whole program on its part; only sums, counts and gradients are exchanged.
            whole, parts = PartitionSpec(), PartitionSpec(None, DATA_AXIS)
            several = jax.shard_map(
                several, mesh=data_mesh(devices), in_specs=(whole, parts, whole), out_specs=whole, check_vma=False
            )
        carry, record = several(_Carry(Fitted(vector, average, state.optimizer), state.step), batches, rates)
        fitted = carry.fitted
        return TrainState(unravel(fitted.parameters), fitted.state, unravel(fitted.average), carry.step), record

    return steps


def _weight_in_average(step: Array, decay: float, dtype: jnp.dtype) -> Float[Array, ""]:
    """1 − d of a ← d a + (1 − d) p with d = min(decay, (1 + n)/(10 + n)): a short memory while the parameters still
    run."""
    return jnp.maximum(1.0 - decay, 9.0 / (10.0 + step.astype(dtype)))
