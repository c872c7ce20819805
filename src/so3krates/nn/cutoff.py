"""Cutoff functions φ(r): 1 at r = 0, 0 from r_c on."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp

from so3krates._typing import Array, Float

CutoffFunction = Callable[[Float[Array, " pairs"], float], Float[Array, " pairs"]]


def cosine_cutoff(r: Float[Array, " pairs"], cutoff: float) -> Float[Array, " pairs"]:
    """φ = ½(1 + cos(πr/r_c)); article, eq. 17. Its curvature jumps at r_c: forces are continuous, Hessians are not."""
    inside = r < cutoff
    u = jnp.where(inside, r / cutoff, 1.0)
    return jnp.where(inside, 0.5 * (1.0 + jnp.cos(jnp.pi * u)), 0.0)


def polynomial_cutoff(r: Float[Array, " pairs"], cutoff: float) -> Float[Array, " pairs"]:
    """φ = 1 − 6u⁵ + 15u⁴ − 10u³, u = r/r_c; twice continuously differentiable (SO3LR, called "phys" there)."""
    inside = r < cutoff
    u = jnp.where(inside, r / cutoff, 1.0)
    return jnp.where(inside, 1.0 - u * u * u * (10.0 - u * (15.0 - 6.0 * u)), 0.0)


def exponential_cutoff(r: Float[Array, " pairs"], cutoff: float) -> Float[Array, " pairs"]:
    """φ = exp(−r²/((r_c − r)(r_c + r))); smooth to every order (SpookyNet)."""
    inside = r < cutoff
    # The exponent diverges at r_c: evaluate it at 0 outside, so that masked entries have finite derivatives.
    safe = jnp.where(inside, r, 0.0)
    value = jnp.exp(-(safe * safe) / ((cutoff - safe) * (cutoff + safe)))
    return jnp.where(inside, value, 0.0)


CUTOFF_FUNCTIONS: Mapping[str, CutoffFunction] = MappingProxyType(
    {"cosine": cosine_cutoff, "polynomial": polynomial_cutoff, "exponential": exponential_cutoff}
)
