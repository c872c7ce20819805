"""The physical invariants every potential must obey, public so that any potential can be held against them.

Each function evaluates the potential on a structure and raises AssertionError, with the deviation found and the one
allowed, if an invariant is broken. Tolerances are relative to the scale of the quantity in this structure: Σ|E_i| for
energies, the largest force of the structure and of a slightly displaced copy for forces. By default 1e-10 in float64 and
1e-4 in float32. Everything is evaluated in one padded size, so that few programs are compiled.

Example:
    >>> assert_potential_is_physical(potential, [molecule, crystal])
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from math import ceil
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._precision import precision_scope
from so3krates._typing import Array, Float
from so3krates.graph import Graph, Sizes, bucket, make_graph
from so3krates.neighbors.host import find_pairs
from so3krates.potential import GraphResult, Potential, Prediction, Term, energies_and_forces
from so3krates.system import System

TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
"""Relative, by precision of the arithmetic."""
DISPLACEMENT_A = 0.05
"""Å; of the copies that serve as a second, less symmetric structure."""


def assert_potential_is_physical(
    potential: Potential, systems: Sequence[System], *, tolerance: float | None = None
) -> None:
    """Run every check of this module that applies to each structure, all in one padded size.

    Wrapping and stress need periodic axes; separation needs an uncharged structure without them, because a total
    charge belongs to the whole structure.

    Args:
        potential: to be checked.
        systems: structures with at least two atoms each.
        tolerance: relative; the default of the potential's precision if not given.
    """
    sizes = room(potential, systems)
    for system in systems:
        assert_equivariant(potential, system, tolerance=tolerance, sizes=sizes)
        assert_translation_invariant(potential, system, tolerance=tolerance, sizes=sizes)
        assert_permutation_invariant(potential, system, tolerance=tolerance, sizes=sizes)
        assert_batching_invariant(potential, system, tolerance=tolerance, sizes=sizes)
        assert_padding_invariant(potential, system, sizes=sizes)
        assert_no_cross_frame_gradient(potential, system, sizes=sizes)
        assert_net_force_and_torque_zero(potential, system, tolerance=tolerance, sizes=sizes)
        assert_forces_are_gradients(potential, system, sizes=sizes)
        assert_smooth_at_cutoff(potential, system, sizes=sizes)
        assert_finite_second_derivatives(potential, system, sizes=sizes)
        if system.periodic:
            assert_wrapping_invariant(potential, system, tolerance=tolerance, sizes=sizes)
            assert_stress_is_strain_derivative(potential, system, sizes=sizes)
        elif system.charge == 0 and system.unpaired == 0:
            assert_separable(potential, system, tolerance=tolerance, sizes=sizes)


def room(potential: Potential, systems: Sequence[System]) -> Sizes:
    """Padded sizes in which every check on any of the structures fits: two copies and some spare pairs."""
    atoms = max(len(system) for system in systems)
    pairs = max(len(find_pairs(system, potential.cutoff).centers) for system in systems)
    return Sizes(2, bucket(2 * atoms), bucket(ceil(2.2 * pairs) + 4 * atoms))


def displaced(system: System, seed: int = 0, by_A: float = DISPLACEMENT_A) -> System:
    """A copy whose atoms are moved at random by normal deviates of `by_A` (Å)."""
    noise = np.random.default_rng(seed).normal(scale=by_A, size=system.positions.shape)
    return system.moved(system.positions + noise)


# --- symmetries -----------------------------------------------------------------------------------------------------


def assert_equivariant(
    potential: Potential,
    system: System,
    *,
    tolerance: float | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> None:
    """E(R r) = E(r), F(R r) = R F(r), σ → R σ Rᵀ for a random rotation R and for the reflection −R."""
    probe = _Probe.of(potential, system, tolerance, sizes)
    rotation = _random_rotation(np.random.default_rng(seed))
    for name, matrix in (("rotation", rotation), ("reflection", -rotation)):
        turned = replace(
            system,
            positions=system.positions @ matrix.T,
            cell=None if system.cell is None else system.cell @ matrix.T,
        )
        probe.compare(f"under {name}", turned, forces=lambda f, m=matrix: f @ m, stress=lambda s, m=matrix: m.T @ s @ m)


def assert_translation_invariant(
    potential: Potential,
    system: System,
    *,
    offset_A: float = 500.0,
    tolerance: float | None = None,
    sizes: Sizes | None = None,
) -> None:
    """Nothing changes when all atoms are moved together, be it by `offset_A` (Å) along every axis."""
    probe = _Probe.of(potential, system, tolerance, sizes)
    for offset in (np.array([0.123, -4.56, 7.89]), np.array([1.0, -1.0, 1.0]) * offset_A):
        probe.compare(f"under translation by {offset.tolist()} Å", system.moved(system.positions + offset))


def assert_permutation_invariant(
    potential: Potential,
    system: System,
    *,
    tolerance: float | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> None:
    """The order of the atoms does not matter: E stays, E_i and F_i follow their atoms."""
    probe = _Probe.of(potential, system, tolerance, sizes)
    order = np.random.default_rng(seed).permutation(len(system))
    if len(system) > 1 and (order == np.arange(len(system))).all():
        order = order[::-1]
    shuffled = replace(system, positions=system.positions[order], numbers=system.numbers[order])
    back = np.argsort(order)
    probe.compare("under permutation", shuffled, forces=lambda f: f[back], energies=lambda e: e[back])


def assert_wrapping_invariant(
    potential: Potential,
    system: System,
    *,
    tolerance: float | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> None:
    """Atoms moved by whole cell vectors, another basis of the same lattice, a cell repeated twice: the same crystal.

    The repeated cell has twice the energy, the same forces and the same stress.
    """
    if system.cell is None:
        raise InputError(f"{system.formula} has no periodic axis, so there is nothing to wrap.")
    probe = _Probe.of(potential, system, tolerance, sizes)
    rng = np.random.default_rng(seed)
    shifts = rng.integers(-3, 4, size=(len(system), 3)) * np.array(system.pbc)
    probe.compare("under shifts by lattice vectors", system.moved(system.positions + shifts @ system.cell))
    for a, b in combinations([axis for axis in range(3) if system.pbc[axis]], 2):
        cell = system.cell.copy()
        cell[a] += cell[b]
        probe.compare(f"with cell vector {a} replaced by its sum with {b}", replace(system, cell=cell))
    probe.compare_repeated(next(axis for axis in range(3) if system.pbc[axis]))


# --- batches and padding --------------------------------------------------------------------------------------------


def assert_batching_invariant(
    potential: Potential, system: System, *, tolerance: float | None = None, sizes: Sizes | None = None
) -> None:
    """A structure gives the same results alone and as first or second of a batch."""
    probe = _Probe.of(potential, system, tolerance, sizes)
    other = displaced(system, seed=1)
    for place, batch in enumerate(([system, other], [other, system])):
        prediction = potential.predict(batch, probe.sizes)[place]
        probe.compare_predictions(f"as number {place} of a batch", prediction)


def assert_padding_invariant(
    potential: Potential,
    system: System,
    *,
    tolerance: float | None = None,
    sizes: Sizes | Sequence[Sizes] | None = None,
) -> None:
    """Padding changes nothing: what it holds, bit for bit; how much there is of it, to rounding.

    The structure is evaluated in its smallest bucket and in each of `sizes` (by default with room for two copies),
    there with padding as `make_graph` makes it and once more with padding that holds elements, pair vectors and indices
    of random real atoms. Those two must agree in every bit, and padded atoms must have exact zeros.

    Results of different sizes agree to 100 ε relative (`tolerance` if given): the library that multiplies matrices
    chooses its kernel, and with it the order of a sum over features, by the number of rows.
    """
    probe = _Probe.of(potential, system, None, sizes if isinstance(sizes, Sizes) else None)
    allowed = 100.0 * float(np.finfo(potential.dtype).eps) if tolerance is None else tolerance
    natural = Sizes.of([system], [find_pairs(system, potential.cutoff)])
    reference = _evaluate(potential, _graph(potential, [system], natural))
    wanted = probe.sizes if sizes is None else sizes
    for each in [wanted] if isinstance(wanted, Sizes) else wanted:
        plain = _graph(potential, [system], each)
        result = _evaluate(potential, plain)
        what = f"{system.formula} padded to {each}"
        _same_bits(what, _evaluate(potential, _filled(plain, len(system))), result, len(system))
        probe.small("energy", f"padded to {each}", _excess(result.energies, reference.energies, len(system)), allowed)
        probe.small("forces", f"padded to {each}", _excess(result.forces, reference.forces, len(system)), allowed)


def assert_separable(
    potential: Potential,
    system: System,
    *,
    distance_A: float = 100.0,
    tolerance: float | None = None,
    sizes: Sizes | None = None,
) -> None:
    """Two fragments far apart: energies add, forces are those of the fragments alone."""
    if system.periodic:
        raise InputError(f"{system.formula} is periodic; its images cannot be taken apart.")
    probe = _Probe.of(potential, system, tolerance, sizes)
    other = displaced(system, seed=2)
    extent = np.ptp(system.positions, axis=0).max()
    far = other.moved(other.positions + np.array([extent + potential.cutoff + distance_A, 0.0, 0.0]))
    both = System(np.concatenate([system.positions, far.positions]), np.concatenate([system.numbers, other.numbers]))
    parts = [potential.predict([part], probe.sizes)[0] for part in (system, other)]
    whole = potential.predict([both], probe.sizes)[0]
    probe.small("energy", f"of two fragments {distance_A} Å apart", whole.energy - parts[0].energy - parts[1].energy)
    forces = np.concatenate([part.forces for part in parts])
    probe.small("forces", f"of two fragments {distance_A} Å apart", whole.forces - forces)


def assert_no_cross_frame_gradient(potential: Potential, system: System, *, sizes: Sizes | None = None) -> None:
    """∂E_A/∂r is exactly zero for every pair vector r of another structure B in the same batch, and for padding."""
    sizes = sizes or room(potential, [system])
    graph = _graph(potential, [system, displaced(system, seed=3)], sizes)
    mine = graph.atom_mask & (graph.structure == 0)
    weights = np.asarray(mine, potential.dtype)
    gradient = _vector_gradient(potential, graph, weights, np.zeros((graph.atoms, 3), potential.dtype))
    own = mine[graph.centers] & graph.pair_mask
    leaked = np.abs(gradient[~own]).max(initial=0.0)
    if leaked != 0.0:
        raise AssertionError(f"{system.formula}: the energy of one structure depends on another by {leaked:.3g} eV/Å.")
    _finite(system, "gradient with respect to pair vectors", gradient)


# --- derivatives ----------------------------------------------------------------------------------------------------


def assert_forces_are_gradients(
    potential: Potential,
    system: System,
    *,
    tolerance_eV_per_A: float | None = None,
    step_A: float = 5e-4,
    components: int = 12,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> None:
    """F = −∂E/∂r against four-point central differences of float64 energies.

    Args:
        potential: to be checked.
        system: the structure.
        tolerance_eV_per_A: absolute; 1e-6 eV/Å in float64, 1e-4 of the largest force in float32 if not given.
        step_A: of the differences, Å.
        components: number of force components compared, chosen at random.
        sizes: padded sizes.
        seed: of the choice.
    """
    probe = _Probe.of(potential, system, None, sizes)
    exact = potential.astype("float64")
    allowed = tolerance_eV_per_A or (1e-6 if potential.dtype == np.float64 else probe.tolerance * probe.force_scale)
    count = min(components, 3 * len(system))
    for flat in np.random.default_rng(seed).permutation(3 * len(system))[:count]:
        direction = np.zeros(3 * len(system))
        direction[flat] = 1.0
        step = direction.reshape(-1, 3)
        slope = _slope(exact, lambda h, step=step: system.moved(system.positions + h * step), step_A, probe.sizes)
        force = probe.prediction.forces.reshape(-1)[flat]
        _within(
            f"{system.formula}: force component {flat % 3} of atom {flat // 3}, {force:.9g} eV/Å, against the "
            f"difference quotient {-slope:.9g}",
            abs(force + slope),
            allowed,
        )


def assert_stress_is_strain_derivative(
    potential: Potential,
    system: System,
    *,
    tolerance: float | None = None,
    step: float = 1e-4,
    sizes: Sizes | None = None,
) -> None:
    """σ = (1/V) ∂E/∂ε against four-point central differences in the six strains, relative to the largest stress.

    `tolerance` is 1e-6 in float64 and 1e-4 in float32 if not given.
    """
    if system.cell is None:
        raise InputError(f"{system.formula} has no periodic axis, hence no stress.")
    probe = _Probe.of(potential, system, None, sizes)
    exact = potential.astype("float64")
    volume = abs(np.linalg.det(system.cell))
    allowed = (tolerance or (1e-6 if potential.dtype == np.float64 else probe.tolerance)) * probe.stress_scale
    assert probe.prediction.stress is not None
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5
        slope = _slope(exact, lambda h, e=strain: _strained(system, h * e), step, probe.sizes)
        found = probe.prediction.stress[a, b]
        _within(
            f"{system.formula}: stress {'xyz'[a]}{'xyz'[b]}, {found:.9g} eV/Å³, against the difference quotient "
            f"{slope / volume:.9g}",
            abs(found - slope / volume),
            allowed,
        )


def assert_smooth_at_cutoff(
    potential: Potential,
    system: System,
    *,
    tolerance: float = 1e-6,
    step_A: float = 1e-8,
    sizes: Sizes | None = None,
) -> None:
    """Energy and forces are continuous where a distance passes the cutoff; in float64.

    The pair whose distance is nearest to r_c is brought to r_c − δ and to r_c + δ. What remains of the difference in
    energy after the force's share 2δF is taken off must vanish, as must the difference in forces.
    """
    if len(system) < 2:
        raise InputError(f"{system.formula} has no pair of atoms to bring to the cutoff.")
    exact = potential.astype("float64")
    probe = _Probe.of(exact, system, tolerance, sizes)
    i, j, vector = _nearest_to_cutoff(system, potential.cutoff)
    direction = vector / np.linalg.norm(vector)
    ends = []
    for distance in (potential.cutoff - step_A, potential.cutoff + step_A):
        positions = system.positions.copy()
        positions[j] += distance * direction - vector
        ends.append(exact.predict([system.moved(positions)], probe.sizes)[0])
    inside, outside = ends
    work = -2.0 * step_A * float(0.5 * (inside.forces[j] + outside.forces[j]) @ direction)
    where = f"where the distance of atoms {i} and {j} passes the cutoff of {potential.cutoff} Å"
    # A wrong force shows to first order in δ, a jump to zeroth: the bound is a fraction of what the work itself is.
    scale = probe.energy_scale + max(np.abs(end.energies).sum() for end in ends)
    _within(f"{system.formula}: jump of the energy {where}", abs(outside.energy - inside.energy - work), 1e-10 * scale)
    peak = max(probe.force_scale, *(np.abs(end.forces).max() for end in ends))
    jump = np.abs(outside.forces - inside.forces).max()
    _within(f"{system.formula}: jump of the forces {where}", jump, tolerance * peak)


def assert_finite_second_derivatives(potential: Potential, system: System, *, sizes: Sizes | None = None) -> None:
    """Second derivatives are finite although padding is present.

    Looks at the gradient of Σ c·F, with random c on every atom, with respect to the pair vectors (the Hessian seen
    through the pairs) and with respect to the parameters (what training on forces needs); padded pairs must get exact
    zeros. Atoms of the first structure stand alone in the second, without any neighbour.
    """
    sizes = sizes or room(potential, [system])
    lonely = replace(system, positions=100.0 * potential.cutoff * np.arange(1, len(system) + 1)[:, None] * np.ones(3))
    graph = _graph(potential, [system, replace(lonely, cell=None, pbc=(False, False, False))], sizes)
    rng = np.random.default_rng(0)
    forces_weight = rng.normal(size=(graph.atoms, 3)).astype(potential.dtype)
    parameters, vectors = _derivatives(potential, graph, np.zeros(graph.atoms, potential.dtype), forces_weight)
    _finite(system, "second derivative with respect to pair vectors", vectors)
    if np.abs(vectors[~graph.pair_mask]).max(initial=0.0) != 0.0:
        raise AssertionError(f"{system.formula}: padded pairs have second derivatives that are not zero.")
    for path, leaf in jax.tree.leaves_with_path(parameters):
        _finite(system, f"derivative of the forces with respect to {jax.tree_util.keystr(path)}", leaf)


def assert_net_force_and_torque_zero(
    potential: Potential, system: System, *, tolerance: float | None = None, sizes: Sizes | None = None
) -> None:
    """Σ F = 0, and no torque: Σ r × F = 0 for a molecule, a symmetric Σ r ⊗ ∂E/∂r for a crystal.

    Tolerances are relative to the sum of the absolute values of the terms, and to at least one force scale.
    """
    probe = _Probe.of(potential, system, tolerance, sizes)
    forces = probe.prediction.forces
    total = probe.force_scale + np.abs(forces).sum()
    _within(f"{system.formula}: net force", np.abs(forces.sum(axis=0)).max(initial=0.0), probe.tolerance * total)
    virial = np.asarray(_evaluate(potential, _graph(potential, [system], probe.sizes)).virial[0], np.float64)
    size = np.abs(virial).max() + probe.force_scale
    _within(f"{system.formula}: torque of the pairs", np.abs(virial - virial.T).max(), probe.tolerance * size)
    if system.periodic or not len(system):
        return
    arms = system.positions - system.positions.mean(axis=0)
    torque = np.cross(arms, forces)
    size = np.abs(arms).max() * total
    _within(f"{system.formula}: torque", np.abs(torque.sum(axis=0)).max(), probe.tolerance * size)


# --- machinery ------------------------------------------------------------------------------------------------------


class _Probe(NamedTuple):
    """A structure's reference results, and the scales its deviations are measured by."""

    potential: Potential
    system: System
    sizes: Sizes
    tolerance: float
    prediction: Prediction
    energy_scale: float
    force_scale: float
    stress_scale: float

    @classmethod
    def of(cls, potential: Potential, system: System, tolerance: float | None, sizes: Sizes | None) -> "_Probe":
        sizes = sizes or room(potential, [system])
        here, near = (potential.predict([s], sizes)[0] for s in (system, displaced(system)))
        for name, values in (("energies", here.energies), ("forces", here.forces)):
            _finite(system, name, values)
        references = np.array([potential.reference_energy(np.array([z])) for z in system.numbers])
        stresses = [np.abs(p.stress).max() for p in (here, near) if p.stress is not None]
        return cls(
            potential,
            system,
            sizes,
            TOLERANCES[potential.dtype.name] if tolerance is None else tolerance,
            here,
            float(np.abs(here.energies - references).sum()),
            float(max(np.abs(p.forces).max(initial=0.0) for p in (here, near))),
            float(max(stresses, default=0.0)),
        )

    def small(
        self, quantity: str, what: str, deviation: float | Float[np.ndarray, "..."], tolerance: float | None = None
    ) -> None:
        scale = {"energy": self.energy_scale, "forces": self.force_scale, "stress": self.stress_scale}[quantity]
        found = float(np.abs(deviation).max(initial=0.0)) if np.ndim(deviation) else abs(float(deviation))
        _within(
            f"{self.system.formula}: deviation of the {quantity} {what}", found, (tolerance or self.tolerance) * scale
        )

    def compare(
        self,
        what: str,
        other: System,
        *,
        energies: Callable[[np.ndarray], np.ndarray] = lambda e: e,
        forces: Callable[[np.ndarray], np.ndarray] = lambda f: f,
        stress: Callable[[np.ndarray], np.ndarray] = lambda s: s,
    ) -> None:
        """Predict `other`, transform its results back and compare."""
        result = self.potential.predict([other], self.sizes)[0]
        back = None if result.stress is None else stress(result.stress)
        self.compare_predictions(
            what, Prediction(result.energy, energies(result.energies), forces(result.forces), back)
        )

    def compare_predictions(self, what: str, result: Prediction) -> None:
        self.small("energy", what, result.energy - self.prediction.energy)
        self.small("energy", f"per atom {what}", result.energies - self.prediction.energies)
        self.small("forces", what, result.forces - self.prediction.forces)
        if self.prediction.stress is not None:
            assert result.stress is not None
            self.small("stress", what, result.stress - self.prediction.stress)

    def compare_repeated(self, axis: int) -> None:
        """A cell repeated along an axis. A total charge is repeated with it."""
        system, cell = self.system, self.system.cell
        assert cell is not None
        scaling = np.ones(3)
        scaling[axis] = 2.0
        twice = replace(
            system,
            positions=np.concatenate([system.positions, system.positions + cell[axis]]),
            numbers=np.tile(system.numbers, 2),
            cell=cell * scaling[:, None],
            charge=2.0 * system.charge,
            unpaired=2.0 * system.unpaired,
        )
        result = self.potential.predict([twice], self.sizes)[0]
        what = f"in a cell repeated along axis {axis}"
        n = len(system)
        half = Prediction(0.5 * result.energy, result.energies[:n], result.forces[:n], result.stress)
        self.compare_predictions(what, half)
        self.compare_predictions(what, half._replace(energies=result.energies[n:], forces=result.forces[n:]))


_compiled_evaluation = eqx.filter_jit(energies_and_forces)


def _weighted_derivatives(
    term: Term, graph: Graph, energy_weights: Float[Array, " atoms"], force_weights: Float[Array, "atoms 3"]
) -> tuple[Term, Float[Array, "pairs 3"]]:
    """Gradient of Σ w_i E_i + Σ c_i·F_i with respect to parameters and pair vectors."""
    parameters, rest = eqx.partition(term, eqx.is_inexact_array)

    def value(parameters: Term, vectors: Float[Array, "pairs 3"]) -> Float[Array, ""]:
        result = energies_and_forces(eqx.combine(parameters, rest), graph.with_vectors(vectors))
        return jnp.sum(energy_weights * result.energies) + jnp.sum(force_weights * result.forces)

    return jax.grad(value, argnums=(0, 1))(parameters, graph.vectors)


# Run a few times only, so compiling quickly matters more than running quickly.
_compiled_derivatives = eqx.filter_jit(_weighted_derivatives, compiler_options={"xla_backend_optimization_level": 0})


def _derivatives(
    potential: Potential, graph: Graph, energy_weights: np.ndarray, force_weights: np.ndarray
) -> tuple[Term, np.ndarray]:
    with precision_scope(potential.dtype):
        return jax.device_get(_compiled_derivatives(potential.model, graph, energy_weights, force_weights))


def _vector_gradient(
    potential: Potential, graph: Graph, energy_weights: np.ndarray, force_weights: np.ndarray
) -> np.ndarray:
    return _derivatives(potential, graph, energy_weights, force_weights)[1]


def _graph(potential: Potential, systems: list[System], sizes: Sizes) -> Graph:
    return make_graph(systems, [find_pairs(s, potential.cutoff) for s in systems], potential.dtype, sizes)


def _evaluate(potential: Potential, graph: Graph) -> GraphResult:
    with precision_scope(potential.dtype):
        return jax.device_get(_compiled_evaluation(potential.model, graph))


def _excess(found: np.ndarray, wanted: np.ndarray, atoms: int) -> np.ndarray:
    return np.asarray(found[:atoms], np.float64) - np.asarray(wanted[:atoms], np.float64)


def _filled(graph: Graph, atoms: int) -> Graph:
    """The same graph with padding that looks like real atoms and pairs, apart from the masks."""
    rng = np.random.default_rng(0)
    pairs = int(np.sum(graph.pair_mask))
    vectors, centers, others = (np.array(a) for a in (graph.vectors, graph.centers, graph.others))
    numbers, structure = np.array(graph.numbers), np.array(graph.structure)
    vectors[pairs:] = rng.normal(scale=2.0, size=vectors[pairs:].shape)
    centers[pairs:] = rng.integers(graph.atoms, size=len(centers) - pairs)
    others[pairs:] = rng.integers(graph.atoms, size=len(others) - pairs)
    numbers[atoms:] = rng.integers(1, 19, size=len(numbers) - atoms)
    structure[atoms:] = rng.integers(graph.structures, size=len(structure) - atoms)
    return eqx.tree_at(
        lambda g: (g.vectors, g.centers, g.others, g.numbers, g.structure),
        graph,
        (vectors, centers, others, numbers, structure),
    )


def _same_bits(what: str, result: GraphResult, reference: GraphResult, atoms: int) -> None:
    for name, found, wanted in (
        ("energies", result.energies[:atoms], reference.energies[:atoms]),
        ("forces", result.forces[:atoms], reference.forces[:atoms]),
        ("virial", result.virial[0], reference.virial[0]),
    ):
        if not np.array_equal(found, wanted):
            largest = np.abs(found - wanted).max()
            raise AssertionError(
                f"{what}: its content changes the {name} by {largest:.3g}; they must agree bit for bit."
            )
    for name, rest in (("energies", result.energies[atoms:]), ("forces", result.forces[atoms:])):
        if np.any(rest != 0.0):
            raise AssertionError(f"{what}: padded atoms have {name} up to {np.abs(rest).max():.3g}; expected zero.")


def _slope(potential: Potential, at: Callable[[float], System], step: float, sizes: Sizes) -> float:
    """dE/dh at h = 0 by the four-point rule, error O(step⁴)."""
    energy = {k: potential.predict([at(k * step)], sizes)[0].energy for k in (-2, -1, 1, 2)}
    return (8.0 * (energy[1] - energy[-1]) - (energy[2] - energy[-2])) / (12.0 * step)


def _strained(system: System, strain: Float[np.ndarray, "3 3"]) -> System:
    deformation = np.eye(3) + strain
    assert system.cell is not None
    return replace(system, positions=system.positions @ deformation, cell=system.cell @ deformation)


def _nearest_to_cutoff(system: System, cutoff: float) -> tuple[int, int, Float[np.ndarray, " 3"]]:
    """The pair of different atoms, in any image, whose distance is nearest to the cutoff."""
    pairs = find_pairs(system, 1.2 * cutoff)
    candidates = np.flatnonzero(pairs.centers != pairs.others)
    if len(candidates) == 0:
        return 0, 1, system.positions[1] - system.positions[0]
    gaps = np.abs(np.linalg.norm(pairs.vectors[candidates], axis=1) - cutoff)
    best = candidates[np.argmin(gaps)]
    return int(pairs.centers[best]), int(pairs.others[best]), pairs.vectors[best]


def _random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def _finite(system: System, name: str, values: np.ndarray) -> None:
    if not np.isfinite(np.asarray(values)).all():
        raise AssertionError(f"{system.formula}: {name} not finite.")


def _within(what: str, found: float, allowed: float) -> None:
    # Negated, so that NaN fails.
    if not found <= allowed:
        raise AssertionError(f"{what}: {found:.3g}, allowed {allowed:.3g}.")
