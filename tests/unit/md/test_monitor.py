"""Each reason for which the monitor stops a run, and that it stays silent otherwise."""

from pathlib import Path

import ase.io
import numpy as np
import pytest

from so3krates import md
from so3krates._errors import ConfigError, InputError, SimulationStopped
from so3krates.io.trajectory import Trajectory
from so3krates.md.watch import make_watch
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System

BOND = LennardJones(0.5, 0.66, 6.0)
"""Two hydrogen atoms with a minimum at 0.74 Å, 0.5 eV deep."""

STRICT = md.Monitor(max_bond_deviation=1.0)


def pair(distance: float) -> System:
    return System(np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]), np.array([1, 1]))


def collide(speed: float, distance: float, monitor: md.Monitor, to: Path | None = None) -> md.RunStopped:
    """Two atoms with opposite velocities along their axis (Å/fs, positive: apart); must be stopped."""
    velocities = np.array([[-speed, 0, 0], [speed, 0, 0]])
    with pytest.raises(SimulationStopped) as caught:
        md.simulate(
            Potential(BOND),
            md.Snapshot(pair(distance), velocities),
            md.NVE(),
            timestep_fs=0.1,
            steps=5000,
            save_every_fs=1.0,
            monitor=monitor,
            to=to,
        )
    assert isinstance(caught.value, md.RunStopped)
    return caught.value


def test_a_bond_that_breaks(tmp_path: Path) -> None:
    stopped = collide(0.1, 0.75, STRICT, tmp_path / "run.h5")
    assert stopped.reason == "bond_broken"
    assert "H0–H1" in str(stopped) and "1 Å from its reference of 0.750 Å" in str(stopped)
    frames = ase.io.read(tmp_path / "run_stopped.extxyz", ":")
    assert frames[-1].info["step"] == stopped.step
    assert frames[-1].get_distance(0, 1) > 1.75 >= frames[-2].get_distance(0, 1)
    assert frames[-2].info["step"] == (stopped.step - 1) // 10 * 10
    kept = Trajectory(tmp_path / "run.h5").read()
    assert kept.step.tolist() == list(range(0, stopped.step, 10))
    assert stopped.run is not None and stopped.run.summary.frames == len(kept)
    assert stopped.time_fs == pytest.approx(0.1 * stopped.step)


def test_the_first_step_beyond_the_threshold_stops() -> None:
    """Checked in every step and not only in saved ones."""
    stopped = collide(0.1, 0.75, md.Monitor(max_bond_deviation=0.7))
    velocities = np.array([[-0.1, 0, 0], [0.1, 0, 0]])
    _, run = md.simulate(
        Potential(BOND),
        md.Snapshot(pair(0.75), velocities),
        md.NVE(),
        timestep_fs=0.1,
        steps=stopped.step,
        save_every_fs=0.1,
        monitor=md.Monitor(max_bond_deviation=None),
    )
    length = np.linalg.norm(run.frames.positions[:, 1] - run.frames.positions[:, 0], axis=-1)
    assert np.argmax(np.abs(length - 0.75) > 0.7) == stopped.step


def test_the_criterion_of_the_benchmarks() -> None:
    monitor = md.Monitor.benchmark(((0, 1),), (0.8,))
    assert "0.5 Å from its reference of 0.800 Å" in str(collide(0.1, 0.75, monitor))


def test_atoms_that_come_too_close() -> None:
    stopped = collide(-0.05, 3.0, md.Monitor(min_distance=0.7, max_temperature_K=None))
    assert stopped.reason == "too_close"
    assert "H0 and H1 are only 0.68" in str(stopped) and "(limit 0.7 Å)" in str(stopped)


def test_a_temperature_beyond_the_limit() -> None:
    """Falling into the well heats; the limit lies between start and bottom."""
    stopped = collide(-0.02, 2.5, md.Monitor(max_temperature_K=2000.0, min_distance=None))
    assert stopped.reason == "too_hot" and "exceeds 2000 K" in str(stopped)
    assert stopped.run is not None and stopped.run.frames.temperature.max() <= 2000.0


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    blind = md.Monitor(max_temperature_K=None, min_distance=None)
    stopped = collide(-1e30, 3.0, blind, tmp_path / "run.h5")
    assert stopped.reason == "not_finite"
    assert len(ase.io.read(tmp_path / "run_stopped.extxyz", ":")) >= 1


def test_a_start_that_is_already_wrong(tmp_path: Path) -> None:
    with pytest.raises(SimulationStopped, match="0.300 Å apart") as caught:
        md.simulate(
            Potential(BOND),
            pair(0.3),
            md.NVE(),
            timestep_fs=0.1,
            steps=10,
            initial_temperature_K=10.0,
            to=tmp_path / "run.h5",
        )
    assert caught.value.step == 0


def test_thermalisation_is_watched_too() -> None:
    with pytest.raises(SimulationStopped, match="while thermalising") as caught:
        md.simulate(
            Potential(BOND),
            pair(0.75),
            md.NVE(),
            timestep_fs=0.1,
            steps=10,
            initial_temperature_K=9000.0,
            thermalise_ps=5.0,
            monitor=STRICT,
        )
    assert caught.value.reason in ("bond_broken", "too_hot")


def test_bonds_are_found_across_the_cell_and_survive_motion_through_it() -> None:
    cell = 4.0 * np.eye(3)
    system = System(np.array([[0.1, 0, 0], [3.9, 0, 0]]), np.array([6, 1]), cell, (True, True, True))
    watch = make_watch(md.Monitor(bond_factor=1.1, max_bond_deviation=1.0), system, "float64")
    assert len(watch.lengths) == 1
    assert float(watch.lengths[0]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"broken_factor": None, "bonds": [[0, 1]]}, "`bonds` has no effect without `max_bond_deviation`"),
        ({"bond_factor": 1.2, "bonds": [[0, 1]]}, "`bond_factor` finds bonds, so it has no effect beside"),
    ],
)
def test_options_that_would_be_ignored_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        md.Monitor.parse(values, "monitor")


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        (md.Monitor(bonds=((0, 2),)), "from 0 to 1"),
        (md.Monitor(bonds=((0, 0),)), "different atoms"),
        (md.Monitor(bonds=((0, 1),), bond_lengths=(1.0, 2.0)), "one for each"),
        (md.Monitor(bond_lengths=(1.0,)), "one for each"),
    ],
)
def test_bonds_that_make_no_sense(monitor: md.Monitor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_watch(monitor, pair(0.75), "float32")
