"""Neighbour search, energy and forces as one pure function of positions, for loops in compiled code."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from so3krates._typing import Array, Float, Int
from so3krates.derivatives import energies_and_forces
from so3krates.graph import Graph, Lattice
from so3krates.long_range import AllPairs, LongRangePairs
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import combined
from so3krates.neighbors.pairs import Pairs
from so3krates.neighbors.verlet_state import VerletState
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
    verlet: VerletState | None = None
    """Reference and candidates of Verlet lists for the next step; None if none were given."""


def evaluate(
    term: Term,
    topology: Topology,
    neighbors: Neighbors,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
    verlet: VerletState | None = None,
) -> Evaluation:
    """Neighbour search, energy and forces at `positions`: one pure function for dynamics and relaxation.

    Under `jax.vmap` over positions and cells, the replicas become one graph of many structures: a model, and the
    compiled kernel, work on all their atoms at once. They keep no candidates.
    """
    arrays, static = eqx.partition((term, topology), eqx.is_array)

    @jax.custom_batching.custom_vmap
    def single(arrays: Any, positions: Array, cell: Array | None, verlet: VerletState | None) -> Evaluation:
        term, topology = eqx.combine(arrays, static)
        found = neighbors.update(positions, cell, verlet)
        far = None if found.far is None else found.far.as_long_range(neighbors.far_cutoff)
        searched = JoinedPairs(found.near, far, neighbors.closest(found)[None], found.overflow[None])
        cells = None if cell is None else cell[None]
        result = _evaluate(term, topology, neighbors, positions[None], cells, searched)
        return jax.tree.map(lambda leaf: leaf[0], result)._replace(verlet=found.verlet)

    @single.def_vmap
    def many(
        size: int, batched: Any, arrays: Any, positions: Array, cell: Array | None, verlet: VerletState | None
    ) -> tuple[Evaluation, Any]:
        model, at, box, _ = batched
        assert not any(jax.tree.leaves(model)), "replicas share their model"
        assert verlet is None, "replicas keep no candidates"
        if size == 1:
            one, here = positions[0] if at else positions, cell[0] if cell is not None and box else cell
            alone = single(arrays, one, here, None)
            return jax.tree.map(lambda leaf: leaf[None], alone), jax.tree.map(lambda _: True, alone)
        term, topology = eqx.combine(arrays, static)
        positions = positions if at else jnp.broadcast_to(positions, (size, *positions.shape))
        if cell is not None and not box:
            cell = jnp.broadcast_to(cell, (size, 3, 3))
        found = _evaluate(term, topology, neighbors, positions, cell, _search(neighbors, positions, cell))
        return found, jax.tree.map(lambda _: True, found)

    return single(arrays, positions, cell, verlet)


class JoinedPairs(NamedTuple):
    """Pairs of all replicas as one list, and of each replica what else the search tells."""

    near: Pairs
    far: LongRangePairs | AllPairs | None
    closest: Float[Array, " replicas"]
    overflow: Int[Array, " replicas"]


def _evaluate(
    term: Term,
    topology: Topology,
    neighbors: Neighbors,
    positions: Float[Array, "replicas atoms 3"],
    cells: Float[Array, "replicas 3 3"] | None,
    searched: JoinedPairs,
) -> Evaluation:
    """Every field with a leading axis of replicas."""
    replicas, atoms, _ = positions.shape
    near, far, closest, overflow = searched
    lattice = None
    if all(neighbors.mesh):
        assert cells is not None
        lattice = Lattice(positions.reshape(-1, 3), cells, neighbors.mesh)
    graph = Graph(
        vectors=near.vectors,
        centers=near.centers,
        others=near.others,
        pair_mask=near.mask,
        numbers=jnp.tile(topology.numbers, replicas),
        atom_mask=jnp.ones((replicas * atoms,), bool),
        structure=jnp.arange(replicas * atoms, dtype=jnp.int32) // atoms,
        charge=jnp.full((replicas,), topology.charge),
        unpaired=jnp.full((replicas,), topology.unpaired),
        long_range=far,
        lattice=lattice,
        purpose="inference",
    )
    result = energies_and_forces(term, graph)

    def apart(values: Array) -> Array:
        return values.reshape(replicas, atoms, *values.shape[1:])

    outputs = jax.tree.map(apart, result.outputs)
    return Evaluation(
        energy=jnp.sum(outputs.energies, axis=1),
        forces=apart(result.forces),
        virial=result.virial,
        closest=closest,
        overflow=overflow,
        outputs=outputs,
    )


def _search(
    neighbors: Neighbors, positions: Float[Array, "replicas atoms 3"], cells: Float[Array, "replicas 3 3"] | None
) -> JoinedPairs:
    replicas, atoms, _ = positions.shape

    def search(positions: Array, cell: Array | None) -> tuple[Pairs, Pairs | None, Array, Array]:
        found = neighbors.update(positions, cell)
        return found.near, found.far, neighbors.closest(found), found.overflow

    near, far, closest, overflow = jax.vmap(search)(positions, cells)
    if far is not None:
        far = _joined(far, atoms).as_long_range(neighbors.far_cutoff, replicas)
    return JoinedPairs(_joined(near, atoms), far, closest, overflow)


def _joined(pairs: Pairs, atoms: int) -> Pairs:
    """The lists of all replicas, whose fields have a leading axis, as one list."""
    replicas, places = pairs.mask.shape
    first = jnp.repeat(atoms * jnp.arange(replicas, dtype=jnp.int32), places)
    return Pairs(
        vectors=pairs.vectors.reshape(-1, 3),
        centers=first + pairs.centers.reshape(-1),
        others=first + pairs.others.reshape(-1),
        mask=pairs.mask.reshape(-1),
        overflow=combined(pairs.overflow),
    )
