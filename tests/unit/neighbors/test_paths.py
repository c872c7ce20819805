"""Lists allocated once, and updated in compiled code along paths such as those of a barostat: cells that shrink, grow,
shear and turn, and atoms that wander over many of them. At every point the pairs are those of brute force, or the list
says that it overflowed; then a larger one, made from the start of the path, holds."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pairs import brute_force, canonical, random_system, within

from so3krates.neighbors import cell_list, dense
from so3krates.neighbors.choice import Searched, enlarged
from so3krates.neighbors.overflow import ROOM, THIN
from so3krates.neighbors.pairs import Pairs
from so3krates.rollout import MAX_ATTEMPTS
from so3krates.system import System

POINTS = 5
CELLS = {
    "ordinary": np.eye(3),
    "skewed": np.array([[1.0, 0.0, 0.0], [1.4, 1.0, 0.0], [-0.6, 1.2, 1.0]]),
    "left-handed": np.array([[0.0, 1.0, 0.2], [1.0, 0.1, 0.0], [0.2, -0.4, 1.0]]),
    "thin": np.diag([1.3, 1.3, 0.62]),
}
PBC = {"one axis": (False, True, False), "two axes": (True, False, True), "molecule": (False, False, False)}


class Case(NamedTuple):
    """Where a path begins and what is searched."""

    kind: str
    search: str
    cutoff: float
    dtype: str = "float64"


def start_of(case: Case) -> tuple[System, Searched]:
    """Sixty atoms, as dense as argon would be with lengths in Å scaled by a half; four in cells shorter than the
    cutoff."""
    rng = np.random.default_rng(11)
    atoms, edge = (4, 1.9) if case.kind == "tiny" else (60, 7.5)
    cell = edge * CELLS.get(case.kind, CELLS["ordinary"] + 0.15 * rng.uniform(-1.0, 1.0, (3, 3)))
    cell = cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pbc = PBC.get(case.kind, (True, True, True))
    system = System(rng.uniform(size=(atoms, 3)) @ cell, np.ones(atoms, int), cell if any(pbc) else None, pbc)
    if case.search == "cells":
        cells = cell_list.allocate(system, case.cutoff)
        assert cells is not None
        return system, cells
    listed = dense.allocate(system, case.cutoff, table_from=0.0 if case.search == "table" else 1.0)
    assert listed.whole_table == (case.search == "table")
    return system, listed


def path_from(system: System, seed: int, speed: float, dtype: str) -> list[System]:
    """The start, and structures strained more and more, as the compiled code sees them: in its precision."""
    rng = np.random.default_rng(seed)
    atoms, pbc = len(system), np.array(system.pbc)
    drift = speed * rng.uniform(-1.0, 1.0, (3, 3)) + speed * rng.uniform(-1.0, 0.6) * np.eye(3)
    positions, cell = system.positions, np.zeros((3, 3)) if system.cell is None else system.cell
    path = []
    for _ in range(POINTS):
        turns = np.where(pbc, rng.integers(-4, 5, (atoms, 3)) * (rng.random((atoms, 1)) < 0.2), 0)
        path.append((positions + turns @ cell, cell))
        strain = np.eye(3) + drift + 0.3 * speed * rng.uniform(-1.0, 1.0, (3, 3))
        positions = (positions + rng.normal(scale=0.1, size=(atoms, 3))) @ strain
        cell = cell @ strain
    rounded = [tuple(np.asarray(each, dtype).astype(np.float64) for each in point) for point in path]
    return [System(x, system.numbers, h if pbc.any() else None, system.pbc) for x, h in rounded]


@eqx.filter_jit
def updated(neighbors: Searched, positions: jax.Array, cells: jax.Array | None) -> Pairs:
    """At every point of a path, in one compiled loop."""
    return jax.lax.map(lambda point: neighbors.update(*point), (positions, cells))


def found_along(neighbors: Searched, path: list[System], dtype: str) -> list[Pairs]:
    cells = None if path[0].cell is None else jnp.asarray(np.stack([each.cell for each in path]), dtype)  # type: ignore[arg-type]
    found = updated(neighbors, jnp.asarray(np.stack([each.positions for each in path]), dtype), cells)
    return [jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), found) for n in range(len(path))]


def fault(system: System, cutoff: float, pairs: Pairs, dtype: str) -> str:
    """Empty if all pairs are there, once, with their vectors; those within the rounding of the cutoff may be."""
    rounding = 16 * np.finfo(dtype).eps * max(1.0, float(np.abs(system.positions).max()))
    margin = (1e-5 if dtype == "float32" else 1e-9) + rounding
    mask = pairs.mask
    centers, others = pairs.centers[mask], pairs.others[mask]
    rest = pairs.vectors[mask].astype(np.float64) - (system.positions[others] - system.positions[centers])
    inverse = np.zeros((3, 3)) if system.cell is None else np.linalg.inv(system.cell)
    shifts = np.round(rest @ inverse)
    np.testing.assert_allclose(rest, shifts @ (inverse if system.cell is None else system.cell), atol=4 * margin)
    found = [canonical(i, j, s) for i, j, s in zip(centers, others, shifts, strict=True)]
    distances = within(system, cutoff + margin)
    missing = sorted(pair for pair, r in distances.items() if r < cutoff - margin and pair not in set(found))
    extra, repeated = sorted(set(found) - set(distances)), len(found) - len(set(found))
    return f"{missing=} {extra=} {repeated=} of {system}" if missing or extra or repeated else ""


def check(case: Case, seed: int, speed: float) -> int:
    """The path of a seed; returns the causes of all overflows."""
    system, neighbors = start_of(case)
    path = path_from(system, seed, speed, case.dtype)
    causes = 0
    for _ in range(MAX_ATTEMPTS):
        points = found_along(neighbors, path, case.dtype)
        for structure, pairs in zip(path, points, strict=True):
            if not int(pairs.overflow):
                assert not (report := fault(structure, case.cutoff, pairs, case.dtype)), report
        overflow = int(np.bitwise_or.reduce([int(pairs.overflow) for pairs in points]))
        causes |= overflow
        if not overflow:
            return causes
        before, neighbors = neighbors, enlarged(neighbors, path[0], overflow)
        if overflow == ROOM:
            same_order(points, found_along(neighbors, path, case.dtype))
            assert type(neighbors) is type(before)
    raise AssertionError(f"{neighbors} still overflows: {overflow}")


def same_order(few: list[Pairs], many: list[Pairs]) -> None:
    """Where the smaller list held, the larger one begins with the same, and goes on with nothing."""
    for small, large in zip(few, many, strict=True):
        if int(small.overflow):
            continue
        count = len(small.mask)
        for name in ("vectors", "centers", "others", "mask"):
            np.testing.assert_array_equal(getattr(small, name), getattr(large, name)[:count])
        assert not large.mask[count:].any()


FAST = [
    Case("ordinary", "pairs", 2.0),
    Case("ordinary", "cells", 2.0, "float32"),
    Case("skewed", "pairs", 2.0, "float32"),
    Case("left-handed", "cells", 2.0),
    Case("thin", "cells", 2.0),
    Case("thin", "table", 2.0, "float32"),
    Case("tiny", "pairs", 2.5),
    Case("two axes", "cells", 2.0),
    Case("one axis", "pairs", 2.0),
    Case("molecule", "cells", 2.0, "float32"),
    Case("molecule", "table", 5.0),
]
SEARCHES = [("pairs", 2.0, "float64"), ("cells", 2.0, "float32"), ("table", 2.0, "float32")]
ALL = [
    Case(kind, search, cutoff, dtype)
    for kind in ("ordinary", "left-handed", "thin", "two axes", "one axis", "molecule", "skewed")
    for search, cutoff, dtype in SEARCHES
    if (kind, search) != ("skewed", "table")
] + [Case("skewed", "cells", 1.5), *(Case("tiny", "pairs", cutoff, "float32") for cutoff in (1.2, 2.5))]


@pytest.mark.parametrize("case", FAST, ids=lambda case: "-".join(map(str, case)))
@settings(max_examples=2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), speed=st.floats(0.02, 0.12))
def test_paths(case: Case, seed: int, speed: float) -> None:
    check(case, seed, speed)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: "-".join(map(str, case)))
@settings(max_examples=4, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), speed=st.floats(0.0, 0.12))
def test_many_paths(case: Case, seed: int, speed: float) -> None:
    check(case, seed, speed)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["molecule", "ordinary", "tiny", "left-handed", "one axis", "two axes", "unwrapped"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_both_brute_forces_agree(kind: str, seed: int) -> None:
    system = random_system(kind, 4, seed)
    must, may = brute_force(system, 2.0, margin=1e-9)
    assert must <= set(within(system, 2.0)) <= must | may


@pytest.mark.parametrize("search", ["pairs", "table", "cells"])
def test_a_cell_that_becomes_too_thin_only_later_is_mended_from_the_start(search: str) -> None:
    """At the start of the path nothing is short. A list that holds there alone would overflow for ever."""
    edge, cutoff = {"pairs": (4.1, 2.0), "table": (4.1, 2.0), "cells": (6.3, 2.0)}[search]
    rng = np.random.default_rng(2)
    system = System(rng.uniform(0.0, edge, (80, 3)), np.ones(80, int), edge * np.eye(3), (True, True, True))
    neighbors = cell_list.allocate(system, cutoff, capacity=4000)
    if search != "cells":
        capacity = None if search == "table" else 3000
        neighbors = dense.allocate(system, cutoff, capacity, table_from=0.0 if search == "table" else 1.0)
    assert neighbors is not None
    strains = [np.diag([1.0, 1.0 - share, 1.0]) for share in (0.0, 0.04, 0.12, 0.24)]
    path = [System(system.positions @ s, system.numbers, system.cell @ s, system.pbc) for s in strains]  # type: ignore[operator]
    overflows = [int(pairs.overflow) for pairs in found_along(neighbors, path, "float64")]
    assert overflows[0] == 0 and overflows[-1] & THIN
    for _ in range(MAX_ATTEMPTS // 2):
        neighbors = enlarged(neighbors, system, int(np.bitwise_or.reduce(overflows)))
        found = found_along(neighbors, path, "float64")
        overflows = [int(pairs.overflow) for pairs in found]
        if not any(overflows):
            break
    assert not any(overflows)
    for structure, pairs in zip(path, found, strict=True):
        assert not (report := fault(structure, cutoff, pairs, "float64")), report
