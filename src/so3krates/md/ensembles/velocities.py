"""Velocities on the host, in float64: drawing them, removing motion as a whole, counting degrees of freedom."""

from collections.abc import Sequence

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.system import System, in_empty_box
from so3krates.units import BOLTZMANN, FEMTOSECOND

LINEAR = 1e-6
"""A principal moment of inertia below this fraction of the largest counts as zero."""

AT_REST = 1e-4
"""A momentum, or an angular momentum, below this fraction of those of the atoms counts as zero; velocities may come
from a file in single precision."""


def maxwell_boltzmann(
    system: System,
    temperature_K: float,
    seed: int,
    *,
    fix_center: bool = True,
    fix_rotation: bool = False,
    exact: bool = False,
    fixed: Sequence[int] = (),
) -> Float[np.ndarray, "atoms 3"]:
    """Velocities in Å/fs from the Maxwell–Boltzmann distribution.

    Args:
        system: gives masses and, for `fix_rotation`, positions.
        temperature_K: of the distribution.
        seed: of NumPy's generator.
        fix_center: no motion of the centre of mass.
        fix_rotation: no angular momentum either; for isolated molecules.
        exact: scale so that the kinetic temperature is `temperature_K` exactly and not merely on average.
        fixed: atoms that do not move. With any, momentum is not conserved, and the centre of mass is left as it is.

    Raises:
        InputError: for a temperature that is not positive, or `fix_rotation` with a periodic structure.
    """
    check_temperature(temperature_K, "temperature_K")
    masses = system.masses[:, None]
    noise = np.random.default_rng(seed).standard_normal(system.positions.shape)
    velocities = noise * np.sqrt(BOLTZMANN * temperature_K / masses) * FEMTOSECOND
    velocities[list(fixed)] = 0.0
    if fix_center and not fixed:
        velocities = without_center(system, velocities)
    if fix_rotation:
        velocities = without_rotation(system, velocities)
    if exact:
        freedom = degrees_of_freedom(system, fixed, fix_center=fix_center, fix_rotation=fix_rotation)
        wanted = 0.5 * freedom * BOLTZMANN * temperature_K
        velocities = velocities * np.sqrt(wanted / kinetic_energy(system, velocities))
    return velocities


def kinetic_energy(system: System, velocities: Float[np.ndarray, "atoms 3"]) -> float:
    """½ Σ m v² in eV; velocities in Å/fs."""
    return float(0.5 * np.sum(system.masses[:, None] * (velocities / FEMTOSECOND) ** 2))


def without_center(system: System, velocities: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms 3"]:
    """Velocities relative to the centre of mass; total momentum zero."""
    masses = system.masses[:, None]
    return velocities - (masses * velocities).sum(axis=0) / masses.sum()


def without_rotation(system: System, velocities: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms 3"]:
    """Velocities without angular momentum about the centre of mass: v − ω × r, I ω = L.

    Raises:
        InputError: for a periodic structure, whose angular momentum means nothing.
    """
    _refuse_periodic(system)
    masses = system.masses[:, None]
    arms = system.positions - (masses * system.positions).sum(axis=0) / masses.sum()
    momentum = np.cross(arms, masses * velocities).sum(axis=0)
    omega = np.linalg.pinv(_inertia(system), rcond=LINEAR, hermitian=True) @ momentum
    return velocities - np.cross(omega, arms)


def in_vacuum(system: System) -> bool:
    """Without images, or in a cell that only stands for vacuum: its angular momentum is conserved."""
    return not system.periodic or in_empty_box(system)


def center_rests(system: System, velocities: Float[np.ndarray, "atoms 3"]) -> bool:
    """Whether the atoms move and their centre of mass does not."""
    momenta = system.masses[:, None] * velocities
    return float(np.linalg.norm(momenta.sum(axis=0))) < AT_REST * float(np.linalg.norm(momenta))


def cannot_turn(system: System, velocities: Float[np.ndarray, "atoms 3"], fixed: Sequence[int] = ()) -> bool:
    """Whether a structure could rotate as a whole and does not: angular momentum that is conserved, and zero.

    It is conserved about the centre of mass in vacuum, about an atom that is fixed, and about an axis: that of a
    structure periodic along one, or the line that fixed atoms lie on.
    """
    masses = system.masses[:, None]
    center = (masses * system.positions).sum(axis=0) / masses.sum()
    arms = system.positions - (system.positions[fixed[0]] if fixed else center)
    held = arms[list(fixed)]
    if system.cell is not None and not in_vacuum(system):
        held = np.vstack([held, system.cell[list(system.pbc)]])
    axes = _free_axes(held)
    if not axes.size:
        return False
    momentum = axes @ np.cross(arms, masses * velocities).sum(axis=0)
    levers = arms if len(axes) == 3 else np.cross(arms, axes[0])
    # A single atom has no lever, and what rests is refused for that.
    most = float(np.sum(masses[:, 0] * np.linalg.norm(levers, axis=1) * np.linalg.norm(velocities, axis=1)))
    return float(np.linalg.norm(momentum)) < AT_REST * most


def _free_axes(held: Float[np.ndarray, "vectors 3"]) -> Float[np.ndarray, "axes 3"]:
    """About which space may turn while these vectors stay: all, their own line, or none."""
    if not held.size or not np.any(held):
        return np.eye(3)
    _, sizes, directions = np.linalg.svd(held)
    return directions[:1] if len(sizes) < 2 or sizes[1] < LINEAR * sizes[0] else np.zeros((0, 3))


def degrees_of_freedom(system: System, fixed: Sequence[int] = (), *, fix_center: bool, fix_rotation: bool) -> int:
    """3N, less 3 if the centre of mass rests, less 3 if nothing rotates.

    Two atoms have two rotations. A linear molecule of more atoms has three: it bends, and in a plane only if it does
    not turn about its axis, so of every two bends that are alike one is left (and 3N − 5 counts vibrations, in which
    both are).

    With atoms that are fixed, three for each of the others: they hold the centre of mass.

    Raises:
        InputError: if none is left, or for `fix_rotation` with a periodic structure or with fixed atoms.
    """
    if fixed:
        if fix_rotation:
            raise InputError("fix_rotation is for structures that are free; leave it out where atoms are fixed.")
        freedom = 3 * (len(system) - len(set(fixed)))
        if not freedom:
            raise InputError(f"all atoms of {system.formula} are fixed; leave some free to move.")
        return freedom
    freedom = 3 * len(system) - (3 if fix_center else 0)
    if fix_rotation:
        _refuse_periodic(system)
        freedom -= {1: 0, 2: 2}.get(len(system), 3)
    if freedom < 1:
        raise InputError(
            f"{system.formula} has no degree of freedom left once its centre of mass is fixed; "
            "use fix_center=False for a single atom."
        )
    return freedom


def check_temperature(temperature_K: float, name: str) -> None:
    """Raise InputError unless a temperature is positive and finite."""
    if not (temperature_K > 0 and np.isfinite(temperature_K)):
        raise InputError(f"{name} is {temperature_K} K; it must be positive.")


def _inertia(system: System) -> Float[np.ndarray, "3 3"]:
    masses = system.masses[:, None]
    arms = system.positions - (masses * system.positions).sum(axis=0) / masses.sum()
    return np.sum(masses * arms * arms) * np.eye(3) - (masses * arms).T @ arms


def _refuse_periodic(system: System) -> None:
    if not in_vacuum(system):
        raise InputError(f"{system.formula} is periodic and has no conserved angular momentum; use fix_rotation=False.")
