"""Temperatures and pressures that change during a run: what the user gives, and their values in compiled code."""

from collections.abc import Callable
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from pydantic import Field, model_validator

from so3krates._typing import Array, Float, Int
from so3krates.config import Config
from so3krates.units import PICOSECOND


class Ramp(Config):
    """A value that goes in straight lines from point to point, and stays constant before the first and after the last.

    Heating from 100 K to 300 K within 20 ps: `Ramp(time_ps=(0, 20), value=(100, 300))`. Times count from the first step
    of the run, those before a resume included.
    """

    time_ps: tuple[float, ...] = Field(description="times of the points, ps, increasing")
    value: tuple[float, ...] = Field(description="values there")

    @model_validator(mode="after")
    def _points_in_order(self) -> Self:
        if len(self.time_ps) != len(self.value) or len(self.value) < 2:
            raise ValueError(
                f"a ramp needs a value for each time, at least two; received {len(self.time_ps)} times and "
                f"{len(self.value)} values"
            )
        if self.time_ps[0] < 0 or any(b <= a for a, b in zip(self.time_ps, self.time_ps[1:], strict=False)):
            raise ValueError(f"times of a ramp start at 0 or later and increase; received {self.time_ps}")
        return self


def start_of(value: float | Ramp) -> float:
    """The value at the start of a run."""
    return value.value[0] if isinstance(value, Ramp) else value


def every_temperature(value: float | Ramp) -> float | Ramp:
    """A validator: temperatures are positive, those of a ramp too."""
    values = value.value if isinstance(value, Ramp) else (value,)
    if not all(each > 0 for each in values):
        raise ValueError(f"temperatures must be positive, in K; received {', '.join(f'{each:g}' for each in values)}")
    return value


class Schedule(eqx.Module):
    """A value as a function of the step number, for compiled code; in a run at constant conditions, that value."""

    start: Float[Array, ""]
    begins: Float[Array, " pieces"]
    """In steps."""
    lengths: Float[Array, " pieces"]
    slopes: Float[Array, " pieces"]
    """Per step."""

    def at(self, step: Int[Array, ""]) -> Float[Array, ""]:
        if not self.begins.shape[0]:
            return self.start
        inside = jnp.clip(step.astype(self.begins.dtype) - self.begins, 0.0, self.lengths)
        return self.start + jnp.sum(self.slopes * inside)


def make_schedule(
    value: float | Ramp, timestep: float, dtype: object, convert: Callable[[float], float] = float
) -> Schedule:
    """A constant or a ramp in compiled code.

    Args:
        value: what the user gave.
        timestep: in internal units.
        dtype: of the arithmetic.
        convert: from the user's unit to the internal one.
    """
    ramp = value if isinstance(value, Ramp) else None
    times = np.asarray(ramp.time_ps if ramp else (0.0,)) * PICOSECOND / timestep
    values = np.array([convert(each) for each in (ramp.value if ramp else (start_of(value),))])
    lengths = np.diff(times)

    def array(numbers: object) -> Array:
        return jnp.asarray(np.asarray(numbers, np.float64), dtype)  # type: ignore[arg-type]

    return Schedule(array(values[0]), array(times[:-1]), array(lengths), array(np.diff(values) / lengths))
