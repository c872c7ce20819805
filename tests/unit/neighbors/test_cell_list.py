"""The search in cells inside compiled code against the host list and the dense one, and its overflow protocol."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pairs import KINDS, Pair, canonical, random_system

from so3krates._errors import InputError
from so3krates.neighbors import cell_list, dense
from so3krates.neighbors.cell_list import CellNeighbors, Room
from so3krates.neighbors.grid import REACH, SHRINKAGE
from so3krates.neighbors.host import find_pairs
from so3krates.neighbors.pairs import Pairs
from so3krates.system import System, heights

ATOMS = 40
ROOM = 4000
MARGIN = 1e-6
"""Å; pairs so close to the cutoff may be found or not."""


@pytest.fixture(scope="module", autouse=True)
def uncompiled() -> Iterator[None]:
    """Every structure has a grid of its own, and compiling for each would take most of the time."""
    with jax.disable_jit():
        yield


def updated(neighbors: CellNeighbors, system: System, dtype: str = "float64") -> Pairs:
    cell = None if system.cell is None else jnp.asarray(system.cell, dtype)
    return neighbors.update(jnp.asarray(system.positions, dtype), cell)


def fault(system: System, cutoff: float, pairs: Pairs) -> str:
    """Empty if the pairs are those of the host; otherwise what is missing, too many or repeated."""
    mask = np.asarray(pairs.mask)
    centers, others, vectors = (np.asarray(a)[mask] for a in (pairs.centers, pairs.others, pairs.vectors))
    rest = vectors - (system.positions[others] - system.positions[centers])
    shifts = np.zeros_like(rest) if system.cell is None else rest @ np.linalg.inv(system.cell)
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-7)
    found = Counter(canonical(i, j, s) for i, j, s in zip(centers, others, np.round(shifts), strict=True))
    must, may = expected(system, cutoff - MARGIN), expected(system, cutoff + MARGIN)
    missing, extra = sorted(must - set(found)), sorted(set(found) - may)
    repeated = sorted(pair for pair, count in found.items() if count > 1)
    return "" if not (missing or extra or repeated) else f"{missing=} {extra=} {repeated=} of {system}"


def expected(system: System, cutoff: float) -> set[Pair]:
    pairs = find_pairs(system, cutoff)
    return {canonical(i, j, s) for i, j, s in zip(pairs.centers, pairs.others, pairs.shifts, strict=True)}


def box(seed: int, atoms: int = ATOMS, edge: float = 9.0, skew: float = 3.0) -> System:
    """A strongly triclinic cell, some atoms outside it, some on its faces and on borders of bins."""
    rng = np.random.default_rng(seed)
    cell = edge * np.eye(3) + np.tril(rng.uniform(-skew, skew, (3, 3)), -1)
    fractional = rng.uniform(-1.5, 2.5, (atoms, 3))
    fractional[: atoms // 4] = np.round(12.0 * fractional[: atoms // 4]) / 12.0
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return System(fractional @ cell @ rotation, np.ones(atoms, int), cell @ rotation, (True, True, True))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(kind=st.sampled_from(KINDS), cutoff=st.floats(0.4, 2.5), seed=st.integers(0, 2**32 - 1))
def test_equals_the_host_list(kind: str, cutoff: float, seed: int) -> None:
    check(kind, cutoff, seed)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(kind=st.sampled_from(KINDS), cutoff=st.floats(0.4, 2.5), seed=st.integers(0, 2**32 - 1))
def test_equals_the_host_list_for_many(kind: str, cutoff: float, seed: int) -> None:
    check(kind, cutoff, seed)


def check(kind: str, cutoff: float, seed: int) -> None:
    system = random_system(kind, ATOMS, seed)
    neighbors = cell_list.allocate(system, cutoff, capacity=ROOM)
    if neighbors is None:
        assert system.cell is not None
        thinnest = heights(system.cell)[np.array(system.pbc)].min()
        assert thinnest < cutoff * (1.0 + SHRINKAGE) + 0.01
        return
    pairs = updated(neighbors, system)
    if bool(pairs.overflow):
        assert len(find_pairs(system, cutoff).centers) > ROOM
        return
    assert not (report := fault(system, cutoff, pairs)), report


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    cutoff=st.floats(0.8, 3.0),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    mirrored=st.booleans(),
)
def test_equals_the_dense_list(seed: int, cutoff: float, pbc: tuple[bool, bool, bool], mirrored: bool) -> None:
    full = box(seed)
    assert full.cell is not None
    cell = full.cell * np.array([[-1.0], [1.0], [1.0]]) if mirrored else full.cell
    system = System(full.positions, full.numbers, cell if any(pbc) else None, pbc)
    neighbors = cell_list.allocate(system, cutoff, capacity=ROOM)
    assert neighbors is not None
    ours = updated(neighbors, system)
    assert not bool(ours.overflow)
    theirs = find_pairs(system, cutoff)
    table = dense.allocate(system, cutoff, capacity=ROOM).update(
        jnp.asarray(system.positions), None if system.cell is None else jnp.asarray(system.cell)
    )
    assert int(jnp.sum(ours.mask)) == int(jnp.sum(table.mask)) == len(theirs.centers)
    assert not (report := fault(system, cutoff, ours)), report


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), cutoff=st.floats(1.5, 3.0), speed=st.floats(0.0, 0.06))
def test_a_cell_that_changes_is_right_or_overflows(seed: int, cutoff: float, speed: float) -> None:
    """Shrunk and sheared step after step: right as long as the list says so, and again once it is enlarged."""
    system = box(seed)
    assert system.cell is not None
    neighbors = cell_list.allocate(system, cutoff, capacity=ROOM)
    assert neighbors is not None
    rng = np.random.default_rng(seed)
    for _ in range(4):
        strain = np.eye(3) * (1.0 - speed) + speed * rng.uniform(-1.0, 1.0, (3, 3))
        system = replace(system, positions=system.positions @ strain, cell=system.cell @ strain)
        pairs = updated(neighbors, system)
        if bool(pairs.overflow):
            larger = neighbors.larger(system)
            assert system.cell is not None
            if larger is None:
                assert heights(system.cell).min() < cutoff * (1.0 + SHRINKAGE) + 0.01
                return
            neighbors = replace(larger, capacity=max(larger.capacity, ROOM))
            pairs = updated(neighbors, system)
            assert not bool(pairs.overflow)
        assert not (report := fault(system, cutoff, pairs)), report


@pytest.mark.parametrize("share", [0.0, 0.9 * SHRINKAGE, 4.0 * SHRINKAGE])
def test_bins_thinner_than_the_cutoff_overflow(share: float) -> None:
    """A cell that just holds three bins, and less and less of them."""
    edge = 3.0 * 2.0 * (1.0 + SHRINKAGE) + 1e-3
    rng = np.random.default_rng(0)
    system = System(rng.uniform(0.0, edge, (100, 3)), np.ones(100, int), edge * np.eye(3), (True, True, True))
    neighbors = cell_list.allocate(system, 2.0, capacity=ROOM)
    assert neighbors is not None and neighbors.grid.bins == (3, 3, 3 * REACH)
    for axis in range(3):
        strain = np.ones(3)
        strain[axis] = 1.0 - share
        thin = replace(system, positions=system.positions * strain, cell=edge * np.diag(strain))
        pairs = updated(neighbors, thin)
        assert bool(pairs.overflow) == (share > SHRINKAGE)
        assert bool(pairs.overflow) or not fault(thin, 2.0, pairs)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), growth=st.floats(0.2, 30.0), away=st.floats(-1e3, 1e3))
def test_a_molecule_grows_and_goes_as_it_likes(seed: int, growth: float, away: float) -> None:
    """Without a box the grid goes round: however large the molecule becomes, no pair is missed or found twice."""
    system = random_system("molecule", ATOMS, seed)
    neighbors = cell_list.allocate(system, 2.0, capacity=ROOM)
    assert neighbors is not None
    neighbors = replace(neighbors, room=Room(64, 64, 512))
    moved = system.moved(growth * system.positions + away)
    pairs = updated(neighbors, moved)
    assert not bool(pairs.overflow) and not (report := fault(moved, 2.0, pairs)), report


@pytest.mark.parametrize(
    "short", ["pairs", "images", *(pytest.param(each, marks=pytest.mark.slow) for each in ("run", "rest"))]
)
def test_each_capacity_overflows_and_larger_mends_it(short: str) -> None:
    """A cluster in a large box fills few bins with all atoms."""
    rng = np.random.default_rng(3)
    system = System(rng.uniform(5.5, 9.5, (150, 3)), np.ones(150, int), 30.0 * np.eye(3), (True, True, True))
    enough = cell_list.allocate(system, 3.0)
    assert enough is not None and not bool(updated(enough, system).overflow)
    scarce = enough.room._replace(**({} if short == "pairs" else {short: 32}))
    small = replace(enough, capacity=8 if short == "pairs" else enough.capacity, room=scarce)
    assert bool(updated(small, system).overflow)
    larger = small.larger(system)
    assert larger is not None and larger.grid == small.grid
    pairs = updated(larger, system)
    assert not bool(pairs.overflow) and not fault(system, 3.0, pairs)


def test_a_list_that_was_short_only_later_grows_all_the_same() -> None:
    system = box(0)
    neighbors = cell_list.allocate(system, 2.0)
    assert neighbors is not None
    larger = neighbors.larger(system)
    assert larger is not None and larger.grid == neighbors.grid
    before, after = (neighbors.capacity, *neighbors.room), (larger.capacity, *larger.room)
    assert all(b >= 1.5 * a for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_order_does_not_depend_on_capacities() -> None:
    system = box(5, atoms=200)
    small = cell_list.allocate(system, 2.0)
    assert small is not None
    large = replace(small, capacity=3 * small.capacity, room=Room(*(3 * count for count in small.room)))
    few, many = updated(small, system), updated(large, system)
    count = int(jnp.sum(few.mask))
    for name in ("vectors", "centers", "others", "mask"):
        np.testing.assert_array_equal(getattr(few, name)[:count], getattr(many, name)[:count])
    assert not np.asarray(many.mask)[count:].any()


@pytest.mark.slow
def test_pairs_of_one_center_follow_each_other() -> None:
    system = box(6, atoms=200)
    neighbors = cell_list.allocate(system, 2.5)
    assert neighbors is not None
    pairs = updated(neighbors, system)
    centers = np.asarray(pairs.centers)[np.asarray(pairs.mask)]
    assert np.count_nonzero(np.diff(centers)) + 1 == len(set(centers.tolist()))


def test_padding_of_the_list_is_inert() -> None:
    system = box(7)
    neighbors = cell_list.allocate(system, 2.0, capacity=ROOM)
    assert neighbors is not None
    pairs = updated(neighbors, system)
    outside = ~np.asarray(pairs.mask)
    assert outside.any()
    for values in (pairs.vectors, pairs.centers, pairs.others):
        assert (np.asarray(values)[outside] == 0).all()


@pytest.mark.parametrize("kind", ["molecule", "box"])
def test_a_position_that_is_not_a_number_is_no_overflow(kind: str) -> None:
    """The monitor is to say so; to enlarge the list would not help."""
    system = box(8, atoms=200)
    system = system.without_cell() if kind == "molecule" else system
    neighbors = cell_list.allocate(system, 2.0)
    assert neighbors is not None
    cell = None if system.cell is None else jnp.asarray(system.cell)
    for broken in (slice(3, 4), slice(None)):
        pairs = neighbors.update(jnp.asarray(system.positions).at[broken].set(np.nan), cell)
        assert not bool(pairs.overflow)


def test_single_precision_far_from_the_origin_misses_nothing() -> None:
    """Coordinates of ten thousand Å stand 1e-3 Å apart in single precision; the grid leaves room for that. Every pair
    that is nearer than the cutoff by as much is found, and none that is farther."""
    system, cutoff, spacing = box(9, atoms=200), 2.0, 1e-3
    assert system.cell is not None
    far = system.moved(system.positions + 1000.0 * system.cell.sum(axis=0))
    rounded = far.moved(np.asarray(far.positions, np.float32).astype(np.float64))
    neighbors = cell_list.allocate(rounded, cutoff)
    assert neighbors is not None
    pairs = updated(neighbors, rounded, "float32")
    assert not bool(pairs.overflow)

    def within(reach: float) -> Counter[tuple[int, ...]]:
        every = find_pairs(rounded, reach)
        return Counter(tuple(sorted(pair)) for pair in zip(every.centers.tolist(), every.others.tolist(), strict=True))

    mask = np.asarray(pairs.mask)
    ends = zip(np.asarray(pairs.centers)[mask].tolist(), np.asarray(pairs.others)[mask].tolist(), strict=True)
    found = Counter(tuple(sorted(pair)) for pair in ends)
    surely, at_most = within(cutoff - spacing), within(cutoff + spacing)
    assert surely.total() > 900
    assert not surely - found and not found - at_most


@pytest.mark.slow
def test_differentiable_in_positions_and_cell() -> None:
    system = box(10, atoms=12, edge=4.0, skew=1.0)
    neighbors = cell_list.allocate(system, 2.0)
    assert neighbors is not None

    def total(positions: jax.Array, cell: jax.Array) -> jax.Array:
        pairs = neighbors.update(positions, cell)
        return jnp.sum(jnp.where(pairs.mask[:, None], jnp.sin(pairs.vectors) ** 2, 0.0))

    arguments = jnp.asarray(system.positions), jnp.asarray(system.cell)
    gradients = jax.grad(total, argnums=(0, 1))(*arguments)
    for number in (0, 1):
        for index in ((0, 0), (1, 2), (2, 1)):
            step = [np.zeros((12, 3)), np.zeros((3, 3))]
            step[number][index] = 1e-6
            ends = [float(total(*(a + sign * s for a, s in zip(arguments, step, strict=True)))) for sign in (1, -1)]
            assert gradients[number][index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_compiled_equals_uncompiled() -> None:
    system = box(11, atoms=200)
    neighbors = cell_list.allocate(system, 2.0)
    assert neighbors is not None
    plain = updated(neighbors, system)
    with jax.disable_jit(False):
        compiled = eqx.filter_jit(lambda: updated(neighbors, system))()
    for name in ("centers", "others", "mask"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(compiled, name))
    np.testing.assert_allclose(plain.vectors, compiled.vectors, atol=1e-12)


def test_refuses_to_run_without_the_cell() -> None:
    system = box(12)
    neighbors = cell_list.allocate(system, 2.0, capacity=ROOM)
    assert neighbors is not None
    with pytest.raises(InputError, match="cell"):
        neighbors.update(jnp.asarray(system.positions), None)
