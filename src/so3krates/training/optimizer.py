"""Optimiser and learning-rate schedule."""

from math import cos, pi

import jax
import optax

from so3krates.training.config import AnnealConfig, ConstantConfig, ExponentialConfig, OptimizerConfig, Schedule


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimiser for a learning rate of 1, on all parameters as one vector; the step multiplies its updates with
    the scheduled rate."""
    scale = {
        "adam": optax.scale_by_adam(),
        "adamw": optax.scale_by_adam(),
        "amsgrad": optax.scale_by_amsgrad(),
    }[config.name]
    steps = [scale]
    if config.weight_decay:
        steps.append(optax.add_decayed_weights(config.weight_decay))
    if config.clip_norm is not None:
        steps.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return _lenient(optax.chain(*steps))


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
