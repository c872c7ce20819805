"""Whole runs with the search in cells: those with the search over all pairs, and the same after an overflow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from so3krates import md
from so3krates.io.trajectory import Frames, Trajectory
from so3krates.neighbors import cell_list, dense
from so3krates.neighbors.cell_list import CellNeighbors, Room
from so3krates.neighbors.choice import Searched, recorded, restored
from so3krates.neighbors.lists import Neighbors
from so3krates.system import System

CUTOFF = 9.0
QUIET = md.Monitor(max_bond_deviation=None)


@pytest.fixture(params=["box", "molecule"])
def gas(request: pytest.FixtureRequest) -> System:
    """Argon on a grid, in a cell of two and a half cutoffs or without one."""
    edge = 23.0
    places = np.stack(np.meshgrid(*[np.arange(5.0) * edge / 5.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    places += np.random.default_rng(0).uniform(-0.3, 0.3, places.shape)
    if request.param == "molecule":
        return System(places, np.full(len(places), 18))
    cell = edge * np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [-0.1, 0.05, 1.0]])
    return System(places, np.full(len(places), 18), cell, (True, True, True))


def frames(argon, gas: System, neighbors: Searched, dtype: str = "float64", **options) -> tuple[Frames, int]:
    run = md.simulate(
        argon(dtype),
        gas,
        md.Langevin(temperature_K=80.0),
        timestep_fs=4.0,
        steps=options.pop("steps", 120),
        neighbors=Neighbors(neighbors),
        monitor=QUIET,
        save_forces=True,
        save_every_fs=80.0,
        **options,
    )[1]
    return run.frames, run.summary.neighbor_retries  # type: ignore[return-value]


def cells(gas: System) -> CellNeighbors:
    found = cell_list.allocate(gas, CUTOFF)
    assert found is not None
    return found


def test_a_run_in_cells_equals_one_over_all_pairs(argon, gas: System) -> None:
    """In double precision the order of sums is all that differs: 120 steps amplify the rounding by very little."""
    (ours, _), (theirs, _) = frames(argon, gas, cells(gas)), frames(argon, gas, dense.allocate(gas, CUTOFF))
    np.testing.assert_allclose(ours.forces[0], theirs.forces[0], atol=1e-13)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-10)
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-10)
    np.testing.assert_allclose(ours.potential_energy, theirs.potential_energy, atol=1e-11)


@pytest.mark.parametrize("short", ["pairs", "images"])
def test_forced_overflow_gives_the_trajectory_of_a_large_list(argon, gas: System, short: str) -> None:
    enough = cells(gas)
    large = replace(enough, capacity=3 * enough.capacity, room=Room(*(2 * count for count in enough.room)))
    small = replace(enough, capacity=8) if short == "pairs" else replace(enough, room=Room(32, 32, 96))
    (few, retries), (many, none) = frames(argon, gas, small, "float32"), frames(argon, gas, large, "float32")
    assert retries >= 1 and none == 0
    for name, values in few.present().items():
        np.testing.assert_array_equal(values, many.present()[name], err_msg=name)


def test_a_resumed_run_goes_on_in_the_same_cells(argon, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    system = System(rng.permutation(np.mgrid[:7, :7, :7].reshape(3, -1).T * 4.0), np.full(343, 18))
    start = cells(system)
    assert restored(dense.allocate(system, CUTOFF), recorded(start)) == start
    whole, _ = frames(argon, system, start, "float32", steps=40)
    path = tmp_path / "run.h5"
    frames(argon, system, start, "float32", steps=20, to=path)
    # What it begins with is not what it goes on with: that is in the checkpoint.
    other = dense.allocate(system, CUTOFF)
    frames(argon, system, other, "float32", steps=40, to=path, resume=True)
    parts = Trajectory(path).read()
    for name, values in whole.present().items():
        np.testing.assert_array_equal(values, parts.present()[name], err_msg=name)
