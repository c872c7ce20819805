"""Compiled programs are given back before the system refuses more of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates import _programs, md
from so3krates.system import System


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "max_map_count"
    limit.write_text("10\n")
    monkeypatch.setattr(_programs, "LIMIT", limit)


needs_maps = pytest.mark.skipif(not _programs.MAPS.exists(), reason="memory maps are counted on Linux alone")


@needs_maps
def test_few_programs_stay() -> None:
    double = jax.jit(lambda x: 2.0 * x)
    double(jnp.ones(3))
    assert not _programs.forget_if_too_many()
    assert double._cache_size() == 1


@needs_maps
def test_many_are_forgotten_and_their_memory_maps_given_back(small_limit: None) -> None:
    double = jax.jit(lambda x: 2.0 * x)
    for size in range(1, 9):
        double(jnp.ones(size))
    assert double._cache_size() == 8
    before = _programs.MAPS.read_bytes().count(b"\n")
    assert _programs.forget_if_too_many()
    assert double._cache_size() == 0
    assert _programs.MAPS.read_bytes().count(b"\n") < before
    np.testing.assert_array_equal(double(jnp.ones(2)), [2.0, 2.0])


@needs_maps
def test_dynamics_after_dynamics_gives_them_back(cluster: System, argon, small_limit: None) -> None:
    double = jax.jit(lambda x: 2.0 * x)
    double(jnp.ones(3))
    md.simulate(argon("float64"), cluster, md.NVE(), timestep_fs=2.0, steps=2, initial_temperature_K=10.0)
    assert double._cache_size() == 0


def test_nothing_happens_where_maps_cannot_be_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_programs, "MAPS", tmp_path / "none")
    assert not _programs.forget_if_too_many()
