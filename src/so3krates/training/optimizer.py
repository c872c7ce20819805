"""Optimiser and learning-rate schedule."""

from collections.abc import Callable
from math import cos, pi
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from so3krates._typing import Array, Float
from so3krates.training import fused_update
from so3krates.training.config import AnnealConfig, ConstantConfig, ExponentialConfig, OptimizerConfig, Schedule


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimiser for a learning rate of 1, on all parameters as one vector; the step multiplies its updates with
    the scheduled rate."""
    scale_by = optax.scale_by_amsgrad if config.name == "amsgrad" else optax.scale_by_adam
    scale = scale_by(b1=fused_update.FIRST_DECAY, b2=fused_update.SECOND_DECAY, eps=fused_update.EPSILON)
    steps = [scale]
    if config.weight_decay:
        steps.append(optax.add_decayed_weights(config.weight_decay))
    if config.clip_norm is not None:
        steps.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return _lenient(optax.chain(*steps))


class Fitted(NamedTuple):
    """What an optimiser changes, all parameters in one vector."""

    parameters: Float[Array, " parameters"]
    average: Float[Array, " parameters"]
    """Exponential moving average of the parameters."""
    state: optax.OptState


def make_update(config: OptimizerConfig) -> Callable[[Fitted, Array, Array, Array, Array], Fitted]:
    """`(fitted, gradient, norm, rate, weight) -> fitted`: a step with the gradient, whose norm is given, at a learning
    rate; `weight` is that of the new parameters in their average.

    By the compiled kernel where there is one; the state is that of `make_optimizer` either way.
    """
    transform = make_optimizer(config)

    def update(fitted: Fitted, gradient: Array, norm: Array, rate: Array, weight: Array) -> Fitted:
        if fused_update.available():
            return _by_kernel(config, fitted, gradient, norm, rate, weight)
        updates, state = transform.update(gradient, fitted.state, fitted.parameters)
        parameters = fitted.parameters - rate * jnp.asarray(updates)
        return Fitted(parameters, fitted.average + weight * (parameters - fitted.average), state)

    return update


def _by_kernel(
    config: OptimizerConfig, fitted: Fitted, gradient: Array, norm: Array, rate: Array, weight: Array
) -> Fitted:
    parts: list[Any] = list(cast(tuple, fitted.state))  # of a chain
    at = next(n for n, part in enumerate(parts) if isinstance(part, fused_update.MOMENTS))
    clip = jnp.ones_like(norm)
    if config.clip_norm is not None:
        clip = jnp.where(norm < config.clip_norm, 1.0, config.clip_norm / norm)
    parameters, average, parts[at] = fused_update.update(
        gradient,
        fitted.parameters,
        fitted.average,
        parts[at],
        clip=clip,
        rate=rate,
        weight_decay=config.weight_decay,
        average_weight=weight,
    )
    return Fitted(parameters, average, tuple(parts))


def learning_rate(config: OptimizerConfig, step: int, progress: float) -> float:
    """Learning rate at a step; `progress` is the share of the budget spent, 0 to 1."""
    return config.learning_rate * _relative(config.schedule, step, progress)


def schedule_ended(config: OptimizerConfig, step: int) -> bool:
    """Whether the schedule itself says stop."""
    schedule = config.schedule
    return isinstance(schedule, ExponentialConfig) and learning_rate(config, step, 0.0) < schedule.stop_below


def _lenient(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """optax takes powers with whole-number exponents, which a user's strict promotion of types would refuse."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)


def _relative(schedule: Schedule, step: int, progress: float) -> float:
    match schedule:
        case ConstantConfig():
            return 1.0
        case ExponentialConfig():
            return schedule.factor ** (step / schedule.every)
        case AnnealConfig():
            if progress < schedule.warmup:
                return max(progress / schedule.warmup, 0.01)
            phase = (progress - schedule.warmup) / (1.0 - schedule.warmup)
            return schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + cos(pi * min(phase, 1.0)))
