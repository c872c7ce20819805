"""Whole runs with the search in cells, in every step or with a skin: those with the search over all pairs, and the same
after an overflow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from so3krates import md
from so3krates.io.trajectory import Frames, Trajectory
from so3krates.md.engine import engine, record_room
from so3krates.md.engine.engine import Engine
from so3krates.md.engine.track import Track
from so3krates.md.monitoring.inspection import Inspector
from so3krates.md.records.output import MemoryOutput
from so3krates.md.records.settings import make_settings
from so3krates.neighbors import cell_list, dense, verlet
from so3krates.neighbors.cell_list import CellNeighbors, Room
from so3krates.neighbors.choice import Searched, recorded, restored
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.verlet import VerletNeighbors
from so3krates.potential import Potential
from so3krates.system import System

CUTOFF = 9.0
QUIET = md.Monitor(max_bond_deviation=None)


@pytest.fixture(params=[pytest.param("box", marks=pytest.mark.slow), "molecule"])
def gas(request: pytest.FixtureRequest) -> System:
    """Argon on a grid, in a cell of two and a half cutoffs or without one."""
    edge = 23.0
    places = np.stack(np.meshgrid(*[np.arange(5.0) * edge / 5.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    places += np.random.default_rng(0).uniform(-0.3, 0.3, places.shape)
    if request.param == "molecule":
        return System(places, np.full(len(places), 18))
    cell = edge * np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [-0.1, 0.05, 1.0]])
    return System(places, np.full(len(places), 18), cell, (True, True, True))


def lattice(spacing: float) -> System:
    """125 atoms of argon in a cube."""
    places = np.stack(np.meshgrid(*[np.arange(5.0) * spacing] * 3, indexing="ij"), -1).reshape(-1, 3)
    return System(places, np.full(125, 18), 5.0 * spacing * np.eye(3), (True, True, True))


def frames(argon, gas: System, neighbors: Searched, dtype: str = "float64", **options) -> tuple[Frames, int]:
    run = md.simulate(
        argon(dtype),
        gas,
        options.pop("ensemble", md.Langevin(temperature_K=80.0)),
        timestep_fs=4.0,
        steps=options.pop("steps", 60),
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


def skin(gas: System) -> VerletNeighbors:
    found = verlet.allocate(gas, CUTOFF, 0.5)
    assert found is not None
    return found


SEARCHES = {"cells": cells, "skin": skin}
SEARCHED = [pytest.param("cells", marks=pytest.mark.slow), "skin"]
"""Candidates are searched for in cells too."""


@pytest.mark.parametrize("search", SEARCHED)
def test_a_run_in_cells_equals_one_over_all_pairs(argon, gas: System, search: str) -> None:
    """In double precision the order of sums is all that differs: 60 steps amplify the rounding by very little."""
    (ours, _), (theirs, _) = (frames(argon, gas, each) for each in (SEARCHES[search](gas), dense.allocate(gas, CUTOFF)))
    np.testing.assert_allclose(ours.forces[0], theirs.forces[0], atol=1e-13)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-10)
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-10)
    np.testing.assert_allclose(ours.potential_energy, theirs.potential_energy, atol=1e-11)


def scarce(enough: Searched, short: str) -> tuple[Searched, Searched]:
    """A list with too little room, and one with plenty."""
    if isinstance(enough, VerletNeighbors):
        few, many = scarce(enough.search, short) if short == "images" else (enough.search, enough.search)
        plenty = enough.search.capacity - 8
        capacities = (8 if short == "pairs" else plenty, plenty)
        return tuple(
            replace(enough, search=search, capacity=capacity)
            for search, capacity in zip((few, many), capacities, strict=True)
        )  # type: ignore[return-value]
    assert isinstance(enough, CellNeighbors)
    large = replace(enough, capacity=3 * enough.capacity, room=Room(*(2 * count for count in enough.room)))
    return replace(enough, capacity=8) if short == "pairs" else replace(enough, room=Room(32, 32, 96)), large


@pytest.mark.parametrize("short", ["pairs", "images"])
@pytest.mark.parametrize("search", SEARCHED)
def test_forced_overflow_gives_the_trajectory_of_a_large_list(argon, gas: System, search: str, short: str) -> None:
    small, large = scarce(SEARCHES[search](gas), short)
    (few, retries), (many, none) = frames(argon, gas, small, "float32"), frames(argon, gas, large, "float32")
    assert retries >= 1 and none == 0
    for name, values in few.present().items():
        np.testing.assert_array_equal(values, many.present()[name], err_msg=name)


@pytest.mark.parametrize("search", SEARCHED)
def test_a_resumed_run_goes_on_in_the_same_cells(argon, tmp_path: Path, search: str) -> None:
    """With a skin too, whose candidates are older than the checkpoint."""
    rng = np.random.default_rng(1)
    system = System(rng.permutation(np.mgrid[:7, :7, :7].reshape(3, -1).T * 4.0), np.full(343, 18))
    start = SEARCHES[search](system)
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


@pytest.mark.slow
def test_candidates_hold_while_a_barostat_moves_the_cell(argon) -> None:
    """Pressure enough to make the cell shrink by the skin and more."""
    system = lattice(4.8)
    ensemble = md.StochasticCellRescaling(
        temperature_K=80.0, pressure_GPa=0.05, compressibility_per_GPa=5.0, barostat_time_fs=200.0
    )
    ours, theirs = (
        frames(argon, system, each, ensemble=ensemble, steps=120)[0]
        for each in (skin(system), dense.allocate(system, CUTOFF))
    )
    assert ours.volume[-1] < 0.95 * ours.volume[0]  # type: ignore[index]
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-9)
    np.testing.assert_allclose(ours.volume, theirs.volume, rtol=1e-11)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
def test_another_grid_comes_in_at_a_step_of_the_trajectory(
    argon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    """The cell becomes too thin for the grid. Long chunks, short ones, and a run that is resumed give the same bits."""
    system = lattice(4.62)
    squeezed = md.StochasticCellRescaling(
        temperature_K=80.0, pressure_GPa=0.05, compressibility_per_GPa=5.0, barostat_time_fs=200.0
    )
    start = SEARCHES[search](system)
    asked = {"ensemble": squeezed, "dtype": "float32"}
    whole, retries = frames(argon, system, start, **asked, steps=40)
    for steps in (20, 40):
        frames(argon, system, start, **asked, steps=steps, to=tmp_path / "parts.h5", resume=True)
    monkeypatch.setattr(record_room, "RECORD_BYTES", 1)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-9)
    short, _ = frames(argon, system, start, **asked, steps=40)
    assert retries >= 1
    for other in (short, Trajectory(tmp_path / "parts.h5").read()):
        for name, values in whole.present().items():
            np.testing.assert_array_equal(values, other.present()[name], err_msg=name)


def test_large_structures_keep_candidates_and_replicas_search_in_every_step(argon) -> None:
    places = np.stack(np.meshgrid(*[np.arange(12.0) * 4.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    system = System(places, np.full(len(places), 18), 48.0 * np.eye(3), (True, True, True))
    asked = {"timestep_fs": 4.0, "steps": 0, "initial_temperature_K": 80.0}
    for start, kept in ((system, True), (System(places[:20], np.full(20, 18)), False)):
        made = engine_of(argon("float32"), start, **asked)
        assert bool(made.neighbors.verlet_lists) == kept
    assert not engine_of(argon("float32"), system, together=True, **asked).neighbors.verlet_lists


def engine_of(potential: Potential, system: System, together: bool = False, **asked) -> Engine:
    start = md.Snapshot(system)
    recording = md.Recording()
    settings = make_settings(potential, start, md.NVE(), QUIET, recording=recording, seed=0, thermalise_ps=0.0, **asked)
    inspector = Inspector(QUIET, system, settings.frame_fs, None)
    return Engine.of(potential, [Track(settings, start, inspector, MemoryOutput())], together=together)
