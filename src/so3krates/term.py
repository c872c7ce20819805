"""Terms: energies on graphs, what they say besides, and their sum."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx

from so3krates._errors import InputError
from so3krates._typing import Array, Float
from so3krates.graph import Graph


class Outputs(NamedTuple):
    """Everything terms say about the atoms of a graph; exact zeros for padding."""

    energies: Float[Array, " atoms"]
    """eV."""
    components: Mapping[str, Float[Array, " atoms"]]
    """The parts of these energies, by the name of their term, eV."""
    charges: Float[Array, " atoms"] | None = None
    """Partial charges, e."""
    hirshfeld_ratios: Float[Array, " atoms"] | None = None
    """Volume of the atom in its surroundings over that of the free atom."""


@runtime_checkable
class Term(Protocol):
    """An energy on graphs: the network, an analytic pair term, or a `Sum`. An immutable pytree."""

    @property
    def name(self) -> str:
        """What its energy is called among the components of a sum."""
        ...

    @property
    def cutoff(self) -> float:
        """Largest distance that matters in the graph's pairs, Å; 0 for a term that looks at the long-range pairs
        alone."""
        ...

    @property
    def long_range(self) -> bool:
        """Whether the term needs the graph's long-range pairs."""
        ...

    @property
    def mesh_spacing(self) -> float | None:
        """Distance of mesh points that the term needs to sum over all periodic images, Å; None if it makes no such
        sum and needs no `lattice` in the graph."""
        ...

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """Per-atom energies in eV; exact zeros for padding."""
        ...


class AnalyticTerm(eqx.Module):
    """What terms without a network need unless they say otherwise: nothing beyond the graph's pairs."""

    @property
    def long_range(self) -> bool:
        return False

    @property
    def mesh_spacing(self) -> float | None:
        return None


@runtime_checkable
class PropertyTerm(Term, Protocol):
    """A term that predicts charges or Hirshfeld ratios with its energy."""

    @property
    def predicts_charges(self) -> bool:
        """Whether `outputs` holds charges."""
        ...

    @property
    def predicts_ratios(self) -> bool:
        """Whether `outputs` holds Hirshfeld ratios."""
        ...

    def outputs(self, graph: Graph) -> Outputs:
        """Energies and properties."""
        ...


def outputs_of(term: Term, graph: Graph) -> Outputs:
    """What any term says; what is not used costs nothing under `jax.jit`."""
    if isinstance(term, PropertyTerm):
        return term.outputs(graph)
    energies = term(graph)
    return Outputs(energies, {term.name: energies})


class Sum(eqx.Module):
    """The sum of several terms. Each ignores pairs beyond its own cutoff.

    Charges and Hirshfeld ratios that a term predicts are what the terms after it work with. Terms of the same name are
    one component.
    """

    terms: tuple[Term, ...]

    def __init__(self, terms: tuple[Term, ...]) -> None:
        """
        Raises:
            InputError: for no terms.
        """
        if not terms:
            raise InputError("a sum of no terms; there must be at least one.")
        self.terms = tuple(terms)

    @property
    def name(self) -> str:
        return "sum"

    @property
    def cutoff(self) -> float:
        return max(term.cutoff for term in self.terms)

    @property
    def long_range(self) -> bool:
        return any(term.long_range for term in self.terms)

    @property
    def mesh_spacing(self) -> float | None:
        return min((term.mesh_spacing for term in self.terms if term.mesh_spacing is not None), default=None)

    @property
    def predicts_charges(self) -> bool:
        return any(isinstance(term, PropertyTerm) and term.predicts_charges for term in self.terms)

    @property
    def predicts_ratios(self) -> bool:
        return any(isinstance(term, PropertyTerm) and term.predicts_ratios for term in self.terms)

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        return self.outputs(graph).energies

    def outputs(self, graph: Graph) -> Outputs:
        """Energies of every term by name, and the properties predicted last."""
        components: dict[str, Float[Array, " atoms"]] = {}
        for term in self.terms:
            said = outputs_of(term, graph)
            for name, energies in said.components.items():
                components[name] = components[name] + energies if name in components else energies
            graph = graph.with_properties(said.charges, said.hirshfeld_ratios)
        energies = sum(list(components.values())[1:], start=next(iter(components.values())))
        return Outputs(energies, components, graph.charges, graph.hirshfeld_ratios)
