"""Neighbour search, energy and forces as one pure function of positions, for loops in compiled code."""

from typing import NamedTuple

import jax.numpy as jnp

from so3krates._typing import Array, Float, Int
from so3krates.derivatives import energies_and_forces
from so3krates.graph import Graph, Lattice
from so3krates.neighbors.lists import Neighbors
from so3krates.system import System
from so3krates.term import Outputs, Term


class Topology(NamedTuple):
    """What stays the same while a structure moves; arrays for compiled code."""

    numbers: Int[Array, " atoms"]
    charge: Float[Array, ""]
    unpaired: Float[Array, ""]

    @classmethod
    def of(cls, system: System, dtype: object) -> "Topology":
        return cls(
            jnp.asarray(system.numbers, jnp.int32),
            jnp.asarray(system.charge, dtype),  # type: ignore[arg-type]
            jnp.asarray(system.unpaired, dtype),  # type: ignore[arg-type]
        )


class Evaluation(NamedTuple):
    """Result of one evaluation inside compiled code."""

    energy: Float[Array, ""]
    """eV, without the reference energies of the elements."""
    forces: Float[Array, "atoms 3"]
    virial: Float[Array, "3 3"]
    closest: Float[Array, ""]
    """Smallest distance between two atoms, Å; the cutoff if there is no pair."""
    overflow: Int[Array, ""]
    """Not zero: the result is invalid; why, says `neighbors/overflow.py`."""
    outputs: Outputs
    """Per atom: energies, their components, charges, Hirshfeld ratios."""


def evaluate(
    term: Term,
    topology: Topology,
    neighbors: Neighbors,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
) -> Evaluation:
    """Neighbour search, energy and forces at `positions`: one pure function for dynamics and relaxation."""
    found = neighbors.update(positions, cell)
    near, far = found.near, found.far
    lattice = None
    if all(neighbors.mesh):
        assert cell is not None
        lattice = Lattice(positions, cell[None], neighbors.mesh)
    graph = Graph(
        vectors=near.vectors,
        centers=near.centers,
        others=near.others,
        pair_mask=near.mask,
        numbers=topology.numbers,
        atom_mask=jnp.ones(topology.numbers.shape, bool),
        structure=jnp.zeros(topology.numbers.shape, jnp.int32),
        charge=topology.charge[None],
        unpaired=topology.unpaired[None],
        long_range=None if far is None else far.as_long_range(neighbors.far_cutoff),
        lattice=lattice,
        purpose="inference",
    )
    result = energies_and_forces(term, graph)
    return Evaluation(
        energy=jnp.sum(result.energies),
        forces=result.forces,
        virial=result.virial[0],
        closest=neighbors.closest(found),
        overflow=found.overflow,
        outputs=result.outputs,
    )
