"""Radial basis functions of the pair distance. None of them includes the cutoff function."""

from collections.abc import Callable, Mapping
from math import comb, exp, log
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float

RadialBasis = Callable[[Float[Array, " pairs"], int, float], Float[Array, "pairs functions"]]

BERNSTEIN_GAMMA = 0.9448630809783936
"""γ in Å⁻¹, a constant of the published SO3LR weights: ½ Bohr⁻¹ in single precision, as the original evaluates it in
every precision (the unrounded value moves the energy of ethanol by 3e-7 eV)."""


def physnet_basis(r: Float[Array, " pairs"], functions: int, cutoff: float) -> Float[Array, "pairs functions"]:
    """exp(−β(e^{−r} − μ_k)²), μ_k evenly from e^{−r_c} to 1, β = [(2/K)(1 − e^{−r_c})]^{−2} (PhysNet, eq. 7)."""
    start = exp(-cutoff)
    centers = jnp.asarray(np.linspace(start, 1.0, functions), r.dtype)
    beta = (2.0 / functions * (1.0 - start)) ** -2
    offset = jnp.exp(-r)[:, None] - centers
    return jnp.exp(-beta * offset * offset)


def bernstein_basis(r: Float[Array, " pairs"], functions: int, cutoff: float) -> Float[Array, "pairs functions"]:
    """C(K−1,k) x^k (1 − x)^{K−1−k} with x = e^{−γr} (SpookyNet, eq. 13); `cutoff` does not enter.

    Evaluated through logarithms, since the binomials of K = 32 exceed what float32 products keep apart.
    """
    del cutoff
    k = np.arange(functions)
    log_binomial = np.array([log(comb(functions - 1, int(i))) for i in k])
    # 1 − e^{−γr} vanishes at r = 0 where only k = K−1 survives. The floor keeps the logarithm finite there, and its
    # fourth power is a normal number, so that derivatives stay finite too.
    log_rest = jnp.log(jnp.maximum(-jnp.expm1(-BERNSTEIN_GAMMA * r), float(jnp.finfo(r.dtype).tiny) ** 0.25))
    exponent = (
        jnp.asarray(log_binomial, r.dtype)
        - BERNSTEIN_GAMMA * r[:, None] * jnp.asarray(k, r.dtype)
        + log_rest[:, None] * jnp.asarray(functions - 1 - k, r.dtype)
    )
    return jnp.exp(exponent)


def gaussian_basis(r: Float[Array, " pairs"], functions: int, cutoff: float) -> Float[Array, "pairs functions"]:
    """exp(−(r − μ_k)²/(2Δ²)), μ_k evenly from 0 to r_c with spacing Δ (SchNet)."""
    centers = np.linspace(0.0, cutoff, functions)
    width = cutoff / (functions - 1)
    offset = (r[:, None] - jnp.asarray(centers, r.dtype)) / width
    return jnp.exp(-0.5 * offset * offset)


def fourier_basis(r: Float[Array, " pairs"], functions: int, cutoff: float) -> Float[Array, "pairs functions"]:
    """√(2/r_c) sin(kπr/r_c)/r for k = 1…K: the radial Bessel functions of DimeNet, eq. 7."""
    k = np.arange(1, functions + 1) / cutoff
    # As sinc(x) = sin(πx)/(πx), which is smooth at r = 0.
    return jnp.asarray(np.sqrt(2.0 / cutoff) * np.pi * k, r.dtype) * jnp.sinc(jnp.asarray(k, r.dtype) * r[:, None])


RADIAL_BASES: Mapping[str, RadialBasis] = MappingProxyType(
    {"physnet": physnet_basis, "bernstein": bernstein_basis, "gaussian": gaussian_basis, "fourier": fourier_basis}
)

SHORTEST = 1.0
"""Å; distances below hardly occur."""


def basis_scale(name: str, functions: int, cutoff: float) -> float:
    """Root mean square of the functions of a basis, over distances spread evenly from 1 Å (or half the cutoff, if that
    is less) to the cutoff: 0.26 for the article's basis, 0.09 for SO3LR's."""
    r = jnp.asarray(np.linspace(min(SHORTEST, 0.5 * cutoff), cutoff, 200), "float32")
    values = jax.jit(RADIAL_BASES[name], static_argnums=(1, 2))(r, functions, cutoff)
    return float(np.sqrt(np.mean(np.square(np.asarray(values)))))
