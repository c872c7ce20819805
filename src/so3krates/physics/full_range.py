"""Coulomb interaction of partial charges with all their periodic images, on a mesh (P3M of jax-pme)."""

from math import sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxpme.kspace import generate_kvectors, get_reciprocal, p3m_influence
from jaxpme.mesh import bspline
from jaxpme.potentials import potential

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

        def energies(structure: Int[Array, ""]) -> Float[Array, " atoms"]:
            mine = jnp.where(graph.structure == structure, charges, 0.0)
            cell = lattice.cells[structure]
            return mine * _potentials(mine, cell, lattice.positions, lattice.mesh, self.width / sqrt(2.0))

        # The library relies on promotion of types.
        with jax.numpy_dtype_promotion("standard"):
            if graph.structures == 1:
                return energies(jnp.asarray(0))
            return jnp.sum(jax.lax.map(energies, jnp.arange(graph.structures)), axis=0)


def _potentials(
    charges: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    positions: Float[Array, "atoms 3"],
    mesh: tuple[int, int, int],
    smearing: float,
) -> Float[Array, " atoms"]:
    """Half of the potential at every charge, V: the reciprocal space of jax-pme's P3M, but for one derivative.

    The influence function depends on k·a_i/n_i, 2π times whole numbers over those of mesh points, whatever the cell.
    Differentiated through k and a_i it gives two large terms that add up to zero on paper, and not in compiled code.
    """
    interaction = potential(exponent=1, exclusion_radius=None, custom_potential=None)
    find_weights, to_mesh, from_mesh = bspline(NODES)
    reciprocal, volume = get_reciprocal(cell), jnp.abs(jnp.linalg.det(cell))
    waves = generate_kvectors(reciprocal, mesh, dtype=positions.dtype, for_ewald=False)
    constant_waves, constant_cell = jax.lax.stop_gradient((waves, cell))
    influence = p3m_influence(constant_waves, constant_cell, jnp.array(mesh), NODES)
    kernel = interaction.lr(smearing, jnp.sum(waves * waves, axis=-1)) * influence
    weights = find_weights(reciprocal.T / (2.0 * jnp.pi), positions, jnp.zeros(mesh, positions.dtype))
    density = jnp.fft.rfftn(to_mesh(charges, weights), norm="backward")
    found = from_mesh(jnp.fft.irfftn(density * kernel, norm="forward", s=mesh), weights) / volume
    background = interaction.correction(smearing, charges, volume, positions, cell, None)
    return 0.5 * COULOMB * (found + background)
