"""Hirshfeld ratios that are given instead of predicted."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.physics.by_element import table_by_element
from so3krates.term import AnalyticTerm, Outputs

FREE_ATOM = 1.0


class FixedRatios(AnalyticTerm):
    """A Hirshfeld ratio per element and no energy: dispersion without a network."""

    name = "fixed_ratios"
    cutoff = 0.0
    predicts_charges = False
    predicts_ratios = True

    table: Float[Array, " elements"]

    def __init__(self, ratios: Mapping[int, float] | None = None, dtype: object = "float32") -> None:
        """`ratios` by atomic number; elements that are not named are as large as free atoms, 1.

        Raises:
            InputError: for an atomic number there is not, or a ratio that is not positive and finite.
        """
        ratios = ratios or {}
        for number, ratio in ratios.items():
            if not 0 < ratio < np.inf:
                raise InputError(f"Hirshfeld ratio {ratio} of atomic number {number}; it must be positive and finite.")
        self.table = table_by_element(ratios, FREE_ATOM, "Hirshfeld ratio", dtype)

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        return jnp.zeros(graph.numbers.shape, self.table.dtype)

    def outputs(self, graph: Graph) -> Outputs:
        """No energy, hence no component."""
        ratios = jnp.where(graph.atom_mask, self.table[graph.numbers], 0.0)
        return Outputs(self(graph), {}, None, ratios)
