"""The physical invariants every potential must obey, public so that any potential can be held against them.

Each function evaluates the potential on a structure and raises AssertionError, with the deviation found and the one
allowed, if an invariant is broken. Tolerances are relative to the scale of the quantity in this structure: Σ|E_i| for
energies, the largest force of the structure and of a slightly displaced copy for forces; by default 1e-10 in float64
and 1e-4 in float32. Reference energies of elements are left out. Everything is evaluated in one padded size, so that
few programs are compiled.

Example:
    >>> assert_potential_is_physical(potential, [molecule, crystal])
"""

from collections.abc import Sequence

from so3krates.potential import Potential
from so3krates.system import System
from so3krates.testing.batches import (
    assert_batching_invariant,
    assert_no_cross_frame_gradient,
    assert_padding_invariant,
)
from so3krates.testing.derivatives import (
    assert_finite_second_derivatives,
    assert_forces_are_gradients,
    assert_smooth_at_cutoff,
    assert_stress_is_strain_derivative,
)
from so3krates.testing.probe import DISPLACEMENT_A, TOLERANCES, displaced, room
from so3krates.testing.symmetry import (
    assert_equivariant,
    assert_net_force_and_torque_zero,
    assert_permutation_invariant,
    assert_separable,
    assert_translation_invariant,
    assert_wrapping_invariant,
)

__all__ = [
    "DISPLACEMENT_A",
    "TOLERANCES",
    "assert_batching_invariant",
    "assert_equivariant",
    "assert_finite_second_derivatives",
    "assert_forces_are_gradients",
    "assert_net_force_and_torque_zero",
    "assert_no_cross_frame_gradient",
    "assert_padding_invariant",
    "assert_permutation_invariant",
    "assert_potential_is_physical",
    "assert_separable",
    "assert_smooth_at_cutoff",
    "assert_stress_is_strain_derivative",
    "assert_translation_invariant",
    "assert_wrapping_invariant",
    "displaced",
    "room",
]


def assert_potential_is_physical(
    potential: Potential, systems: Sequence[System], *, tolerance: float | None = None
) -> None:
    """Run every check of this module that applies to each structure, all in one padded size.

    Wrapping and stress need periodic axes; separation needs an uncharged structure without them, because a total
    charge belongs to the whole structure, and a model that predicts no charges: what the raw ones exceed the total
    charge by is spread over the whole structure.

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
        elif system.charge == 0 and system.unpaired == 0 and not potential.predicts_charges:
            assert_separable(potential, system, tolerance=tolerance, sizes=sizes)
