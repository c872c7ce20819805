"""Batches and padding: other structures and unused entries change nothing."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from so3krates._typing import AnyArray
from so3krates.derivatives import GraphResult
from so3krates.graph import Graph, Sizes
from so3krates.long_range import LongRangePairs
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.testing.evaluation import evaluated, padded_graph, vector_gradient
from so3krates.testing.probe import Probe, displaced, finite, room


def assert_batching_invariant(
    potential: Potential, system: System, *, tolerance: float | None = None, sizes: Sizes | None = None
) -> None:
    """A structure gives the same results alone and as first or second of a batch."""
    probe = Probe.of(potential, system, tolerance, sizes)
    other = displaced(system, seed=1)
    for place, batch in enumerate(([system, other], [other, system])):
        prediction = probe.potential.predict(batch, probe.sizes)[place]
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
    probe = Probe.of(potential, system, None, sizes if isinstance(sizes, Sizes) else None)
    allowed = 100.0 * float(np.finfo(potential.dtype).eps) if tolerance is None else tolerance
    natural = Sizes.of([system], [potential.find_pairs(system)])
    reference = evaluated(potential, padded_graph(potential, [system], natural))
    wanted = probe.sizes if sizes is None else sizes
    for each in [wanted] if isinstance(wanted, Sizes) else wanted:
        plain = padded_graph(potential, [system], each)
        result = evaluated(potential, plain)
        what = f"{system.formula} padded to {each}"
        _same_bits(what, evaluated(potential, _filled(plain, len(system))), result, len(system))
        probe.small("energy", f"padded to {each}", _excess(result.energies, reference.energies, len(system)), allowed)
        probe.small("forces", f"padded to {each}", _excess(result.forces, reference.forces, len(system)), allowed)


def assert_no_cross_frame_gradient(potential: Potential, system: System, *, sizes: Sizes | None = None) -> None:
    """∂E_A/∂r is exactly zero for every pair vector r of another structure B in the same batch, and for padding."""
    sizes = sizes or room(potential, [system])
    graph = padded_graph(potential, [system, displaced(system, seed=3)], sizes)
    mine = graph.atom_mask & (graph.structure == 0)
    weights = np.asarray(mine, potential.dtype)
    gradient = vector_gradient(potential, graph, weights, np.zeros((graph.atoms, 3), potential.dtype))
    found = [(gradient.near, graph.centers, graph.pair_mask)]
    if graph.long_range is not None:
        found.append((gradient.far, graph.long_range.centers, graph.long_range.mask))
    for vectors, centers, mask in found:
        leaked = np.abs(vectors[~(mine[centers] & mask)]).max(initial=0.0)
        if leaked != 0.0:
            raise AssertionError(
                f"{system.formula}: the energy of one structure depends on another by {leaked:.3g} eV/Å."
            )
        finite(system, "gradient with respect to pair vectors", vectors)


def _excess(found: AnyArray, wanted: AnyArray, atoms: int) -> np.ndarray:
    return np.asarray(found[:atoms], np.float64) - np.asarray(wanted[:atoms], np.float64)


def _filled(graph: Graph, atoms: int) -> Graph:
    """The same graph with padding that looks like real atoms and pairs, apart from the masks."""
    rng = np.random.default_rng(0)
    numbers, structure = np.array(graph.numbers), np.array(graph.structure)
    numbers[atoms:] = rng.integers(1, 19, size=len(numbers) - atoms)
    structure[atoms:] = rng.integers(graph.structures, size=len(structure) - atoms)
    vectors, centers, others = _filled_pairs(graph.vectors, graph.centers, graph.others, graph.pair_mask, graph, rng)
    far = graph.long_range
    if far is not None:
        filled = _filled_pairs(far.vectors, far.centers, far.others, far.mask, graph, rng)
        lengths = np.where(far.mask, far.lengths, np.linalg.norm(filled[0], axis=1)).astype(filled[0].dtype)
        far = LongRangePairs(filled[0], lengths, *filled[1:], far.mask, far.cutoff)
    return replace(
        graph,
        vectors=vectors,
        centers=centers,
        others=others,
        numbers=numbers,
        structure=structure,
        long_range=far,
    )


def _filled_pairs(
    vectors: AnyArray, centers: AnyArray, others: AnyArray, mask: AnyArray, graph: Graph, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pairs = int(np.sum(mask))
    vectors, centers, others = (np.array(array) for array in (vectors, centers, others))
    vectors[pairs:] = rng.normal(scale=2.0, size=vectors[pairs:].shape)
    for indices in (centers, others):
        indices[pairs:] = rng.integers(graph.atoms, size=len(indices) - pairs)
    return vectors, centers, others


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
