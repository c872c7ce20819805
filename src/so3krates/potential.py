"""Potential: the only place that differentiates. Energy, forces, stress, Hessian, Hessian-vector product.

Forces are scattered gradients with respect to pair vectors, F_i = Σ_j ∂E/∂r_ij − Σ_j ∂E/∂r_ji, and the stress is
σ = (1/|det H|) Σ_pairs r ⊗ ∂E/∂r, positive under tension as in ASE.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._precision import checked_dtype, precision_scope
from so3krates._typing import Array, Bool, Float, Int
from so3krates.config import Config
from so3krates.graph import Graph, PairList, Sizes, make_graph, pair_vectors, scatter_pairs
from so3krates.neighbors.dense import DenseNeighbors
from so3krates.neighbors.host import find_pairs
from so3krates.system import System

if TYPE_CHECKING:
    import so3krates.interfaces.ase


@runtime_checkable
class Term(Protocol):
    """An energy on graphs: the network, an analytic pair term, or a `Sum`. An immutable pytree."""

    @property
    def cutoff(self) -> float:
        """Largest pair distance that matters, Å."""
        ...

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """Per-atom energies in eV; exact zeros for padding."""
        ...


class Sum(eqx.Module):
    """The sum of several terms. Each sees all pairs up to the largest cutoff and ignores those beyond its own."""

    terms: tuple[Term, ...]

    @property
    def cutoff(self) -> float:
        return max(term.cutoff for term in self.terms)

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        return sum((term(graph) for term in self.terms[1:]), start=self.terms[0](graph))


class GraphResult(NamedTuple):
    """Energies and their derivatives on a graph."""

    energies: Float[Array, " atoms"]
    forces: Float[Array, "atoms 3"]
    virial: Float[Array, "structures 3 3"]
    """Σ r ⊗ ∂E/∂r = V σ of each structure, eV."""


def energies_and_forces(term: Term, graph: Graph) -> GraphResult:
    """Per-atom energies, forces and V·σ of every structure of a graph; pure, to be called inside `jax.jit`."""

    def total(vectors: Float[Array, "pairs 3"]) -> tuple[Float[Array, ""], Float[Array, " atoms"]]:
        energies = term(graph.with_vectors(vectors))
        return jnp.sum(energies), energies

    gradient, energies = jax.grad(total, has_aux=True)(graph.vectors)
    forces = scatter_pairs(gradient, -gradient, graph)
    outer = graph.vectors[:, :, None] * gradient[:, None, :]
    virial = jax.ops.segment_sum(outer, graph.structure[graph.centers], graph.structures)
    return GraphResult(energies, forces, virial)


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
    overflow: Bool[Array, ""]


def evaluate(
    term: Term,
    topology: Topology,
    neighbors: DenseNeighbors,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
) -> Evaluation:
    """Neighbour search, energy and forces at `positions`: one pure function for dynamics and relaxation."""
    pairs = neighbors.update(positions, cell)
    graph = Graph(
        vectors=pairs.vectors,
        centers=pairs.centers,
        others=pairs.others,
        pair_mask=pairs.mask,
        numbers=topology.numbers,
        atom_mask=jnp.ones(topology.numbers.shape, bool),
        structure=jnp.zeros(topology.numbers.shape, jnp.int32),
        charge=topology.charge[None],
        unpaired=topology.unpaired[None],
    )
    result = energies_and_forces(term, graph)
    squared = jnp.sum(pairs.vectors * pairs.vectors, axis=-1)
    closest = jnp.sqrt(jnp.min(jnp.where(pairs.mask, squared, neighbors.cutoff**2)))
    return Evaluation(jnp.sum(result.energies), result.forces, result.virial[0], closest, pairs.overflow)


class ElementTable(Config):
    """Elements a potential knows and the constant reference energy of each, in eV."""

    numbers: tuple[int, ...]
    energies: tuple[float, ...]

    def of(self, numbers: Int[np.ndarray, " atoms"]) -> Float[np.ndarray, " atoms"]:
        """E_ref(Z_i) of each atom, in float64 on the host: these energies are too large for float32 differences."""
        table = dict(zip(self.numbers, self.energies, strict=True))
        return np.array([table[z] for z in numbers.tolist()], np.float64)


class Prediction(NamedTuple):
    """What a potential says about one structure; NumPy, float64."""

    energy: float
    """Total energy, eV."""
    energies: Float[np.ndarray, " atoms"]
    """Per-atom energies, reference energies included, eV."""
    forces: Float[np.ndarray, "atoms 3"]
    """eV/Å."""
    stress: Float[np.ndarray, "3 3"] | None
    """eV/Å³, tension positive; None without a cell."""


@dataclass(frozen=True, eq=False)
class Potential:
    """A term with its element table: what `load` returns and every engine uses.

    Results for structures are float64 NumPy; the arithmetic inside has the precision of the parameters. It lives on
    the host; what compiled code takes is its `model`.
    """

    model: Term
    elements: ElementTable | None = None
    """None: an analytic term that takes every element and has no reference energies."""
    provenance: str = "{}"
    """How the model was made, JSON."""

    @property
    def cutoff(self) -> float:
        return self.model.cutoff

    @cached_property
    def dtype(self) -> np.dtype:
        leaves = [leaf for leaf in jax.tree.leaves(self.model) if eqx.is_inexact_array(leaf)]
        return np.dtype(leaves[0].dtype) if leaves else np.dtype("float32")

    def astype(self, dtype: object) -> "Potential":
        """The same potential with parameters, and hence arithmetic, in another precision."""
        target = checked_dtype(dtype)
        with precision_scope(target):
            model = jax.tree.map(
                lambda leaf: jnp.asarray(leaf, target) if eqx.is_inexact_array(leaf) else leaf, self.model
            )
        return replace(self, model=model)

    def reference_energy(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """Sum of the elements' reference energies, eV."""
        return 0.0 if self.elements is None else float(self.elements.of(numbers).sum())

    def check(self, system: System) -> None:
        """Raise InputError if the structure holds an element the model was not made for, or is none of ours."""
        if not isinstance(system, System):
            raise InputError(f"expected a System, received {type(system).__name__}; use System.from_ase(atoms).")
        if self.elements is None:
            return
        unknown = sorted(set(system.numbers.tolist()) - set(self.elements.numbers))
        if unknown:
            from ase.data import chemical_symbols as symbol

            raise InputError(
                f"{system.formula} holds {', '.join(symbol[z] for z in unknown)}, but the model knows only "
                f"{', '.join(symbol[z] for z in self.elements.numbers)}; train it on data with these elements."
            )

    def find_pairs(self, system: System) -> PairList:
        """The pairs of a structure that this potential needs.

        Raises:
            InputError: for an element the model does not know, or atoms on top of each other.
        """
        self.check(system)
        pairs = find_pairs(system, self.cutoff)
        _refuse_coincident(system, pairs)
        return pairs

    def predict(
        self, systems: list[System], sizes: Sizes | None = None, lists: list[PairList] | None = None
    ) -> list[Prediction]:
        """Energies, forces and stresses of several structures, evaluated as one padded batch.

        Args:
            systems: the structures.
            sizes: padded sizes of the batch; the smallest bucket that fits if not given.
            lists: what `find_pairs` gave for each structure, if that is known already.

        Raises:
            InputError: for an element the model does not know, or atoms on top of each other.
        """
        if not systems:
            return []
        lists = lists or [self.find_pairs(system) for system in systems]
        with precision_scope(self.dtype):
            result = jax.device_get(_compiled(self.model, make_graph(systems, lists, self.dtype, sizes)))
        starts = np.cumsum([0, *map(len, systems)]).tolist()
        return [self._split(system, n, starts[n], result) for n, system in enumerate(systems)]

    def _split(self, system: System, n: int, start: int, result: GraphResult) -> Prediction:
        atoms = slice(start, start + len(system))
        references = self.elements.of(system.numbers) if self.elements else np.zeros(len(system))
        energies = np.asarray(result.energies[atoms], np.float64)
        stress = None
        if system.cell is not None:
            virial = np.asarray(result.virial[n], np.float64)
            stress = 0.5 * (virial + virial.T) / abs(np.linalg.det(system.cell))
        return Prediction(
            float(energies.sum() + references.sum()),
            energies + references,
            np.asarray(result.forces[atoms], np.float64),
            stress,
        )

    def energy(self, system: System) -> float:
        """Total energy, eV."""
        return self.predict([system])[0].energy

    def energy_and_forces(self, system: System) -> tuple[float, Float[np.ndarray, "atoms 3"]]:
        """Total energy in eV and forces in eV/Å."""
        prediction = self.predict([system])[0]
        return prediction.energy, prediction.forces

    def stress(self, system: System) -> Float[np.ndarray, "3 3"]:
        """Stress in eV/Å³, tension positive.

        Raises:
            InputError: for a structure without a periodic cell.
        """
        stress = self.predict([system])[0].stress
        if stress is None:
            raise InputError(f"{system.formula} has no periodic cell, hence no stress.")
        return stress

    def hessian(self, system: System) -> Float[np.ndarray, "atoms 3 atoms 3"]:
        """Second derivatives of the energy with respect to the positions, eV/Å²."""
        with precision_scope(self.dtype):
            graph, positions = _at_rest(self, system)
            return np.asarray(jax.device_get(_compiled_hessian(self.model, graph, positions)), np.float64)

    def hvp(self, system: System, vector: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms 3"]:
        """Hessian times a vector of displacements, without making the Hessian."""
        vector = np.asarray(vector)
        if vector.shape != system.positions.shape:
            raise InputError(f"vector has shape {vector.shape}; expected {system.positions.shape}.")
        with precision_scope(self.dtype):
            graph, positions = _at_rest(self, system)
            result = _compiled_hvp(self.model, graph, positions, jnp.asarray(vector, self.dtype))
            return np.asarray(jax.device_get(result), np.float64)

    def ase(self) -> "so3krates.interfaces.ase.SO3kratesCalculator":
        """An ASE calculator: energy, free energy, forces, stress and per-atom energies."""
        from so3krates.interfaces.ase import SO3kratesCalculator

        return SO3kratesCalculator(self)


_compiled = eqx.filter_jit(energies_and_forces)


def _refuse_coincident(system: System, pairs: PairList) -> None:
    squared = np.einsum("pc,pc->p", pairs.vectors, pairs.vectors)
    if len(squared) and squared.min() < 1e-6:
        worst = int(np.argmin(squared))
        i, j = int(pairs.centers[worst]), int(pairs.others[worst])
        raise InputError(f"atoms {i} and {j} of {system.formula} lie on top of each other; check the structure.")


def _at_rest(potential: Potential, system: System) -> tuple[Graph, Float[Array, "atoms 3"]]:
    """A graph with the exact atoms and pairs of a structure, and displacements of zero."""
    pairs = potential.find_pairs(system)
    sizes = Sizes(1, len(system), Sizes.of([system], [pairs]).pairs)
    graph = make_graph([system], [pairs], potential.dtype, sizes)
    return graph, jnp.zeros((len(system), 3), potential.dtype)


def _displaced(term: Term, graph: Graph, displacements: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    vectors = graph.vectors + pair_vectors(displacements, None, graph.centers, graph.others, None)
    return jnp.sum(term(graph.with_vectors(vectors)))


@eqx.filter_jit
def _compiled_hessian(
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
def _compiled_hvp(
    term: Term, graph: Graph, displacements: Float[Array, "atoms 3"], vector: Float[Array, "atoms 3"]
) -> Float[Array, "atoms 3"]:
    return jax.jvp(jax.grad(lambda d: _displaced(term, graph, d)), (displacements,), (vector,))[1]
