"""Each reason for which the monitor stops a run, and that it stays silent otherwise."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from so3krates import md
from so3krates._errors import ConfigError, InputError, SimulationStopped
from so3krates._typing import Array
from so3krates.io.trajectory import Trajectory
from so3krates.md.engine import engine
from so3krates.md.monitoring.watch import make_watch
from so3krates.md.state import Forces
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


class Leaking(md.NVE):
    """Its conserved quantity grows by 1 meV in each step."""

    def conserved(self, state: md.State) -> Array:
        return super().conserved(state) + 1e-3 * state.step.astype(state.energy.dtype)


class Inflating(md.NVE):
    """The cell grows by 1 % along each axis in each step, and nothing in it moves."""

    def step(self, state: md.State, forces: Forces) -> md.State:
        del forces
        assert state.cell is not None
        return replace(state, cell=1.01 * state.cell)


class Squeezed(md.NVE):
    """Under a pressure from outside that the potential knows nothing of."""

    def init(self, state: md.State, timestep_fs: float) -> md.State:
        virial = -1e3 * jnp.eye(3, dtype=state.positions.dtype)
        return super().init(replace(state, virial=virial), timestep_fs)


def stopped_by(integrator: md.NVE, system: System, monitor: md.Monitor, potential: Potential) -> md.RunStopped:
    with pytest.raises(md.RunStopped) as caught:
        md.simulate(
            potential,
            system,
            integrator,
            timestep_fs=1.0,
            steps=300,
            initial_temperature_K=20.0,
            save_every_fs=10.0,
            monitor=monitor,
        )
    return caught.value


def test_drift_is_counted_from_the_start_of_the_run(cluster: System, argon) -> None:
    """13 atoms, 2 meV each: in step 27, whatever the energy of the start."""
    stopped = stopped_by(Leaking(), cluster, md.Monitor(max_drift_meV_per_atom=2.0), argon("float64"))
    assert stopped.reason == "energy_drift" and stopped.step == 27
    assert "+2.1 meV per atom away from that of the start (limit 2)" in str(stopped)


def test_the_start_of_a_run_is_remembered_when_it_resumes(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 1.0, "initial_temperature_K": 20.0, "to": tmp_path / "run.h5", "resume": True}
    monitor = md.Monitor(max_drift_meV_per_atom=2.0)
    md.simulate(argon("float32"), cluster, Leaking(), steps=20, monitor=monitor, **arguments)
    with pytest.raises(md.RunStopped, match="at step 27 ") as caught:
        md.simulate(argon("float32"), cluster, Leaking(), steps=100, monitor=monitor, **arguments)
    assert caught.value.reason == "energy_drift"
    _, run = md.simulate(argon("float32"), cluster, Leaking(), steps=100, **arguments)
    _, through = md.simulate(
        argon("float32"), cluster, Leaking(), steps=100, **arguments | {"to": None, "resume": False}
    )
    np.testing.assert_array_equal(run.frames.positions, through.frames.positions)


def test_a_cell_that_grows(cluster: System, argon) -> None:
    """1.01^(3n) > 2 from n = 24 on."""
    box = replace(cluster, cell=40.0 * np.eye(3), pbc=(True, True, True))
    stopped = stopped_by(Inflating(), box, md.Monitor(), argon("float64"))
    assert stopped.reason == "volume_changed" and stopped.step == 24


def test_pressure_beyond_the_limit(cluster: System, argon) -> None:
    box = replace(cluster, cell=40.0 * np.eye(3), pbc=(True, True, True))
    stopped = stopped_by(Squeezed(), box, md.Monitor(max_pressure_GPa=1e-7), argon("float64"))
    assert stopped.reason == "extreme_pressure" and "GPa exceeds 1e-07 GPa" in str(stopped)


def test_a_broken_bond_is_reported_and_the_run_goes_on(tmp_path: Path) -> None:
    """Until the atoms are 10 Å apart, which is where a molecule counts as torn apart."""
    stopped = collide(0.1, 0.75, md.Monitor(), tmp_path / "run.h5")
    assert stopped.reason == "torn_apart" and "seen at a saved frame; the last good frames" in str(stopped)
    assert stopped.run is not None
    assert [event.kind for event in stopped.run.events] == ["bond_broken", "torn_apart"]
    distance = np.linalg.norm(np.diff(stopped.run.frames.positions, axis=1), axis=-1)[:, 0]
    broken = stopped.run.events[0]
    first = int(np.argmax(distance > 1.5 * 0.75))
    assert broken.step == stopped.run.frames.step[first] and broken.value == pytest.approx(distance[first], abs=1e-6)
    assert distance.max() <= 10.0 and stopped.run.frames.step[-1] == stopped.step - 10
    frames = ase.io.read(tmp_path / "run_stopped.extxyz", ":")
    assert frames[-1].info["step"] == stopped.step
    assert frames[-1].get_distance(0, 1) > 10.0 >= frames[-2].get_distance(0, 1)


def test_a_run_that_a_saved_frame_ended_goes_on_with_another_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of few frames, so that the resume begins in the middle; events and trajectory are those of one run."""
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-4)
    arguments = {"timestep_fs": 0.1, "steps": 400, "save_every_fs": 1.0}
    start = md.Snapshot(pair(0.75), np.array([[-0.1, 0, 0], [0.1, 0, 0]]))
    path = tmp_path / "run.h5"

    def run(monitor: md.Monitor, **options) -> md.Run:
        return md.simulate(Potential(BOND), start, md.NVE(), monitor=monitor, **arguments | options)[1]

    through = run(md.Monitor(max_gap=3.0, stop_on=()))
    assert [event.kind for event in through.events] == ["bond_broken", "torn_apart"]
    for kind, event in zip(("bond_broken", "torn_apart"), through.events, strict=True):
        with pytest.raises(md.RunStopped) as caught:
            run(md.Monitor(max_gap=3.0, stop_on=(kind,)), to=path, resume=True)
        assert (caught.value.reason, caught.value.step) == (kind, event.step)
    resumed = run(md.Monitor(max_gap=3.0, stop_on=()), to=path, resume=True)
    assert resumed.events == through.events
    np.testing.assert_array_equal(resumed.frames.positions, through.frames.positions)
    assert run(md.Monitor(max_gap=3.0, stop_on=()), to=path, resume=True, steps=400).events == through.events


def test_what_happens_first_ends_the_run() -> None:
    """A saved frame shows the broken bond some steps before the check in every step fails, in the same chunk."""
    stopped = collide(0.1, 0.75, md.Monitor(max_bond_deviation=1.0, stop_on=("bond_broken",)))
    assert stopped.reason == "bond_broken" and "is broken:" in str(stopped)
    assert stopped.step < collide(0.1, 0.75, STRICT).step
    late = collide(0.1, 0.75, md.Monitor(max_bond_deviation=0.2, stop_on=("bond_broken",)))
    assert "0.2 Å from its reference" in str(late) and late.run is not None and late.run.events == ()


def test_events_are_told_once_in_the_reports() -> None:
    told: list[md.Event] = []
    start = md.Snapshot(pair(0.75), np.array([[-0.1, 0, 0], [0.1, 0, 0]]))
    _, run = md.simulate(
        Potential(BOND),
        start,
        md.NVE(),
        timestep_fs=0.1,
        steps=400,
        save_every_fs=1.0,
        report=lambda report: told.extend(report.events),
    )
    assert tuple(told) == run.events and len(told) == 1


def test_events_are_printed_and_the_rest_is_counted() -> None:
    events = tuple(md.Event(n, 1000.0 * n, "bond_broken", (0, n), 2.0, f"bond {n} is broken") for n in range(7))
    written = StringIO()
    with md.progress_bar(Console(file=written, width=80, force_terminal=False)) as show:
        show(md.Report(1, 5, 300.0, -1.0, 10.0, 0.4, events=events))
        show(md.Report(2, 5, 300.0, -1.0, 10.0, 0.4, events=events[:1]))
    lines = written.getvalue().splitlines()
    assert lines[1:7] == [f"at {n}.000 ps bond {n} is broken" for n in range(5)] + ["and 2 more events"]
    assert lines[7] == "at 0.000 ps bond 0 is broken"


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
