"""The smooth step that SO3LR's analytic terms are switched with."""

import jax
import jax.numpy as jnp

from so3krates._typing import Array, Float

EDGE = 0.01
"""Where 1/c − 1/(1−c) is clipped: the step is 0 or 1 there to 1e-42."""


def smooth_step(r: Float[Array, "*pairs"], on: float | Array, off: float | Array) -> Float[Array, "*pairs"]:
    """S(r) = σ(1−c)/(σ(1−c) + σ(c)), σ(x) = e^{−1/x}, c = (r − on)/(off − on): 1 up to `on`, 0 from `off`, smooth to
    every order.

    As a logistic function of 1/c − 1/(1−c), which divides by nothing small. Source: SO3LR (doi 10.1021/jacs.5c09558),
    SpookyNet (doi 10.1038/s41467-021-27504-0).
    """
    share = (r - on) / (off - on)
    c = jnp.clip(share, EDGE, 1.0 - EDGE)
    return jnp.where(share < 1.0, jax.nn.sigmoid(1.0 / c - 1.0 / (1.0 - c)), 0.0)
