"""Filters w_ij: how a pair's distance and relative orientation modulate attention."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag

from so3krates._typing import Array, Float
from so3krates.nn.dense import MLP
from so3krates.nn.trained_pairs import FilterParameters


class Joined(NamedTuple):
    """A filter as one network with one hidden layer."""

    inner: Float[Array, "inputs hidden"]
    inner_bias: Float[Array, " hidden"]
    outer: Float[Array, "hidden features"]
    outer_bias: Float[Array, " features"]


class Filter(eqx.Module):
    """w_ij = MLP_rad(basis(r_ij)) + MLP_sph(s(x_j − x_i)); article, eq. 20.

    Both arguments are the same seen from i and from j, so one w_ij serves both directions of a pair.
    MLP_rad: K → F → F; MLP_sph: |D| → F/4 → F; SiLU between, biases, last layer linear.
    """

    radial: MLP
    spherical: MLP

    def __init__(
        self,
        features: int,
        functions: int,
        degrees: int,
        basis_scale: float,
        *,
        rng: np.random.Generator,
        dtype: object,
    ) -> None:
        """`basis_scale` is the root mean square of a basis function: the hidden layer starts at unit size."""
        self.radial = MLP((functions, features, features), rng=rng, dtype=dtype, scale=1.0 / basis_scale)
        self.spherical = MLP((degrees, features // 4, features), rng=rng, dtype=dtype)

    def __call__(
        self, basis: Float[Array, "pairs functions"], invariants: Float[Array, "pairs degrees"] | None
    ) -> Float[Array, "pairs features"]:
        """The filter of every pair; `invariants` is None where all Euclidean variables are zero."""
        inner, inner_bias, outer, outer_bias = self.joined(at_origin=invariants is None)
        x = basis if invariants is None else jnp.concatenate([basis, invariants], axis=1)
        return jax.nn.silu(x @ inner + inner_bias) @ outer + outer_bias

    def parameters(self, *, at_origin: bool) -> FilterParameters:
        """For the compiled kernel. `at_origin` as in `joined`."""
        (radial_in, radial_out), (spherical_in, spherical_out) = self.radial.layers, self.spherical.layers
        assert radial_in.bias is not None and spherical_in.bias is not None
        assert radial_out.bias is not None and spherical_out.bias is not None
        spherical = (spherical_in.weight, spherical_in.bias, spherical_out.weight)
        bias = radial_out.bias + spherical_out.bias
        if at_origin:
            degrees = len(spherical_in.weight)
            dtype = radial_in.bias.dtype
            nothing = (jnp.zeros((0, 0), dtype), jnp.zeros((0,), dtype), jnp.zeros((0, len(bias)), dtype))
            spherical, bias = nothing, radial_out.bias + self.spherical(jnp.zeros((degrees,), dtype))
        return FilterParameters(radial_in.weight, radial_in.bias, *spherical[:2], radial_out.weight, spherical[2], bias)

    def joined(self, *, at_origin: bool) -> Joined:
        """Both networks as one: two large products in place of four, and no sum of two arrays of pairs × features.

        `at_origin`: the invariants are zero, and what the spherical network says to them is part of the outer bias.
        """
        (radial_in, radial_out), (spherical_in, spherical_out) = self.radial.layers, self.spherical.layers
        assert radial_in.bias is not None and spherical_in.bias is not None
        assert radial_out.bias is not None and spherical_out.bias is not None
        if at_origin:
            origin = jnp.zeros((spherical_in.weight.shape[0],), radial_in.bias.dtype)
            bias = radial_out.bias + self.spherical(origin)
            return Joined(radial_in.weight, radial_in.bias, radial_out.weight, bias)
        return Joined(
            block_diag(radial_in.weight, spherical_in.weight),
            jnp.concatenate([radial_in.bias, spherical_in.bias]),
            jnp.concatenate([radial_out.weight, spherical_out.weight]),
            radial_out.bias + spherical_out.bias,
        )


def both(
    first: Filter,
    second: Filter,
    basis: Float[Array, "pairs functions"],
    invariants: Float[Array, "pairs degrees"] | None,
) -> tuple[Float[Array, "pairs features"], Float[Array, "pairs features"]]:
    """Two filters of the same sizes in the same products: a processor is busy with two matrices of this size that are
    multiplied together, but not with one."""
    networks = (each.joined(at_origin=invariants is None) for each in (first, second))
    inner, inner_bias, outer, outer_bias = (jnp.stack(pair) for pair in zip(*networks, strict=True))
    x = basis if invariants is None else jnp.concatenate([basis, invariants], axis=1)
    x = jnp.broadcast_to(x, (2, *x.shape))
    hidden = jax.nn.silu(jnp.einsum("bpk,bkn->bpn", x, inner) + inner_bias[:, None])
    filters = jnp.einsum("bpk,bkn->bpn", hidden, outer) + outer_bias[:, None]
    # Not by indices: the derivative of a split is one concatenation, that of an index a sum with zeros.
    one, other = jnp.split(filters, 2)
    return one[0], other[0]
