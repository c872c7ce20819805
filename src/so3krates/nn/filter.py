"""Filters w_ij: how a pair's distance and relative orientation modulate attention."""

import equinox as eqx
import numpy as np

from so3krates._typing import Array, Float
from so3krates.nn.dense import MLP


class Filter(eqx.Module):
    """w_ij = MLP_rad(basis(r_ij)) + MLP_sph(s(x_j − x_i)); article, eq. 20.

    Both arguments are the same seen from i and from j, so one w_ij serves both directions of a pair.
    MLP_rad: K → F → F; MLP_sph: |D| → F/4 → F; SiLU between, biases, last layer linear.
    """

    radial: MLP
    spherical: MLP

    def __init__(self, features: int, functions: int, degrees: int, *, rng: np.random.Generator, dtype: object) -> None:
        self.radial = MLP((functions, features, features), rng=rng, dtype=dtype)
        self.spherical = MLP((degrees, features // 4, features), rng=rng, dtype=dtype)

    def __call__(
        self, basis: Float[Array, "pairs functions"], invariants: Float[Array, "pairs degrees"]
    ) -> Float[Array, "pairs features"]:
        return self.radial(basis) + self.spherical(invariants)
