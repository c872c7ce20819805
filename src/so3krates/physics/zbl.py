"""Ziegler–Biersack–Littmark repulsion of nuclei screened by their electrons, with trainable constants."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._precision import checked_dtype, precision_scope
from so3krates._safe import masked, masked_norm
from so3krates._typing import Array, Float
from so3krates.graph import Graph, scatter_pairs
from so3krates.nn.cutoff import CUTOFF_FUNCTIONS
from so3krates.physics.switch import smooth_step
from so3krates.term import AnalyticTerm
from so3krates.units import BOHR, COULOMB

REACH = 1.5
"""Å; the repulsion is switched off from 0 to here."""
EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)
COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)
POWER = 0.23
SCREENING_LENGTH = 0.8854
"""The universal screening function: φ(x) = Σ c_k exp(−a_k x), x = r (Z_i^p + Z_j^p)/(0.8854 a₀)."""


class ZBL(AnalyticTerm):
    """E = Σ_pairs S(r; 0, 1.5 Å) φ(r) k_e Z_i Z_j/r Σ_k c̄_k exp(−a_k d r (Z_i^p + Z_j^p)), half of it to each atom.

    a, c, p and d are softplus of the parameters held here, c̄ = c/Σc; φ is the cutoff function of the network beside it.
    Without other values the constants are those of the universal potential (Ziegler, Biersack, Littmark 1985).
    """

    name = "zbl"

    exponents: Float[Array, " 4"]
    coefficients: Float[Array, " 4"]
    power: Float[Array, ""]
    inverse_length: Float[Array, ""]
    """Of d, 1/Å."""
    cutoff: float = eqx.field(static=True)
    cutoff_function: Literal["cosine", "polynomial", "exponential"] = eqx.field(static=True)

    def __init__(
        self,
        cutoff: float,
        cutoff_function: Literal["cosine", "polynomial", "exponential"] = "polynomial",
        dtype: object = "float32",
    ) -> None:
        """`cutoff` in Å."""
        dtype = checked_dtype(dtype)
        with precision_scope(dtype):
            self.exponents = _inverse_softplus(EXPONENTS, dtype)
            self.coefficients = _inverse_softplus(COEFFICIENTS, dtype)
            self.power = _inverse_softplus(POWER, dtype)
            self.inverse_length = _inverse_softplus(1.0 / (SCREENING_LENGTH * BOHR), dtype)
        self.cutoff = cutoff
        self.cutoff_function = cutoff_function

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """eV."""
        r = masked_norm(graph.vectors, graph.pair_mask)
        softplus = jax.nn.softplus
        exponents, coefficients = softplus(self.exponents), softplus(self.coefficients)
        z = graph.numbers.astype(r.dtype)
        # Padded atoms have number 0, whose power has no derivative with respect to the exponent.
        powers = jnp.maximum(z, 1.0) ** softplus(self.power)
        i, j = graph.centers, graph.others
        x = r * softplus(self.inverse_length) * (powers[i] + powers[j])
        screening = jnp.exp(-x[:, None] * exponents) @ (coefficients / jnp.sum(coefficients))
        switch = smooth_step(r, 0.0, REACH) * CUTOFF_FUNCTIONS[self.cutoff_function](r, self.cutoff)
        half = masked(0.5 * COULOMB * z[i] * z[j] / r * screening * switch, graph.pair_mask)
        return scatter_pairs(half, half, graph)


def _inverse_softplus(values: object, dtype: object) -> Array:
    return jnp.asarray(np.log(np.expm1(np.asarray(values, np.float64))), dtype)  # type: ignore[arg-type]
