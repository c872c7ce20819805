"""Chunks are committed as a whole or not at all."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates._errors import CapacityError
from so3krates.neighbors import cell_list
from so3krates.neighbors.cell_list import CellNeighbors, Room
from so3krates.neighbors.choice import Searched
from so3krates.neighbors.dense import DenseNeighbors, allocate
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import FAR, LIST, ROOM, THIN
from so3krates.rollout import MAX_ATTEMPTS, run_chunk
from so3krates.system import System


def contracting(state: jax.Array, neighbors: DenseNeighbors) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ten steps in which a crystal shrinks, so that pairs keep coming in; the record is the count of pairs."""
    cell = jnp.eye(3) * 6.0

    def step(positions: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        pairs = neighbors.update(positions, cell)
        return 0.95 * positions, (jnp.sum(pairs.mask), pairs.overflow)

    final, (counts, overflow) = jax.lax.scan(step, state, None, length=10)
    return final, counts, jnp.max(overflow)


def start() -> System:
    grid = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3) * 2.5
    return System(grid, np.ones(8, int), 6.0 * np.eye(3), (True, True, True))


def test_overflow_is_thrown_away_and_the_result_is_that_of_a_large_list() -> None:
    system = start()
    state = jnp.asarray(system.positions)
    seen = []

    def enlarge(state: jax.Array, neighbors: DenseNeighbors, overflow: int) -> DenseNeighbors:
        seen.append(np.asarray(state))
        return neighbors.larger(system, overflow)

    small, large = allocate(system, 3.0, capacity=8), allocate(system, 3.0, capacity=500)
    tight = run_chunk(contracting, state, small, enlarge)
    roomy = run_chunk(contracting, state, large, enlarge)
    assert tight.retries == len(seen) >= 1
    assert roomy.retries == 0
    for before in seen:
        np.testing.assert_array_equal(before, state)
    np.testing.assert_array_equal(tight.record, roomy.record)
    np.testing.assert_array_equal(tight.state, roomy.state)
    assert tight.neighbors.capacity > 8
    assert int(tight.record[-1]) > int(tight.record[0])


def test_the_next_chunk_starts_with_the_larger_list() -> None:
    calls = []

    def chunk(state: int, capacity: int) -> tuple[int, int, jax.Array]:
        calls.append(capacity)
        return state + 1, capacity, jnp.asarray(capacity < 3, jnp.int32)

    first = run_chunk(chunk, 0, 1, lambda state, capacity, overflow: capacity + overflow)
    second = run_chunk(chunk, first.state, first.neighbors, lambda state, capacity, overflow: capacity + overflow)
    assert calls == [1, 2, 3, 3]
    assert (second.state, second.retries) == (2, 0)


def test_gives_up_on_a_collapse() -> None:
    capacities = []

    def chunk(state: int, capacity: int) -> tuple[int, None, jax.Array]:
        capacities.append(capacity)
        return state, None, jnp.asarray(1)

    with pytest.raises(CapacityError, match="collapsing"):
        run_chunk(chunk, 0, 1, lambda state, capacity, overflow: 2 * capacity)
    assert capacities == [2**n for n in range(MAX_ATTEMPTS)]


class Sheared(NamedTuple):
    """What a fake barostat moves."""

    positions: jax.Array
    velocities: jax.Array
    cell: jax.Array


STRAIN = np.array([[-0.03, 0.02, 0.0], [0.01, -0.02, 0.03], [0.0, -0.02, -0.015]])
STEPS = 8


def barostat(state: Sheared, neighbors: Neighbors) -> tuple[Sheared, jax.Array, jax.Array]:
    """Steps in which the cell shrinks and shears, and springs between all pairs act on the atoms: every bit of the
    result depends on which pairs there are, and on their order."""

    def step(state: Sheared, _: None) -> tuple[Sheared, tuple[jax.Array, jax.Array]]:
        found = neighbors.update(state.positions, state.cell)
        forces = jnp.zeros_like(state.positions)
        for pairs, strength in ((found.near, 0.03), (found.far, 0.001)):
            assert pairs is not None
            pull = strength * jnp.where(pairs.mask[:, None], jnp.sin(pairs.vectors), 0.0)
            forces = forces.at[pairs.centers].add(pull).at[pairs.others].add(-pull)
        velocities = state.velocities + forces
        strain = jnp.eye(3, dtype=state.cell.dtype) + jnp.asarray(STRAIN, state.cell.dtype)
        moved = Sheared((state.positions + velocities) @ strain, velocities, state.cell @ strain)
        return moved, (jnp.sum(jnp.abs(forces)), found.overflow)

    final, (record, overflow) = jax.lax.scan(step, state, None, length=STEPS)
    return final, record, jax.lax.reduce(overflow, jnp.int32(0), jax.lax.bitwise_or, (0,))


def liquid(edge: float) -> System:
    rng = np.random.default_rng(7)
    cell = edge * np.array([[1.0, 0.05, 0.0], [0.1, 1.0, 0.0], [-0.1, 0.05, 1.0]])
    places = np.stack(np.meshgrid(*[np.arange(5.0) / 5.0] * 3, indexing="ij"), -1).reshape(-1, 3) @ cell
    return System(places + rng.uniform(-0.2, 0.2, places.shape), np.ones(125, int), cell, (True, True, True))


def in_cells(system: System, cutoff: float) -> CellNeighbors:
    found = cell_list.allocate(system, cutoff)
    assert found is not None
    return found


def spacious(searched: Searched) -> Searched:
    if isinstance(searched, CellNeighbors):
        return replace(searched, capacity=3 * searched.capacity, room=Room(*(2 * count for count in searched.room)))
    return searched if searched.whole_table else replace(searched, capacity=3 * searched.capacity)


def cramped(searched: Searched) -> Searched:
    if isinstance(searched, CellNeighbors):
        return replace(searched, capacity=8, room=Room(32, 32, 32))
    return searched if searched.whole_table else replace(searched, capacity=8)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("searches", ["dense", "far table", pytest.param("cells", marks=pytest.mark.slow)])
def test_forced_overflow_leaves_every_bit_as_it_is(searches: str, dtype: str) -> None:
    """Both lists too small from the start, in a cell that becomes too thin for either later on."""
    system = liquid(edge := {"dense": 9.0, "far table": 9.0, "cells": 9.6}[searches])
    near, far = 0.33 * edge, 0.46 * edge
    start = Neighbors(allocate(system, near), allocate(system, far, table_from=0.0 if searches == "far table" else 1.0))
    if searches == "cells":
        start = Neighbors(in_cells(system, near), in_cells(system, far))
    assert isinstance(start.far, CellNeighbors) == (searches == "cells")
    state = Sheared(*(jnp.asarray(x, dtype) for x in (system.positions, np.zeros((125, 3)), system.cell)))
    told: dict[str, list[int]] = {"small": [], "large": []}

    def run(name: str, neighbors: Neighbors) -> tuple[Sheared, jax.Array, Neighbors]:
        def enlarge(before: Sheared, neighbors: Neighbors, overflow: int) -> Neighbors:
            np.testing.assert_array_equal(before.positions, state.positions)
            told[name].append(overflow)
            larger = neighbors.larger(system, overflow)
            assert ("near pairs" in neighbors.change(larger)) == bool(overflow & LIST)
            assert ("far pairs" in neighbors.change(larger)) == bool(overflow >> FAR & LIST)
            return larger

        done = run_chunk(jax.jit(barostat, static_argnums=1), state, neighbors, enlarge)
        return done.state, done.record, done.neighbors

    assert start.far is not None
    small = run("small", Neighbors(cramped(start.near), cramped(start.far)))
    large = run("large", Neighbors(spacious(start.near), spacious(start.far)))
    assert told["small"][0] & (ROOM | ROOM << FAR) and not any(overflow & ROOM for overflow in told["large"])
    assert told["large"][0] & THIN << FAR
    np.testing.assert_array_equal(small[1], large[1])
    for ours, theirs in zip(small[0], large[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.ptp(large[1]) > 0.0
