"""Coulomb interaction of partial charges with all their periodic images, on a mesh (P3M of jax-pme)."""

from math import sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxpme import P3M

from so3krates._errors import InputError
from so3krates._typing import Array, Float, Int
from so3krates.graph import Graph
from so3krates.term import AnalyticTerm
from so3krates.units import COULOMB

NODES = 5
"""Mesh points along each axis over which a charge is spread: splines whose forces are smooth."""
SPACING = 0.25
"""Largest distance of mesh points in units of the Gaussian width; forces are wrong by less than 5e-4 of the largest."""


class FullRangeElectrostatics(AnalyticTerm):
    """E = k_e Σ q_i q_j erf(r/σ)/r over all pairs and all periodic images, without any cutoff.

    The damped interaction is that of Gaussian clouds of width σ/√2, which is just what an Ewald sum does in reciprocal
    space: nothing is left for real space. The average potential is zero, and the crystal is surrounded by a conductor.

    For structures that are neutral and periodic along all three axes. Sources: Ewald summation on a mesh (P3M: Hockney
    and Eastwood 1988) by jax-pme; damping as in SO3LR (doi 10.1021/jacs.5c09558).
    """

    name = "electrostatics"
    cutoff = 0.0

    width: float = eqx.field(static=True, default=4.0)
    """σ, Å."""

    @property
    def mesh_spacing(self) -> float:
        return SPACING * self.width / sqrt(2.0)

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """eV.

        Raises:
            InputError: if no term before this one gives charges, or the graph holds no cells.
        """
        lattice, charges = graph.lattice, graph.charges
        if lattice is None or charges is None:
            raise InputError(
                "full-range electrostatics needs cells and charges; put a network that predicts charges, or "
                "FixedCharges, before it in a Sum."
            )
        calculator = P3M(prefactor=COULOMB, interpolation_nodes=NODES)
        nobody = jnp.zeros(0, jnp.int32)
        shape = np.broadcast_to(np.zeros((), lattice.positions.dtype), lattice.mesh)

        def energies(structure: Int[Array, ""]) -> Float[Array, " atoms"]:
            mine = jnp.where(graph.structure == structure, charges, 0.0)
            return mine * calculator.potentials(
                mine,
                lattice.cells[structure],
                lattice.positions,
                i=nobody,
                j=nobody,
                cell_shifts=jnp.zeros((0, 3), lattice.positions.dtype),
                k_grid=shape,
                smearing=self.width / sqrt(2.0),
            )

        # The library relies on promotion of types.
        with jax.numpy_dtype_promotion("standard"):
            if graph.structures == 1:
                return energies(jnp.asarray(0))
            return jnp.sum(jax.lax.map(energies, jnp.arange(graph.structures)), axis=0)
