"""Charges that are given instead of predicted."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float, Int
from so3krates.graph import Graph
from so3krates.physics.by_element import table_by_element
from so3krates.term import AnalyticTerm, Outputs


class FixedCharges(AnalyticTerm):
    """A charge per element and no energy: electrostatics without a network."""

    name = "fixed_charges"
    cutoff = 0.0
    predicts_charges = True
    predicts_ratios = False

    table: Float[Array, " elements"]

    def __init__(self, charges: Mapping[int, float], dtype: object = "float32") -> None:
        """`charges` in e by atomic number; elements that are not named have none.

        Raises:
            InputError: for an atomic number there is not.
        """
        self.table = table_by_element(charges, 0.0, "charge", dtype)

    def total(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """Sum over the atoms of a structure, e."""
        return float(np.asarray(self.table, np.float64)[numbers].sum())

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        return jnp.zeros(graph.numbers.shape, self.table.dtype)

    def outputs(self, graph: Graph) -> Outputs:
        """No energy, hence no component."""
        charges = jnp.where(graph.atom_mask, self.table[graph.numbers], 0.0)
        return Outputs(self(graph), {}, charges)
