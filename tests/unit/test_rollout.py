"""Chunks are committed as a whole or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates._errors import CapacityError
from so3krates.neighbors.dense import DenseNeighbors, allocate
from so3krates.rollout import MAX_ATTEMPTS, run_chunk
from so3krates.system import System


def contracting(state: jax.Array, neighbors: DenseNeighbors) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ten steps in which a crystal shrinks, so that pairs keep coming in; the record is the count of pairs."""
    cell = jnp.eye(3) * 6.0

    def step(positions: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        pairs = neighbors.update(positions, cell)
        return 0.95 * positions, (jnp.sum(pairs.mask), pairs.overflow)

    final, (counts, overflow) = jax.lax.scan(step, state, None, length=10)
    return final, counts, jnp.any(overflow)


def start() -> System:
    grid = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3) * 2.5
    return System(grid, np.ones(8, int), 6.0 * np.eye(3), (True, True, True))


def test_overflow_is_thrown_away_and_the_result_is_that_of_a_large_list() -> None:
    system = start()
    state = jnp.asarray(system.positions)
    seen = []

    def enlarge(state: jax.Array, neighbors: DenseNeighbors) -> DenseNeighbors:
        seen.append(np.asarray(state))
        return neighbors.larger(system)

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
        return state + 1, capacity, jnp.asarray(capacity < 3)

    first = run_chunk(chunk, 0, 1, lambda state, capacity: capacity + 1)
    second = run_chunk(chunk, first.state, first.neighbors, lambda state, capacity: capacity + 1)
    assert calls == [1, 2, 3, 3]
    assert (second.state, second.retries) == (2, 0)


def test_gives_up_on_a_collapse() -> None:
    capacities = []

    def chunk(state: int, capacity: int) -> tuple[int, None, jax.Array]:
        capacities.append(capacity)
        return state, None, jnp.asarray(True)

    with pytest.raises(CapacityError, match="collapsing"):
        run_chunk(chunk, 0, 1, lambda state, capacity: 2 * capacity)
    assert capacities == [2**n for n in range(MAX_ATTEMPTS)]
