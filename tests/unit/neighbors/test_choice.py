"""Which search is chosen, and how a list is enlarged or read from a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates.neighbors import CellNeighbors, DenseNeighbors, allocate
from so3krates.neighbors.choice import enlarged
from so3krates.neighbors.lists import Neighbors
from so3krates.system import System


def crystal(count: int, spacing: float = 3.0) -> System:
    places = spacing * np.stack(np.meshgrid(*[np.arange(float(count))] * 3, indexing="ij"), -1).reshape(-1, 3)
    return System(places, np.full(len(places), 18), count * spacing * np.eye(3), (True, True, True))


@pytest.mark.parametrize(("count", "kind"), [(4, DenseNeighbors), (12, CellNeighbors)])
def test_the_number_of_atoms_decides(count: int, kind: type) -> None:
    assert isinstance(allocate(crystal(count), 4.0, capacity=8), kind)


def test_no_pairs_and_no_atoms_need_no_cells() -> None:
    assert isinstance(allocate(crystal(12), 0.0), DenseNeighbors)
    assert isinstance(allocate(System(np.zeros((0, 3)), np.zeros(0, int)), 4.0), DenseNeighbors)
    with pytest.raises(InputError, match="cutoff"):
        allocate(crystal(2), -1.0)


def test_a_cell_that_became_too_thin_is_left_to_the_search_over_all_pairs() -> None:
    """A slab of 1,536 atoms whose height shrinks below the cutoff."""
    layers = np.stack(np.meshgrid(np.arange(16.0), np.arange(48.0), np.arange(2.0), indexing="ij"), -1).reshape(-1, 3)
    slab = System(3.0 * layers, np.full(len(layers), 18), np.diag([48.0, 144.0, 6.0]), (True, True, True))
    start = allocate(slab, 4.0)
    assert isinstance(start, CellNeighbors)
    squeezed = 0.6 * np.eye(3) + 0.4 * np.diag([1.0, 1.0, 0.0])
    thin = System(slab.positions @ squeezed, slab.numbers, np.diag([48.0, 144.0, 3.6]), slab.pbc)
    assert bool(jax.jit(start.update)(jnp.asarray(thin.positions), jnp.asarray(thin.cell)).overflow)
    larger = enlarged(start, thin)
    assert isinstance(larger, DenseNeighbors) and larger.images[2] > 0


def test_near_and_far_pairs_in_cells() -> None:
    system = crystal(12)
    both = Neighbors.of(system, 3.5, 5.0)
    assert isinstance(both.near, CellNeighbors) and isinstance(both.far, CellNeighbors)
    found = jax.jit(both.update)(jnp.asarray(system.positions), jnp.asarray(system.cell))
    assert found.far is not None and not bool(found.overflow)
    assert int(jnp.sum(found.near.mask)) == 3 * len(system)
    assert int(jnp.sum(found.far.mask)) == (3 + 6) * len(system)
    again = both.larger(system)
    assert isinstance(again.far, CellNeighbors) and again.far.grid == both.far.grid
