"""Potential: a term with its elements, on structures: energy, forces, stress, Hessian, Hessian-vector product; and the
same inside compiled code."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols

from so3krates._errors import InputError
from so3krates._precision import checked_dtype, precision_scope
from so3krates._typing import Array, Float, Int
from so3krates.derivatives import GraphResult, compiled, compiled_hessian, compiled_hvp
from so3krates.graph import Graph, PairList, PairLists, Sizes, make_graph
from so3krates.inference import for_inference
from so3krates.model import SO3krates
from so3krates.neighbors.host import find_pair_lists
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.mesh import points
from so3krates.physics.dispersion import Dispersion
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.physics.free_atoms import LAST_FREE_ATOM
from so3krates.physics.full_range import FullRangeElectrostatics
from so3krates.prediction import ElementTable, Prediction, dipole
from so3krates.system import System, impossible_spin, in_empty_box
from so3krates.term import PropertyTerm, Sum, Term

if TYPE_CHECKING:
    import so3krates.interfaces.ase


NEUTRAL = 1e-5
"""e; what given charges may add up to and still be called neutral, in float32."""
PERIODIC_CUTOFF, MOLECULAR_CUTOFF = 12.0, 1000.0
"""Å; of long-range terms, as SO3LR's authors use them."""


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
    long_range_cutoff: float | None = None
    """Å; None: 12 Å for periodic structures, and for molecules 1000 Å, which is none. A model without long-range terms
    makes nothing of it."""
    isolated: bool | None = None
    """Whether long-range terms ignore the cell: always, never, or (None) where the cell is so large and empty that it
    only stands for vacuum."""
    tolerance: float | None = None
    """eV/Å; by how much tables in place of the network's radial functions may change forces. None: no tables, and no
    compiled kernel, which works with them."""

    def __repr__(self) -> str:
        names = " + ".join(term.name for term in self._terms)
        elements = (
            "any element" if self.elements is None else " ".join(chemical_symbols[z] for z in self.elements.numbers)
        )
        count = sum(leaf.size for leaf in jax.tree.leaves(self.model) if eqx.is_inexact_array(leaf))
        tables = "exact" if self.tolerance is None else f"tables within {self.tolerance:g} eV/Å"
        return f"Potential({names}; {elements}; cutoff {self.cutoff:g} Å; {self.dtype}; {count:,} parameters; {tables})"

    def __getstate__(self) -> dict[str, Any]:
        """Without what is made for this processor alone."""
        return {name: value for name, value in self.__dict__.items() if name != "fast"}

    @property
    def cutoff(self) -> float:
        return self.model.cutoff

    @cached_property
    def fast(self) -> Term:
        """The model that predictions and dynamics evaluate: `model` itself, or made ready for inference within the
        tolerance. It can be differentiated once; training, Hessians and files take `model`.

        Raises:
            InputError: for a tolerance that is not positive, or finer than any table.
        """
        return self.model if self.tolerance is None else for_inference(self.model, self.tolerance)

    @property
    def _terms(self) -> tuple[Term, ...]:
        return self.model.terms if isinstance(self.model, Sum) else (self.model,)

    @property
    def predicts_charges(self) -> bool:
        """Whether predictions hold charges and a dipole."""
        return isinstance(self.model, PropertyTerm) and self.model.predicts_charges

    @property
    def predicts_ratios(self) -> bool:
        """Whether predictions hold Hirshfeld ratios."""
        return isinstance(self.model, PropertyTerm) and self.model.predicts_ratios

    def far_cutoff(self, system: System) -> float | None:
        """The long-range cutoff for a structure, Å; None for a model without long-range terms."""
        if not self.model.long_range:
            return None
        if self.long_range_cutoff is not None:
            return self.long_range_cutoff
        return PERIODIC_CUTOFF if self.treated(system).periodic else MOLECULAR_CUTOFF

    def treated(self, system: System) -> System:
        """The structure as long-range terms see it: without a cell if that is only vacuum."""
        if not (self.looks_far and system.periodic):
            return system
        empty = in_empty_box(system)
        if self.isolated and not empty and in_empty_box(system, wrapped=True):
            raise InputError(
                f"{system.formula} lies across the faces of its cell, so that its atoms as they are given are no whole "
                "molecule; shift it to the middle of the cell to take it as isolated."
            )
        isolated = empty if self.isolated is None else self.isolated
        return system.without_cell() if isolated else system

    @property
    def looks_far(self) -> bool:
        """Whether any term sees more than the near pairs."""
        return self.model.long_range or self.model.mesh_spacing is not None

    def _near(self, system: System) -> System:
        """The structure as the network sees it: with its cell, unless that is only vacuum."""
        treated = self.treated(system)
        return treated if treated is system or in_empty_box(system) else system

    def remark(self, system: System) -> str | None:
        """What `remarks` says, as one text."""
        return " ".join(self.remarks(system).values()) or None

    def remarks(self, system: System) -> dict[str, str]:
        """A sentence by its kind where a structure is not treated as it is given, or as one would expect: it is taken
        as isolated, lies across the faces of its cell, or cannot have the charge and spin that the model embeds."""
        found = {}
        if self.looks_far and self.isolated is None:
            found = self._remark_on_cell(system)
        spin = impossible_spin(system) if self._embeds_electrons else None
        return found if spin is None else found | {"electrons": spin}

    def _remark_on_cell(self, system: System) -> dict[str, str]:
        if self.treated(system) is not system:
            return {
                "isolated": f"{system.formula} lies in a cell that is far larger than it is, and empty: taken as "
                f"isolated, with a long-range cutoff of {self.far_cutoff(system):g} Å; isolated=False (--no-isolated) "
                "keeps the cell."
            }
        if not (system.periodic and in_empty_box(system, wrapped=True)):
            return {}
        return {
            "across faces": f"{system.formula} lies across the faces of a cell that is far larger than it is: taken as "
            f"periodic, with a long-range cutoff of {self.far_cutoff(system):g} Å; shift it to the middle of the cell "
            "to have it taken as isolated."
        }

    @property
    def _embeds_electrons(self) -> bool:
        networks = [term.config for term in self._terms if isinstance(term, SO3krates)]
        return any(config.charge_embedding or config.spin_embedding for config in networks)

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
        if (
            any(isinstance(term, Dispersion) for term in self._terms)
            and np.max(system.numbers, initial=0) > LAST_FREE_ATOM
        ):
            raise InputError(
                f"{system.formula} holds element {system.numbers.max()}, for which dispersion has no free-atom values; "
                f"they end at {LAST_FREE_ATOM}."
            )
        if self.elements is None:
            return
        unknown = sorted(set(system.numbers.tolist()) - set(self.elements.numbers))
        if unknown:
            raise InputError(
                f"{system.formula} holds {', '.join(chemical_symbols[z] for z in unknown)}, but the model knows only "
                f"{', '.join(chemical_symbols[z] for z in self.elements.numbers)}; train it on data with these "
                "elements."
            )

    def find_pairs(self, system: System) -> PairLists:
        """The pairs of a structure that this potential needs.

        Raises:
            InputError: for an element the model does not know, or atoms on top of each other.
        """
        self.check(system)
        pairs = self.pair_lists(system)
        _refuse_coincident(system, pairs.near if self.cutoff or pairs.far is None else pairs.far)
        return pairs

    def pair_lists(self, system: System) -> PairLists:
        """The same without any check."""
        lists = find_pair_lists(self._near(system), self.cutoff, self.far_cutoff(system), self.treated(system))
        return lists._replace(mesh=self.mesh(system))

    def allocate(self, system: System) -> Neighbors:
        """Neighbour lists for compiled code, for structures like this one."""
        lists = Neighbors.of(self._near(system), self.cutoff, self.far_cutoff(system), self.treated(system))
        return replace(lists, mesh=self.mesh(system), mesh_spacing=self.model.mesh_spacing or 0.0)

    def mesh(self, system: System) -> tuple[int, int, int]:
        """Points along the cell vectors for sums over all periodic images; zeros where no term makes any.

        Raises:
            InputError: for a structure that is charged or not periodic along all axes, if a term makes such sums.
        """
        spacing = self.model.mesh_spacing
        if spacing is None:
            return (0, 0, 0)
        _refuse_without_images(system, self.treated(system))
        for term in self._terms:
            if isinstance(term, FixedCharges) and abs(term.total(system.numbers)) > NEUTRAL:
                raise InputError(
                    f"the fixed charges of {system.formula} add up to {term.total(system.numbers):g} e; the sum over "
                    "all periodic images needs charges that add up to zero."
                )
        assert system.cell is not None
        return points(np.linalg.norm(system.cell, axis=1), spacing)

    def full_range(self) -> "Potential":
        """The same potential with electrostatics summed over all periodic images instead of cut off.

        For neutral structures that are periodic along all axes. Weights such as SO3LR's were fitted with the cutoff
        form.

        Raises:
            InputError: if the model has no electrostatics.
        """
        if any(isinstance(term, FullRangeElectrostatics) for term in self._terms):
            return self
        if not any(isinstance(term, Electrostatics) for term in self._terms):
            raise InputError("the model has no electrostatics that could be summed over all periodic images.")
        replaced = (
            FullRangeElectrostatics(term.width) if isinstance(term, Electrostatics) else term for term in self._terms
        )
        return replace(self, model=Sum(tuple(replaced)))

    def predict(
        self, systems: list[System], sizes: Sizes | None = None, lists: list[PairLists] | None = None
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
            graph = replace(make_graph(systems, lists, self.dtype, sizes), purpose="inference")
            result = jax.device_get(compiled(self.fast, graph))
        starts = np.cumsum([0, *map(len, systems)]).tolist()
        return [self._split(system, n, starts[n], result) for n, system in enumerate(systems)]

    def _split(self, system: System, n: int, start: int, result: GraphResult) -> Prediction:
        atoms = slice(start, start + len(system))
        references = self.elements.of(system.numbers) if self.elements else np.zeros(len(system))
        outputs = jax.tree.map(lambda values: np.asarray(values[atoms], np.float64), result.outputs)
        stress = None
        if system.cell is not None:
            virial = np.asarray(result.virial[n], np.float64)
            stress = 0.5 * (virial + virial.T) / abs(np.linalg.det(system.cell))
        return Prediction(
            float(outputs.energies.sum() + references.sum()),
            outputs.energies + references,
            np.asarray(result.forces[atoms], np.float64),
            stress,
            {name: float(values.sum()) for name, values in outputs.components.items()},
            outputs.charges,
            None if outputs.charges is None else dipole(system, outputs.charges),
            outputs.hirshfeld_ratios,
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
            return np.asarray(jax.device_get(compiled_hessian(self.model, graph, positions)), np.float64)

    def hvp(self, system: System, vector: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms 3"]:
        """Hessian times a vector of displacements, without making the Hessian."""
        vector = np.asarray(vector)
        if vector.shape != system.positions.shape:
            raise InputError(f"vector has shape {vector.shape}; expected {system.positions.shape}.")
        with precision_scope(self.dtype):
            graph, positions = _at_rest(self, system)
            result = compiled_hvp(self.model, graph, positions, jnp.asarray(vector, self.dtype))
            return np.asarray(jax.device_get(result), np.float64)

    def ase(self) -> "so3krates.interfaces.ase.SO3kratesCalculator":
        """An ASE calculator: energy, free energy, forces, stress and per-atom energies."""
        from so3krates.interfaces.ase import SO3kratesCalculator

        return SO3kratesCalculator(self)


def _refuse_without_images(system: System, treated: System) -> None:
    instead = "use electrostatics with a cutoff (without full_range, --full-range)."
    if system.charge:
        raise InputError(
            f"{system.formula} has a total charge of {system.charge:g} e; the sum over all its periodic images is "
            f"infinite, and a background that cancels it is no part of the model; {instead}"
        )
    if not all(treated.pbc):
        axes = ", ".join(name for name, periodic in zip("abc", treated.pbc, strict=True) if periodic)
        raise InputError(
            f"{system.formula} is {f'periodic along {axes} only' if axes else 'taken as isolated'}; electrostatics "
            f"over all periodic images needs three periodic axes; {instead}"
        )


def _refuse_coincident(system: System, pairs: PairList) -> None:
    squared = np.einsum("pc,pc->p", pairs.vectors, pairs.vectors)
    if len(squared) and squared.min() < 1e-6:
        worst = int(np.argmin(squared))
        i, j = int(pairs.centers[worst]), int(pairs.others[worst])
        raise InputError(f"atoms {i} and {j} of {system.formula} lie on top of each other; check the structure.")


def _at_rest(potential: Potential, system: System) -> tuple[Graph, Float[Array, "atoms 3"]]:
    """A graph with the exact atoms and pairs of a structure, and displacements of zero."""
    pairs = potential.find_pairs(system)
    sizes = Sizes.of([system], [pairs])._replace(atoms=len(system))
    graph = make_graph([system], [pairs], potential.dtype, sizes)
    return graph, jnp.zeros((len(system), 3), potential.dtype)
