"""Every invariant of `so3krates.testing` must trip over a potential that breaks it, and over no other."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates import testing
from so3krates._errors import InputError
from so3krates._safe import masked, masked_norm
from so3krates._typing import Array, Float
from so3krates.graph import Graph, scatter_pairs
from so3krates.potential import Potential
from so3krates.system import System

CUTOFF = 3.0
MOLECULE = System(
    np.array([[0.0, 0.1, 0.0], [1.2, 0.0, 0.3], [-0.3, 1.4, 0.2], [0.4, 0.3, -1.6], [1.3, 1.5, 0.9]]),
    np.array([6, 1, 8, 7, 1]),
)
CRYSTAL = System(
    np.array([[0.1, 0.0, 0.2], [1.4, 1.6, 1.3]]),
    np.array([11, 17]),
    np.array([[2.6, 0.2, 0.1], [0.3, 2.9, 0.2], [0.1, -0.4, 3.2]]),
    (True, True, True),
)


class Pairwise(eqx.Module):
    """A sound potential: (1 − r²/r_c²)³ over pairs of neighbours, weighted by the root of the atomic numbers."""

    strength: Float[Array, ""]
    cutoff: float = eqx.field(static=True, default=CUTOFF)
    name: str = eqx.field(static=True, default="pairwise")
    long_range: bool = eqx.field(static=True, default=False)
    mesh_spacing: None = None

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        return self.of_pairs(graph, self.pair_energies(graph))

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        r = masked_norm(graph.vectors, graph.pair_mask)
        charge = jnp.sqrt(jnp.asarray(graph.numbers).astype(r.dtype))
        z = charge[graph.centers] * charge[graph.others]
        return self.strength * z * jnp.maximum(1.0 - (r / self.cutoff) ** 2, 0.0) ** 3

    def of_pairs(self, graph: Graph, pairs: Float[Array, " pairs"]) -> Float[Array, " atoms"]:
        half = 0.5 * masked(pairs, graph.pair_mask)
        return scatter_pairs(half, half, graph)


class AlongX(Pairwise):
    """Knows a direction in space."""

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        return super().pair_energies(graph) * (1.0 + graph.vectors[:, 0] ** 2)


class Chiral(Pairwise):
    """Knows left from right: a triple product of three moments of each atom's neighbours."""

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        weight = masked(self.pair_energies(graph), graph.pair_mask)[:, None]
        r2 = jnp.sum(graph.vectors**2, axis=-1, keepdims=True)
        a, b, c = (
            scatter_pairs(weight * r2**n * graph.vectors, -weight * r2**n * graph.vectors, graph) for n in range(3)
        )
        return super().__call__(graph) + 1e-2 * jnp.sum(a * jnp.cross(b, c), axis=-1)


class Ordered(Pairwise):
    """Depends on the numbering of the atoms."""

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        energies = super().__call__(graph)
        return energies * (1.0 + 0.1 * jnp.arange(graph.atoms, dtype=energies.dtype))


class Intensive(Pairwise):
    """Divides by the number of real atoms of the structure."""

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        energies = super().__call__(graph)
        ones = jnp.asarray(graph.atom_mask).astype(energies.dtype)
        return energies / jnp.maximum(graph.sum_structures(ones), 1.0)[graph.structure]


class Entangled(Pairwise):
    """Structures of a batch feel each other."""

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        energies = super().__call__(graph)
        return energies * (1.0 + jnp.sum(energies))


class CountsPadding(Pairwise):
    """Divides by the padded number of atoms."""

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        return super().__call__(graph) / graph.atoms


class ForgetsPairMask(Pairwise):
    def of_pairs(self, graph: Graph, pairs: Float[Array, " pairs"]) -> Float[Array, " atoms"]:
        return scatter_pairs(0.5 * pairs, 0.5 * pairs, graph)

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        r2 = jnp.sum(graph.vectors**2, axis=-1)
        numbers = jnp.asarray(graph.numbers).astype(r2.dtype)
        return numbers[graph.centers] * numbers[graph.others] * r2 * jnp.maximum(1.0 - r2 / self.cutoff**2, 0.0) ** 3


class ForgetsAtomMask(Pairwise):
    """Gives padding an energy."""

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        energies = super().__call__(graph)
        return energies + 1.0 + 0.1 * jnp.asarray(graph.numbers).astype(energies.dtype)


class WrongForces(Pairwise):
    """Part of the energy does not reach the forces."""

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        pairs = super().pair_energies(graph)
        return pairs + 1e-3 * jax.lax.stop_gradient(pairs)


class Truncated(Pairwise):
    """Jumps at the cutoff."""

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        r = masked_norm(graph.vectors, graph.pair_mask)
        return super().pair_energies(graph) + jnp.where(r < self.cutoff, 1e-6 * self.strength, 0.0)


class Kinked(Pairwise):
    """Continuous at the cutoff, but its force jumps."""

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        r = masked_norm(graph.vectors, graph.pair_mask)
        return super().pair_energies(graph) + 1e-2 * self.strength * jnp.maximum(1.0 - r / self.cutoff, 0.0)


class RoughAtZero(Pairwise):
    """Masks after the root instead of before: first derivatives of padding are 0·∞."""

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        r = jnp.sqrt(jnp.sum(graph.vectors**2, axis=-1))
        inside = jnp.maximum(1.0 - (r / self.cutoff) ** 2, 0.0) ** 3
        return self.strength * masked(inside * r, graph.pair_mask)


class RoughCurvature(Pairwise):
    """r^(5/2) of padded pairs, masked too late: finite energies and forces, second derivatives that are 0·∞."""

    def pair_energies(self, graph: Graph) -> Float[Array, " pairs"]:
        r2 = jnp.sum(graph.vectors**2, axis=-1)
        return super().pair_energies(graph) * (1.0 + masked(r2**1.25, graph.pair_mask))


def potential(term: type[Pairwise]) -> Potential:
    return Potential(term(jnp.asarray(0.7, jnp.float64)))


Check = Callable[[Potential, System], None]

BROKEN: list[tuple[type[Pairwise], Check, System]] = [
    (AlongX, testing.assert_equivariant, MOLECULE),
    (AlongX, testing.assert_net_force_and_torque_zero, MOLECULE),
    (AlongX, testing.assert_net_force_and_torque_zero, CRYSTAL),
    (Chiral, testing.assert_equivariant, MOLECULE),
    (Ordered, testing.assert_permutation_invariant, MOLECULE),
    (Intensive, testing.assert_separable, MOLECULE),
    (Intensive, testing.assert_wrapping_invariant, CRYSTAL),
    (Entangled, testing.assert_batching_invariant, MOLECULE),
    (Entangled, testing.assert_no_cross_frame_gradient, MOLECULE),
    (CountsPadding, testing.assert_padding_invariant, MOLECULE),
    (ForgetsPairMask, testing.assert_padding_invariant, MOLECULE),
    (ForgetsAtomMask, testing.assert_padding_invariant, MOLECULE),
    (WrongForces, testing.assert_forces_are_gradients, MOLECULE),
    (WrongForces, testing.assert_stress_is_strain_derivative, CRYSTAL),
    (Truncated, testing.assert_smooth_at_cutoff, MOLECULE),
    (Kinked, testing.assert_smooth_at_cutoff, MOLECULE),
    (RoughAtZero, testing.assert_equivariant, MOLECULE),
    (RoughCurvature, testing.assert_finite_second_derivatives, MOLECULE),
]


@pytest.mark.parametrize(("term", "check", "system"), BROKEN, ids=lambda x: getattr(x, "__name__", ""))
def test_broken_potentials_are_caught(term: type[Pairwise], check: Check, system: System) -> None:
    with pytest.raises(AssertionError, match=system.formula):
        check(potential(term), system)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_sound_potential_passes(dtype: str) -> None:
    testing.assert_potential_is_physical(potential(Pairwise).astype(dtype), [MOLECULE, CRYSTAL])


def test_a_chiral_potential_is_caught_by_the_reflection_alone() -> None:
    with pytest.raises(AssertionError, match="reflection"):
        testing.assert_equivariant(potential(Chiral), MOLECULE)


@pytest.mark.parametrize(
    ("check", "system"),
    [
        (testing.assert_wrapping_invariant, MOLECULE),
        (testing.assert_stress_is_strain_derivative, MOLECULE),
        (testing.assert_separable, CRYSTAL),
        (testing.assert_smooth_at_cutoff, System(np.zeros((1, 3)), np.array([1]))),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_check_that_cannot_fail_says_so(check: Check, system: System) -> None:
    with pytest.raises(InputError):
        check(potential(Pairwise), system)
