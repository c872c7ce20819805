"""Rotation, reflection, translation, permutation, wrapping, separation, momentum."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.graph import Sizes
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.testing.evaluation import evaluated, padded_graph
from so3krates.testing.probe import Probe, displaced, within


def assert_equivariant(
    potential: Potential,
    system: System,
    *,
    tolerance: float | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> None:
    """E(R r) = E(r), F(R r) = R F(r), σ → R σ Rᵀ for a random rotation R and for the reflection −R."""
    probe = Probe.of(potential, system, tolerance, sizes)
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
    probe = Probe.of(potential, system, tolerance, sizes)
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
    probe = Probe.of(potential, system, tolerance, sizes)
    order = np.random.default_rng(seed).permutation(len(system))
    if len(system) > 1 and (order == np.arange(len(system))).all():
        order = order[::-1]
    shuffled = replace(system, positions=system.positions[order], numbers=system.numbers[order], isotope_masses=None)
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
    probe = Probe.of(potential, system, tolerance, sizes)
    rng = np.random.default_rng(seed)
    shifts = rng.integers(-3, 4, size=(len(system), 3)) * np.array(system.pbc)
    probe.compare("under shifts by lattice vectors", system.moved(system.positions + shifts @ system.cell))
    for a, b in combinations([axis for axis in range(3) if system.pbc[axis]], 2):
        cell = system.cell.copy()
        cell[a] += cell[b]
        probe.compare(f"with cell vector {a} replaced by its sum with {b}", replace(system, cell=cell))
    probe.compare_repeated(next(axis for axis in range(3) if system.pbc[axis]))


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
    probe = Probe.of(potential, system, tolerance, sizes)
    other = displaced(system, seed=2)
    extent = np.ptp(system.positions, axis=0).max()
    reach = potential.far_cutoff(system) or potential.cutoff
    far = other.moved(other.positions + np.array([extent + reach + distance_A, 0.0, 0.0]))
    both = System(np.concatenate([system.positions, far.positions]), np.concatenate([system.numbers, other.numbers]))
    parts = [probe.potential.predict([part], probe.sizes)[0] for part in (system, other)]
    whole = probe.potential.predict([both], probe.sizes)[0]
    probe.small("energy", f"of two fragments {distance_A} Å apart", whole.energy - parts[0].energy - parts[1].energy)
    forces = np.concatenate([part.forces for part in parts])
    probe.small("forces", f"of two fragments {distance_A} Å apart", whole.forces - forces)


def assert_net_force_and_torque_zero(
    potential: Potential, system: System, *, tolerance: float | None = None, sizes: Sizes | None = None
) -> None:
    """Σ F = 0, and no torque: Σ r × F = 0 for a molecule, a symmetric Σ r ⊗ ∂E/∂r for a crystal.

    Tolerances are relative to the sum of the absolute values of the terms, and to at least one force scale.
    """
    probe = Probe.of(potential, system, tolerance, sizes)
    forces = probe.prediction.forces
    total = probe.force_scale + np.abs(forces).sum()
    within(f"{system.formula}: net force", np.abs(forces.sum(axis=0)).max(initial=0.0), probe.tolerance * total)
    virial = np.asarray(evaluated(potential, padded_graph(potential, [system], probe.sizes)).virial[0], np.float64)
    size = np.abs(virial).max() + probe.force_scale
    within(f"{system.formula}: torque of the pairs", np.abs(virial - virial.T).max(), probe.tolerance * size)
    if system.periodic or not len(system):
        return
    arms = system.positions - system.positions.mean(axis=0)
    torque = np.cross(arms, forces)
    size = np.abs(arms).max() * total
    within(f"{system.formula}: torque", np.abs(torque.sum(axis=0)).max(), probe.tolerance * size)


def _random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))
