"""Filters w_ij: how a pair's distance and relative orientation modulate attention."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag

from so3krates._typing import Array, Float
from so3krates.nn.dense import MLP


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
        (radial_in, radial_out), (spherical_in, spherical_out) = self.radial.layers, self.spherical.layers
        if invariants is None:
            origin = jnp.zeros((1, spherical_in.weight.shape[0]), basis.dtype)
            return self.radial(basis) + self.spherical(origin)
        assert radial_in.bias is not None and spherical_in.bias is not None
        assert radial_out.bias is not None and spherical_out.bias is not None
        # Both networks as one: two large products in place of four, and no sum of two arrays of pairs × features.
        inner = block_diag(radial_in.weight, spherical_in.weight)
        outer = jnp.concatenate([radial_out.weight, spherical_out.weight])
        x = jnp.concatenate([basis, invariants], axis=1) @ inner
        hidden = jax.nn.silu(x + jnp.concatenate([radial_in.bias, spherical_in.bias]))
        return hidden @ outer + (radial_out.bias + spherical_out.bias)
