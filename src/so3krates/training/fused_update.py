"""A step of the optimiser as one pass over the parameters, by the compiled kernel on a CPU.

XLA makes a loop of each moment, of the update and of the average: three times the traffic to and from memory.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from so3krates._typing import Array, Float
from so3krates.nn.fused import preferred

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""β₁, β₂ and ε of Adam (Kingma and Ba 2015)."""
MOMENTS = (optax.ScaleByAdamState, optax.ScaleByAmsgradState)
"""States of optax that `update` knows."""


class Updated(NamedTuple):
    """After a step."""

    parameters: Float[Array, " parameters"]
    average: Float[Array, " parameters"]
    moments: Any


class StepNumbers(NamedTuple):
    """What else a step is told, in the order in which the kernel takes it."""

    clip: Float[Array, ""]
    """What gradients are multiplied by."""
    rate: Float[Array, ""]
    first: Float[Array, ""]
    second: Float[Array, ""]
    """1/(1 − βⁿ), the corrections of the moments' bias."""
    weight_decay: Float[Array, ""]
    average: Float[Array, ""]
    """Weight of the new parameters in their average."""


def available() -> bool:
    """Whether there is a kernel for this device."""
    return preferred() is not None


def update(
    gradient: Float[Array, " parameters"],
    parameters: Float[Array, " parameters"],
    average: Float[Array, " parameters"],
    moments: Any,
    *,
    clip: Float[Array, ""],
    rate: Float[Array, ""],
    weight_decay: float,
    average_weight: Float[Array, ""],
) -> Updated:
    """p ← p − rate (m̂/(√v̂ + ε) + decay p) with the moments of `clip` times the gradient, and the average of p.

    `moments` is optax's state of `scale_by_adam` or of `scale_by_amsgrad`, whose v̂ is the largest so far, for
    parameters in one vector.
    """
    variant, dtype = preferred(), parameters.dtype
    assert variant is not None
    count = jnp.asarray(optax.safe_increment(moments.count))
    keeps_largest = isinstance(moments, optax.ScaleByAmsgradState)
    largest = moments.nu_max if keeps_largest else jnp.zeros(0, dtype)
    powers = count.astype(dtype)
    first, second = (1 / (1 - jnp.asarray(decay, dtype) ** powers) for decay in (FIRST_DECAY, SECOND_DECAY))
    numbers = StepNumbers(clip, rate, first, second, jnp.asarray(weight_decay, dtype), average_weight)
    arrays: tuple[Any, ...] = (parameters, average, moments.mu, moments.nu, largest)
    call = jax.ffi.ffi_call(
        "so3krates_update_f64" if dtype == np.float64 else "so3krates_update_f32",
        tuple(jax.ShapeDtypeStruct(each.shape, dtype) for each in arrays),
        input_output_aliases={n + 2: n for n in range(len(arrays))},
        vmap_method="sequential",
    )
    new_parameters, new_average, mu, nu, new_largest = call(
        jnp.stack([jnp.asarray(each, dtype) for each in numbers]),
        gradient,
        *arrays,
        variant=np.int64(variant.number),
        count=np.int64(len(parameters)),
        keeps_largest=np.int64(keeps_largest),
        first_decay=np.float64(FIRST_DECAY),
        second_decay=np.float64(SECOND_DECAY),
        epsilon=np.float64(EPSILON),
    )
    changed = moments._replace(count=count, mu=mu, nu=nu)
    if keeps_largest:
        changed = changed._replace(nu_max=new_largest)
    return Updated(new_parameters, new_average, changed)
