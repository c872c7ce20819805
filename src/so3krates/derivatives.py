"""Derivatives of the energy on a graph: forces, stress, Hessian, Hessian-vector product. Nothing else differentiates.

Forces are scattered gradients with respect to pair vectors, F_i = Σ_j ∂E/∂r_ij − Σ_j ∂E/∂r_ji, and the stress is
σ = (1/|det H|) Σ_pairs r ⊗ ∂E/∂r, positive under tension as in ASE. Of long-range pairs only the lengths are
differentiated, and ∂E/∂r points along the vector. Where a term sums over all periodic images, positions and cells are
differentiated as well.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from so3krates._safe import masked_norm
from so3krates._typing import AnyArray, Array, Float, Int
from so3krates.graph import Geometry, Graph, pair_vectors, scatter_pairs
from so3krates.nn.fused import Variant
from so3krates.physics.far_kernel import push_along
from so3krates.physics.fused_long_range import push_variant
from so3krates.term import Outputs, Term, outputs_of


class GraphResult(NamedTuple):
    """Energies, their derivatives and what else the terms say on a graph."""

    outputs: Outputs
    forces: Float[Array, "atoms 3"]
    virial: Float[Array, "structures 3 3"]
    """Σ r ⊗ ∂E/∂r = V σ of each structure, eV."""

    @property
    def energies(self) -> Float[AnyArray, " atoms"]:
        return self.outputs.energies


def energies_and_forces(term: Term, graph: Graph) -> GraphResult:
    """Per-atom energies, forces and V·σ of every structure of a graph; pure, to be called inside `jax.jit`."""

    def total(geometry: Geometry) -> tuple[Float[Array, ""], Outputs]:
        outputs = outputs_of(term, graph.with_geometry(geometry))
        return jnp.sum(outputs.energies), outputs

    geometry = graph.geometry
    gradient, outputs = jax.grad(total, has_aux=True)(geometry)
    forces = scatter_pairs(gradient.near, -gradient.near, graph)
    virial = _virial(geometry.near, gradient.near, graph.centers, graph)
    if graph.long_range is not None:
        far_forces, far_virial = _along_pairs(graph, gradient.far, push_variant(term, graph))
        forces, virial = forces + far_forces, virial + far_virial
    if graph.lattice is not None:
        assert geometry.positions is not None and geometry.cells is not None
        forces = forces - gradient.positions
        virial = virial + _summed(geometry.positions[:, :, None] * gradient.positions[:, None, :], graph)
        virial = virial + jnp.einsum("ska,skb->sab", geometry.cells, gradient.cells)
    return GraphResult(outputs, forces, virial)


def _along_pairs(
    graph: Graph, slopes: Float[Array, " long"], variant: Variant | None
) -> tuple[Float[Array, "atoms 3"], Float[Array, "structures 3 3"]]:
    """Forces and virial from the derivatives with respect to the lengths of long-range pairs; by the compiled kernel if
    it is given an instruction set."""
    if variant is not None:
        return push_along(graph, slopes, variant)
    pairs = graph.long_range
    assert pairs is not None
    along = (slopes / pairs.lengths)[:, None] * pairs.vectors
    forces = pairs.to_atoms(along, -along, graph.atoms)
    return forces, _virial(pairs.vectors, along, pairs.centers, graph)


def _virial(
    vectors: Float[Array, "pairs 3"], gradient: Float[Array, "pairs 3"], centers: Int[Array, " pairs"], graph: Graph
) -> Float[Array, "structures 3 3"]:
    # Atom by atom like the forces: a sum over the list would be rounded by how many places that has, and a run would
    # depend on when its list was enlarged.
    outer = vectors[:, :, None] * gradient[:, None, :]
    return _summed(jax.ops.segment_sum(outer, centers, graph.atoms), graph)


def _summed(of_atoms: Float[Array, "atoms 3 3"], graph: Graph) -> Float[Array, "structures 3 3"]:
    if graph.structures == 1:
        return jnp.sum(of_atoms, axis=0)[None]
    return jax.ops.segment_sum(of_atoms, graph.structure, graph.structures)


compiled = eqx.filter_jit(energies_and_forces)


def _displaced(term: Term, graph: Graph, displacements: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    rest = graph.geometry
    moved = rest._replace(near=rest.near + pair_vectors(displacements, None, graph.centers, graph.others, None))
    if graph.long_range is not None:
        pairs = graph.long_range
        vectors = pairs.vectors + pair_vectors(displacements, None, pairs.centers, pairs.others, None)
        moved = moved._replace(far=masked_norm(vectors, pairs.mask))
    if graph.lattice is not None:
        assert rest.positions is not None
        moved = moved._replace(positions=rest.positions + displacements)
    return jnp.sum(term(graph.with_geometry(moved)))


@eqx.filter_jit
def compiled_hessian(
    term: Term, graph: Graph, displacements: Float[Array, "atoms 3"]
) -> Float[Array, "atoms 3 atoms 3"]:
    gradient = jax.grad(lambda d: _displaced(term, graph, d))
    size = displacements.size
    rows = jax.lax.map(
        lambda column: jax.jvp(gradient, (displacements,), (column.reshape(displacements.shape),))[1],
        jnp.eye(size, dtype=displacements.dtype),
        batch_size=24,
    )
    return rows.reshape(*displacements.shape, *displacements.shape)


@eqx.filter_jit
def compiled_hvp(
    term: Term, graph: Graph, displacements: Float[Array, "atoms 3"], vector: Float[Array, "atoms 3"]
) -> Float[Array, "atoms 3"]:
    return jax.jvp(jax.grad(lambda d: _displaced(term, graph, d)), (displacements,), (vector,))[1]
