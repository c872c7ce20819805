"""Electrostatics and dispersion for inference on a CPU: both in one pass over the long-range pairs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.nn.fused import Variant
from so3krates.physics.dispersion import (
    DAMPING_LENGTH,
    FINE_STRUCTURE,
    SWITCH_WIDTH,
    WIDTH_POLYNOMIAL,
    Dispersion,
    by_number,
)
from so3krates.physics.electrostatics import SWITCH_FROM, Electrostatics
from so3krates.physics.far_kernel import Constants, FarPairs, PairedAtoms, far_energies
from so3krates.physics.free_atoms import C6_COEFFICIENTS, POLARIZABILITIES
from so3krates.term import AnalyticTerm, Outputs, Sum, Term
from so3krates.units import BOHR, COULOMB, HARTREE


class FusedLongRange(AnalyticTerm):
    """`Electrostatics`, `Dispersion` or both by the compiled kernel; differentiable once, for forces and stress.

    On other devices, and where energies are differentiated twice, the terms themselves.
    """

    name = "long_range"
    cutoff = 0.0
    predicts_charges = False
    predicts_ratios = False

    exact: tuple[Electrostatics | Dispersion, ...]
    """The terms that it stands for, each kind once at most, in their order in the sum."""
    variant: Variant = eqx.field(static=True)
    """Instruction set of the kernel."""

    @property
    def long_range(self) -> bool:
        return True

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """eV.

        Raises:
            InputError: if no term before this one gives the charges or the Hirshfeld ratios it needs.
        """
        return self.outputs(graph).energies

    def outputs(self, graph: Graph) -> Outputs:
        """The energies of each of the terms by its name.

        Raises:
            InputError: if no term before this one gives the charges or the Hirshfeld ratios it needs.
        """
        if not self._runs(graph):
            found = Sum(self.exact).outputs(graph)
            return Outputs(found.energies, found.components)
        assert graph.long_range is not None
        lengths = jnp.asarray(graph.long_range.lengths)
        atoms = self._atoms(graph, lengths.dtype)
        both = far_energies(lengths, atoms, FarPairs.of(graph, self.variant), self._constants)
        components = {term.name: both[int(isinstance(term, Dispersion))] for term in self.exact}
        energies = both[0] + both[1] if len(self.exact) > 1 else next(iter(components.values()))
        return Outputs(energies, components)

    def _runs(self, graph: Graph) -> bool:
        """Whether the kernel does; if something is missing, the terms themselves say what."""
        known = {Electrostatics: graph.charges, Dispersion: graph.hirshfeld_ratios}
        complete = graph.long_range is not None and all(known[type(term)] is not None for term in self.exact)
        return complete and graph.inference and jax.default_backend() == "cpu"

    def _atoms(self, graph: Graph, dtype: jnp.dtype) -> PairedAtoms:
        charges = alphas = periods = jnp.zeros(0, dtype)
        kinds = [type(term) for term in self.exact]
        if Electrostatics in kinds:
            charges = jnp.asarray(graph.charges, dtype)
        if Dispersion in kinds:
            numbers, ratios = jnp.asarray(graph.numbers), jnp.asarray(graph.hirshfeld_ratios, dtype)
            free, c6 = np.asarray(by_number(POLARIZABILITIES)), np.asarray(by_number(C6_COEFFICIENTS))
            alphas = jnp.asarray(free, dtype)[numbers] * jnp.where(graph.atom_mask, ratios, 1.0)
            periods = jnp.asarray(free * free / c6, dtype)[numbers]
        return PairedAtoms(charges, alphas, periods)

    @property
    def _constants(self) -> Constants:
        width, scale = Electrostatics().width, Dispersion().scale
        for term in self.exact:
            if isinstance(term, Electrostatics):
                width = term.width
            else:
                scale = term.scale
        return Constants(
            coulomb=COULOMB,
            bohr=BOHR,
            hartree=HARTREE,
            width=width,
            switch_from=SWITCH_FROM,
            switch_width=SWITCH_WIDTH,
            radius=FINE_STRUCTURE ** (-4.0 / 21.0),
            damping=scale * DAMPING_LENGTH,
            polynomial=WIDTH_POLYNOMIAL,
        )


def fused_terms(terms: tuple[Term, ...], variant: Variant) -> tuple[Term, ...]:
    """The same sum with electrostatics and dispersion by the kernel: together where they follow each other."""
    found: list[Term] = []
    for term in terms:
        # Exactly these classes: one derived from them may be something else.
        if not isinstance(term, Electrostatics | Dispersion) or type(term) not in (Electrostatics, Dispersion):
            found.append(term)
            continue
        before = found[-1] if found else None
        if isinstance(before, FusedLongRange) and len(before.exact) == 1 and type(before.exact[0]) is not type(term):
            found[-1] = FusedLongRange((*before.exact, term), variant)
        else:
            found.append(FusedLongRange((term,), variant))
    return tuple(found)


def push_variant(term: Term, graph: Graph) -> Variant | None:
    """The instruction set with which the kernel makes forces of the derivatives with respect to long-range lengths;
    None where no term of the sum uses it."""
    if not graph.inference or graph.long_range is None or jax.default_backend() != "cpu":
        return None
    terms = term.terms if isinstance(term, Sum) else (term,)
    inner = (each.variant if isinstance(each, FusedLongRange) else None for each in terms)
    return next((variant for variant in inner if variant is not None), None)
