"""Forces, stress, smoothness at the cutoff, finite second derivatives."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.graph import Sizes
from so3krates.neighbors.host import find_pairs
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.testing.evaluation import padded_graph, parameter_and_vector_gradients
from so3krates.testing.probe import Probe, finite, room, within


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
    probe = Probe.of(potential, system, None, sizes)
    exact = probe.potential.astype("float64")
    allowed = tolerance_eV_per_A or (1e-6 if potential.dtype == np.float64 else probe.tolerance * probe.force_scale)
    count = min(components, 3 * len(system))
    for flat in np.random.default_rng(seed).permutation(3 * len(system))[:count]:
        direction = np.zeros(3 * len(system))
        direction[flat] = 1.0
        step = direction.reshape(-1, 3)
        slope = _slope(exact, lambda h, step=step: system.moved(system.positions + h * step), step_A, probe.sizes)
        force = float(probe.prediction.forces.reshape(-1)[flat])
        within(
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
    probe = Probe.of(potential, system, None, sizes)
    exact = probe.potential.astype("float64")
    volume = abs(np.linalg.det(system.cell))
    allowed = (tolerance or (1e-6 if potential.dtype == np.float64 else probe.tolerance)) * probe.stress_scale
    assert probe.prediction.stress is not None
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5
        slope = _slope(exact, lambda h, e=strain: _strained(system, h * e), step, probe.sizes)
        found = probe.prediction.stress[a, b]
        within(
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
    """Energy and forces are continuous where a distance passes the cutoff, or the long-range cutoff; in float64.

    The pair whose distance is nearest to r_c is brought to r_c − δ and to r_c + δ. What remains of the difference in
    energy after the force's share 2δF is taken off must vanish, as must the difference in forces.
    """
    if len(system) < 2:
        raise InputError(f"{system.formula} has no pair of atoms to bring to the cutoff.")
    probe = Probe.of(potential.astype("float64"), system, tolerance, sizes)
    for cutoff in (potential.cutoff, potential.far_cutoff(system)):
        if cutoff:
            _smooth_at(probe, cutoff, tolerance, step_A)


def _smooth_at(probe: Probe, cutoff: float, tolerance: float, step_A: float) -> None:
    system = probe.system
    i, j, vector = _nearest_to_cutoff(system, cutoff)
    direction = vector / np.linalg.norm(vector)
    ends = []
    for distance in (cutoff - step_A, cutoff + step_A):
        positions = system.positions.copy()
        positions[j] += distance * direction - vector
        ends.append(probe.potential.predict([system.moved(positions)], probe.sizes)[0])
    inside, outside = ends
    work = -2.0 * step_A * float(0.5 * (inside.forces[j] + outside.forces[j]) @ direction)
    where = f"where the distance of atoms {i} and {j} passes the cutoff of {cutoff} Å"
    # A wrong force shows to first order in δ, a jump to zeroth: the bound is a fraction of what the work itself is.
    scale = probe.energy_scale + max(np.abs(end.energies).sum() for end in ends)
    within(f"{system.formula}: jump of the energy {where}", abs(outside.energy - inside.energy - work), 1e-10 * scale)
    peak = max(probe.force_scale, *(np.abs(end.forces).max() for end in ends))
    jump = np.abs(outside.forces - inside.forces).max()
    within(f"{system.formula}: jump of the forces {where}", jump, tolerance * peak)


def assert_finite_second_derivatives(potential: Potential, system: System, *, sizes: Sizes | None = None) -> None:
    """Second derivatives are finite although padding is present.

    Looks at the gradient of Σ c·F, with random c on every atom, with respect to the pair vectors (the Hessian seen
    through the pairs) and with respect to the parameters (what training on forces needs); padded pairs must get exact
    zeros. Atoms of the first structure stand alone in the second, without any neighbour.
    """
    sizes = sizes or room(potential, [system])
    reach = potential.far_cutoff(system) or potential.cutoff
    lonely = replace(system, positions=100.0 * reach * np.arange(1, len(system) + 1)[:, None] * np.ones(3))
    graph = padded_graph(potential, [system, replace(lonely, cell=None, pbc=(False, False, False))], sizes)
    rng = np.random.default_rng(0)
    forces_weight = rng.normal(size=(graph.atoms, 3)).astype(potential.dtype)
    parameters, vectors = parameter_and_vector_gradients(
        potential, graph, np.zeros(graph.atoms, potential.dtype), forces_weight
    )
    found = [(vectors.near, graph.pair_mask)]
    if graph.long_range is not None:
        found.append((vectors.far, graph.long_range.mask))
    for derivatives, mask in found:
        finite(system, "second derivative with respect to pair vectors", derivatives)
        if np.abs(derivatives[~mask]).max(initial=0.0) != 0.0:
            raise AssertionError(f"{system.formula}: padded pairs have second derivatives that are not zero.")
    for path, leaf in jax.tree.leaves_with_path(parameters):
        finite(system, f"derivative of the forces with respect to {jax.tree_util.keystr(path)}", leaf)


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
