"""The dense list inside compiled code against brute force, and its overflow protocol."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pairs import KINDS, brute_force, canonical, compare, random_system

from so3krates._errors import InputError
from so3krates.neighbors.dense import DenseNeighbors, Pairs, allocate
from so3krates.neighbors.host import find_pairs
from so3krates.system import System, heights

ROOM = 800


def updated(neighbors: DenseNeighbors, system: System, dtype: str = "float64") -> Pairs:
    cell = None if system.cell is None else jnp.asarray(system.cell, dtype)
    return neighbors.update(jnp.asarray(system.positions, dtype), cell)


def found_by(pairs: Pairs, system: System) -> list:
    """Indices and shifts; the shifts are recovered from the vectors, which checks those too."""
    mask = np.asarray(pairs.mask)
    centers, others, vectors = (np.asarray(a)[mask] for a in (pairs.centers, pairs.others, pairs.vectors))
    rest = vectors - (system.positions[others] - system.positions[centers])
    shifts = np.zeros_like(rest) if system.cell is None else rest @ np.linalg.inv(system.cell)
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-8)
    return [canonical(i, j, s) for i, j, s in zip(centers, others, np.round(shifts), strict=True)]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    atoms=st.sampled_from([1, 4]),
    cutoff=st.floats(1.0, 2.2),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_brute_force(kind: str, atoms: int, cutoff: float, seed: int) -> None:
    system = random_system(kind, atoms, seed)
    # One capacity for all examples: most of the time goes into compiling for new shapes.
    pairs = updated(allocate(system, cutoff, capacity=ROOM), system)
    assert not bool(pairs.overflow)
    report = compare(system, cutoff, found_by(pairs, system))
    assert not report, report


@settings(max_examples=12, deadline=None, derandomize=True)
@given(kind=st.sampled_from(KINDS[1:]), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.6, 0.9, 1.0, 1.3]))
def test_update_in_another_cell_is_right_or_overflows(kind: str, seed: int, scale: float) -> None:
    """A cell that changes after allocation: either the brute-force answer, or overflow; never a silent error."""
    system = random_system(kind, 4, seed)
    neighbors = allocate(system, 2.0, capacity=ROOM)
    strain = scale * (np.eye(3) + 0.1 * np.random.default_rng(seed).uniform(-1.0, 1.0, (3, 3)))
    other = replace(system, positions=system.positions @ strain, cell=system.cell @ strain)
    pairs = updated(neighbors, other)
    report = compare(other, 2.0, found_by(pairs, other))
    assert bool(pairs.overflow) or not report, report


@pytest.mark.parametrize("kind", ["molecule", "tiny"])
def test_capacity_too_small_overflows(kind: str) -> None:
    system = random_system(kind, 4, 0)
    cutoff = 9.0 if kind == "molecule" else 1.5
    needed = len(brute_force(system, cutoff)[0])
    assert needed > 1
    for capacity in (needed - 1, needed, needed + 1):
        pairs = updated(allocate(system, cutoff, capacity=capacity), system)
        assert bool(pairs.overflow) == (capacity < needed), f"capacity {capacity} for {needed} pairs"


@pytest.mark.parametrize("kind", ["molecule", "tiny"])
def test_larger_list_no_longer_overflows(kind: str) -> None:
    system = random_system(kind, 4, 1)
    cutoff = 5.0 if kind == "molecule" else 1.5
    small = allocate(system, cutoff, capacity=2)
    assert bool(updated(small, system).overflow)
    large = small.larger(system)
    pairs = updated(large, system)
    assert not bool(pairs.overflow)
    report = compare(system, cutoff, found_by(pairs, system))
    assert not report, report


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("multiple", [0.5, 1.0, 2.0, 2.0 / 3.0])
def test_cell_commensurate_with_the_cutoff_does_not_overflow(dtype: str, multiple: float) -> None:
    """Heights at which the number of images changes: rounding must not call a fresh list too small."""
    rng = np.random.default_rng(0)
    for _ in range(8):
        cell = 5.0 * multiple * np.linalg.qr(rng.normal(size=(3, 3)))[0]
        system = System(rng.uniform(size=(1, 3)) @ cell, np.array([1]), cell, (True, True, True))
        neighbors = allocate(system, 5.0, capacity=ROOM)
        assert not bool(updated(neighbors, system, dtype).overflow), f"{neighbors} overflows in {cell.tolist()}"


@pytest.mark.parametrize("atoms", [4, 5])
@pytest.mark.parametrize("kind", ["molecule", "ordinary"])
def test_the_whole_table_equals_brute_force(kind: str, atoms: int) -> None:
    system = random_system(kind, atoms, 3)
    cutoff = 3.0 if system.cell is None else 0.45 * float(heights(system.cell).min())
    neighbors = allocate(system, cutoff, table_from=0.0)
    assert neighbors.whole_table
    pairs = updated(neighbors, system)
    report = compare(system, cutoff, found_by(pairs, system))
    assert pairs.table_of == atoms and not bool(pairs.overflow) and not report, report


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_atoms_exactly_half_a_cell_apart(dtype: str) -> None:
    """Where two images are equally near, all steps of the search must choose the same one."""
    cell = np.diag([4.0, 5.0, 6.0]) @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    corners = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3), axis=-1).reshape(-1, 3)
    system = System((corners + np.array([0.3, -1.7, 8.2])) @ cell, np.full(8, 14), cell, (True, True, True))
    pairs = updated(allocate(system, 4.3), system, dtype)
    expected = find_pairs(system, 4.3)
    lengths = np.linalg.norm(np.asarray(pairs.vectors, np.float64)[np.asarray(pairs.mask)], axis=1)
    np.testing.assert_allclose(np.sort(lengths), np.sort(np.linalg.norm(expected.vectors, axis=1)), atol=1e-5)


def test_padding_of_the_list_is_inert() -> None:
    system = random_system("ordinary", 5, 2)
    pairs = updated(allocate(system, 2.0, capacity=300), system)
    outside = ~np.asarray(pairs.mask)
    assert outside.any()
    assert (np.asarray(pairs.vectors)[outside] == 0.0).all()
    assert (np.asarray(pairs.centers)[outside] == 0).all()
    assert (np.asarray(pairs.others)[outside] == 0).all()


@pytest.mark.parametrize("kind", ["molecule", "ordinary"])
def test_no_atoms(kind: str) -> None:
    system = random_system(kind, 0, 0)
    pairs = updated(allocate(system, 2.0), system)
    assert not bool(pairs.overflow)
    assert not np.asarray(pairs.mask).any()
    assert len(pairs.mask), "the closest pair is a minimum over the list, which must not be empty"


def test_more_atoms_than_pairs_can_be_numbered_are_refused() -> None:
    many = System(np.arange(210_000.0).reshape(-1, 3), np.ones(70_000, int))
    with pytest.raises(InputError, match="70000 atoms, with 1 periodic images, are more than"):
        allocate(many, 2.0)


def test_keeps_the_precision_of_the_positions() -> None:
    system = random_system("ordinary", 4, 2)
    for dtype in ("float32", "float64"):
        assert updated(allocate(system, 2.0), system, dtype).vectors.dtype == dtype


def test_differentiable_in_positions_and_cell() -> None:
    system = random_system("tiny", 3, 4)
    neighbors = allocate(system, 2.0)

    def total(positions: jax.Array, cell: jax.Array) -> jax.Array:
        pairs = neighbors.update(positions, cell)
        return jnp.sum(jnp.where(pairs.mask[:, None], jnp.sin(pairs.vectors) ** 2, 0.0))

    arguments = jnp.asarray(system.positions), jnp.asarray(system.cell)
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(*arguments)
    value = jax.jit(total)
    for number in (0, 1):
        for index in np.ndindex(3, 3):
            step = [np.zeros((3, 3)), np.zeros((3, 3))]
            step[number][index] = 1e-6
            ends = [float(value(*(a + sign * s for a, s in zip(arguments, step, strict=True)))) for sign in (1, -1)]
            assert gradients[number][index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_periodic_list_refuses_to_run_without_a_cell() -> None:
    system = random_system("ordinary", 3, 5)
    with pytest.raises(InputError, match="cell"):
        allocate(system, 2.0).update(jnp.asarray(system.positions), None)


@pytest.mark.parametrize("cutoff", [-1.0, float("nan")])
def test_refuses_a_cutoff_that_is_negative(cutoff: float) -> None:
    with pytest.raises(InputError, match="cutoff"):
        allocate(random_system("molecule", 3, 0), cutoff)


def test_compiled_equals_uncompiled() -> None:
    system = random_system("left-handed", 5, 6)
    neighbors = allocate(system, 2.5)
    plain = updated(neighbors, system)
    compiled = jax.jit(neighbors.update)(jnp.asarray(system.positions), jnp.asarray(system.cell))
    assert found_by(plain, system) == found_by(compiled, system)
