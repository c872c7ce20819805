"""Block after block gives what all pairs at once give, with the derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.long_range import long_range_potential

from so3krates.nn import blocks
from so3krates.nn.blocks import in_blocks
from so3krates.potential import Potential
from so3krates.system import System


@pytest.fixture
def cluster(rng: np.random.Generator) -> System:
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
    positions = 1.6 * grid + rng.normal(scale=0.1, size=grid.shape)
    return System(positions, np.array([1, 6, 8, 1, 6, 8, 1, 6]))


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FEW", 4)
    monkeypatch.setattr(blocks, "BLOCK", 5)
    jax.clear_caches()


@pytest.mark.slow
def test_energies_and_forces_are_those_of_one_block(cluster: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def results(potential: Potential) -> tuple[np.ndarray, ...]:
        prediction = potential.predict([cluster])[0]
        assert prediction.charges is not None
        return prediction.energies, prediction.forces, prediction.charges

    potential = long_range_potential()
    whole = results(potential)
    small_blocks(monkeypatch)
    parts = results(potential)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("count", [3, 5, 23])
def test_each_pair_is_added_once_and_answered_in_its_place(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    values = jnp.arange(1.0, count + 1.0)
    sizes = []

    def add(total: jax.Array, part: jax.Array) -> tuple[jax.Array, jax.Array]:
        sizes.append(len(part))
        return total + jnp.sum(part), part * part

    total, squares = in_blocks(add, jnp.zeros(()), values)
    assert float(total) == count * (count + 1) / 2
    np.testing.assert_array_equal(squares, values * values)
    assert max(sizes) <= 5


def test_the_number_of_blocks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of fixed size the derivative would take a time that grows with the square of the atoms."""
    monkeypatch.setattr(blocks, "MOST_BLOCKS", 3)
    sizes = []

    def add(total: jax.Array, part: jax.Array) -> tuple[jax.Array, jax.Array]:
        sizes.append(len(part))
        return total + jnp.sum(part), part

    in_blocks(add, jnp.zeros(()), jnp.ones(10 * blocks.FEW))
    assert set(sizes) == {-(-10 * blocks.FEW // 3)}
