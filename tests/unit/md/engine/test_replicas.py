"""Many replicas at once: each is what it would be on its own, one that dies stops no other, all resume exactly."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates import evaluation, md
from so3krates._errors import CapacityError, FileError, InputError
from so3krates.evaluation import Topology
from so3krates.io.trajectory import Trajectory
from so3krates.long_range import AllPairs
from so3krates.md.conduct import replica_paths
from so3krates.md.engine import engine, record_room
from so3krates.md.engine.track import Track
from so3krates.md.records.run_file import read_summary
from so3krates.md.simulate import replica_settings
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import ROOM
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum

Argon = Callable[[str], Potential]
QUIET = md.Monitor(max_gap=None)


@pytest.fixture
def crystal() -> System:
    """Argon, 32 atoms of an fcc lattice; the cell is thinner than twice the cutoff."""
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = (cells[:, None] + base).reshape(-1, 3) * 5.3
    return System(sites, np.full(32, 18), 10.6 * np.eye(3), (True, True, True))


ENSEMBLES = [
    md.NVE(),
    md.Langevin(temperature_K=30.0, friction_per_ps=5.0),
    md.NoseHoover(temperature_K=30.0, period_fs=300.0),
    md.CSVR(temperature_K=30.0, time_constant_fs=50.0),
]
PRESSED = [
    md.StochasticCellRescaling(temperature_K=30.0, pressure_GPa=0.01, barostat_time_fs=300.0, coupling="triclinic"),
    md.MTK(temperature_K=30.0, pressure_GPa=0.01, barostat_period_fs=500.0),
]


@pytest.mark.parametrize("integrator", ENSEMBLES, ids=lambda each: type(each).__name__)
def test_a_replica_is_the_run_of_its_own(integrator: md.Integrator, cluster: System, argon: Argon) -> None:
    asked = {"timestep_fs": 2.0, "steps": 60, "initial_temperature_K": 30.0}
    together = md.simulate_replicas(argon("float64"), cluster, [integrator] * 3, seeds=[4, 5, 6], **asked)
    assert len(together) == len(together.complete) == 3
    for seed, each in zip((4, 5, 6), together.replicas, strict=True):
        final, run = md.simulate(argon("float64"), cluster, integrator, seed=seed, **asked)
        np.testing.assert_allclose(each.run.frames.positions, run.frames.positions, atol=1e-9)
        np.testing.assert_allclose(each.run.frames.conserved, run.frames.conserved, atol=1e-11)
        np.testing.assert_allclose(each.final.velocities, final.velocities, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("integrator", PRESSED, ids=lambda each: type(each).__name__)
def test_replicas_at_constant_pressure(integrator: md.Integrator, crystal: System, argon: Argon) -> None:
    """Of different cells, which move each on its own."""
    wide = replace(crystal, positions=1.03 * crystal.positions, cell=1.03 * crystal.cell)
    asked = {"timestep_fs": 2.0, "steps": 30}
    together = md.simulate_replicas(argon("float64"), [crystal, wide], integrator, seeds=[1, 2], **asked)
    for seed, start, each in zip((1, 2), (crystal, wide), together.replicas, strict=True):
        _, run = md.simulate(argon("float64"), start, integrator, seed=seed, **asked)
        np.testing.assert_allclose(each.run.frames.cells, run.frames.cells, atol=1e-9)
        np.testing.assert_allclose(each.run.frames.pressure, run.frames.pressure, atol=1e-9)
    volumes = [each.run.frames.volume[-1] for each in together.replicas]
    assert abs(volumes[0] - volumes[1]) > 5.0


@pytest.fixture
def bad(cluster: System) -> md.Snapshot:
    """Two atoms that fly at each other, fast."""
    velocities = md.maxwell_boltzmann(cluster, 20.0, seed=1)
    push = cluster.positions[1] - cluster.positions[0]
    velocities[0] += 0.005 * push
    velocities[1] -= 0.005 * push
    return md.Snapshot(cluster, velocities)


def test_one_that_dies_stops_no_other(bad: md.Snapshot, cluster: System, argon: Argon, tmp_path: Path) -> None:
    monitor = md.Monitor(min_distance=2.6, max_gap=None)
    good = [md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 20.0, seed=seed)) for seed in (2, 3)]
    asked = {"timestep_fs": 1.0, "steps": 400, "monitor": monitor, "to": tmp_path / "run.h5"}
    told: list[str] = []
    found = md.simulate_replicas(
        argon("float64"),
        [good[0], bad, good[1]],
        md.NVE(),
        report=lambda report: told.extend(report.remarks),
        **asked,
    )
    assert [each.ended is None for each in found.replicas] == [True, False, True]
    dead = found[1]
    assert dead.final is None and dead.stopped.reason == "too_close"
    assert "replica 1 at step" in dead.ended and "Å apart" in dead.ended
    assert 0 < dead.stopped.step < 400
    kept = Trajectory(tmp_path / "run_001.h5").read()
    assert kept.step[-1] < dead.stopped.step and (kept.closest > 2.6).all()
    assert (tmp_path / "run_001_stopped.extxyz").exists()
    for number, start in ((0, good[0]), (2, good[1])):
        _, alone = md.simulate(argon("float64"), start, md.NVE(), timestep_fs=1.0, steps=400, monitor=monitor)
        assert len(found[number].run.frames) == len(alone.frames)
        np.testing.assert_allclose(found[number].run.frames.positions, alone.frames.positions, atol=1e-8)


def test_it_stays_dead_when_the_others_go_on(bad: md.Snapshot, cluster: System, argon: Argon, tmp_path: Path) -> None:
    monitor = md.Monitor(min_distance=2.6, max_gap=None)
    good = md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 20.0, seed=2))

    def run(name: str, steps: int) -> md.Replicas:
        asked = {"timestep_fs": 1.0, "monitor": monitor, "to": tmp_path / name, "resume": True}
        return md.simulate_replicas(argon("float64"), [bad, good], md.NVE(), steps=steps, **asked)

    whole = run("whole.h5", 400)
    for steps in (200, 400):
        parts = run("parts.h5", steps)
    assert parts[0].ended == whole[0].ended.replace("whole", "parts")
    assert parts[0].run is None
    same(whole[1].run.frames, parts[1].run.frames)
    same(Trajectory(tmp_path / "whole_000.h5").read(), Trajectory(tmp_path / "parts_000.h5").read())


def test_all_dead_ends_the_run(bad: md.Snapshot, argon: Argon) -> None:
    monitor = md.Monitor(min_distance=2.6, max_gap=None)
    found = md.simulate_replicas(argon("float64"), [bad, bad], md.NVE(), timestep_fs=1.0, steps=10**6, monitor=monitor)
    assert [each.stopped.step for each in found.replicas] == [found[0].stopped.step] * 2
    assert not found.complete


def test_replicas_in_memory_that_end_before_their_time_are_handed_over_all_of_them(
    bad: md.Snapshot, cluster: System, argon: Argon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the one that had ended, after Ctrl-C as well as after the termination signal."""
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-2)
    starts = [md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 20.0, seed=seed)) for seed in (2, 3)]
    starts.insert(1, bad)
    potential, monitor = argon("float64"), md.Monitor(min_distance=2.6, max_gap=None)
    for number, error in ((signal.SIGTERM, md.RunUnfinished), (signal.SIGINT, md.RunInterrupted)):

        def stop(report: md.Report, number: int = number) -> None:
            if report.running < report.replicas:
                os.kill(os.getpid(), number)

        with pytest.raises(error, match="in memory only") as caught:
            md.simulate_replicas(
                potential, starts, md.NVE(), timestep_fs=1.0, steps=10**6, monitor=monitor, report=stop
            )
        left = caught.value.replicas
        assert left is not None and len(left) == 3 and caught.value.run is None
        assert left[1].stopped is not None and left[1].stopped.reason == "too_close" and left[1].final is None
        assert left[1].run is not None and len(left[1].run.frames) > 1
        for each in left.complete:
            assert each.run is not None and each.run.summary.steps == caught.value.step
            assert len(each.run.frames) == 1 + caught.value.step // 10
            assert each.final is not None and each.final.velocities is not None
        assert len(left.complete) == 2


def test_one_that_dies_while_thermalising_stops_no_other(cluster: System, argon: Argon, tmp_path: Path) -> None:
    positions = cluster.positions.copy()
    way = positions[1] - positions[0]
    positions[1] = positions[0] + 2.7 * way / np.linalg.norm(way)
    tight = cluster.moved(positions)  # half an electronvolt, which becomes heat
    told: list[str] = []

    def run(starts: list[System], steps: int) -> md.Replicas:
        return md.simulate_replicas(
            argon("float64"),
            starts,
            md.NVE(),
            timestep_fs=2.0,
            steps=steps,
            initial_temperature_K=20.0,
            thermalise_ps=0.2,
            monitor=md.Monitor(max_temperature_K=100.0, max_gap=None),
            to=tmp_path / f"{len(set(map(id, starts)))}.h5",
            resume=True,
            report=lambda report: told.extend(report.remarks),
        )

    found = run([cluster, tight, cluster], 20)
    assert [each.ended is None for each in found.replicas] == [True, False, True]
    stopped = found[1].stopped
    assert stopped is not None and stopped.reason == "too_hot" and stopped.step < 100
    assert stopped.run is None and found[1].run is None
    assert found[1].ended is not None and found[1].ended.startswith("while thermalising, replica 1 at step")
    assert len([remark for remark in told if "replica 1" in remark]) == 1
    for each in found.complete:
        assert each.run is not None and each.run.summary.steps == 20
        assert np.abs(each.run.frames.positions[0] - cluster.positions).max() > 0.05
    again = run([cluster, tight, cluster], 40)
    assert [each.ended for each in again.replicas] == [None, found[1].ended, None]
    assert again[2].run is not None and again[2].run.summary.steps == 40
    with pytest.raises(md.RunStopped, match="while thermalising, replica 0 at step"):
        run([tight, tight, tight], 20)


@pytest.fixture
def gas() -> list[md.Snapshot]:
    """Twenty-seven atoms three times: the second time they fall together, until their pairs exceed the list."""
    apart = np.stack(np.meshgrid(*[np.array([-7.5, 0, 7.5])] * 3, indexing="ij"), -1).reshape(-1, 3)
    return [md.Snapshot(System(apart, np.full(27, 18)), rate * apart) for rate in (1e-5, -2e-4, 2e-5)]


@pytest.mark.parametrize("error", [None, InputError("the cell is too thin for its list.")])
def test_one_that_no_list_is_large_enough_for_stops_no_other(
    error: InputError | None, gas: list[md.Snapshot], argon: Argon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def never(self: Neighbors, system: System, overflow: int) -> Neighbors:
        asked.append(overflow)
        if error is not None and np.abs(system.positions).max() < 7.49:
            raise error
        return self

    def run(starts: list[md.Snapshot], steps: int = 500, **more: Any) -> md.Replicas:
        quiet = md.Monitor(max_gap=None, max_bond_deviation=None)
        return md.simulate_replicas(
            argon("float32"), starts, md.NVE(), timestep_fs=4.0, steps=steps, monitor=quiet, **more
        )

    monkeypatch.setattr(Neighbors, "larger", never)
    told: list[str] = []
    found = run(gas, to=tmp_path / "run.h5", report=lambda report: told.extend(report.remarks))
    assert asked and [each.ended is None for each in found.replicas] == [True, False, True]
    stopped = found[1].stopped
    assert stopped is not None and stopped.reason == "too_crowded" and 0 < stopped.step < 500
    said = "the neighbour list overflowed 12 times in a row" if error is None else "the cell is too thin for its list"
    assert f"replica 1 at step {stopped.step} (" in str(stopped) and f": in the steps behind it {said}" in str(stopped)
    assert told == [str(stopped)]
    kept = Trajectory(tmp_path / "run_001.h5").read()
    assert 0 < kept.step[-1] <= stopped.step
    ended = read_summary(tmp_path / "run_001.h5")["ended"]
    assert ended == {"state": "stopped", "reason": "too_crowded", "sentence": str(stopped)}
    # The others are what they are beside replicas that stay apart.
    expected = run([gas[0], gas[2], gas[2]])
    for number in (0, 2):
        same(expected[number].run.frames, found[number].run.frames)
    asked.clear()
    again = run(gas, 600, to=tmp_path / "run.h5", resume=True)
    assert not asked and [each.ended for each in again.replicas] == [None, str(stopped), None]
    assert again[0].run is not None and again[0].run.summary.steps == 600


def test_the_writer_may_end_the_last_of_them_while_a_report_is_made(
    cluster: System, argon: Argon, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reports = engine.report_on, []

    def late(tracks: Any, *others: Any, **named: Any) -> md.Report:
        for track in tracks:
            track.ended = "a frame of the chunk before shows something."
        return real(tracks, *others, **named)

    monkeypatch.setattr(engine, "report_on", late)
    md.simulate_replicas(
        argon("float64"),
        cluster,
        md.Langevin(temperature_K=20.0),
        seeds=[0, 1],
        timestep_fs=2.0,
        steps=40,
        report=reports.append,
    )
    assert [(report.running, report.temperature_K > 0.0) for report in reports] == [(2, True)]


@pytest.mark.parametrize("exchange", [None, md.TemperatureExchange(every_fs=20.0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_replicas_resume_bitwise(
    exchange: md.TemperatureExchange | None, dtype: str, cluster: System, argon: Argon, tmp_path: Path
) -> None:
    ladder = [md.Langevin(temperature_K=t, friction_per_ps=5.0) for t in (20.0, 24.0, 28.0)]

    def run(name: str, steps: int) -> md.Replicas:
        asked = {"timestep_fs": 2.0, "exchange": exchange, "to": tmp_path / name, "resume": True, "monitor": QUIET}
        asked["recording"] = md.Recording(every_fs=12.0, scalars_every_fs=4.0)
        return md.simulate_replicas(argon(dtype), cluster, ladder, steps=steps, **asked)

    whole = run("whole.h5", 151)
    for steps in (0, 40, 77, 151):
        parts = run("parts.h5", steps)
    for one, other in zip(whole.replicas, parts.replicas, strict=True):
        same(one.run.frames, other.run.frames)
        np.testing.assert_array_equal(one.final.velocities, other.final.velocities)
    if exchange is not None:
        np.testing.assert_array_equal(whole.exchanges.accepted, parts.exchanges.accepted)
        np.testing.assert_array_equal(whole.exchanges.walker, parts.exchanges.walker)


def test_an_overflow_changes_nothing(cluster: System, argon: Argon, monkeypatch: pytest.MonkeyPatch) -> None:
    start = md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 20.0, seed=2))
    # A second replica whose atoms come together, so that the list of the first is too short for it.
    far = System(1.6 * cluster.positions, cluster.numbers)
    asked = {"timestep_fs": 2.0, "steps": 100, "monitor": QUIET, "seeds": [0, 1]}
    baths = md.Langevin(temperature_K=20.0)
    expected = md.simulate_replicas(argon("float64"), [start, start], baths, **asked)
    small = argon("float64").allocate(far)
    monkeypatch.setattr(Potential, "allocate", lambda self, system: small)
    found = md.simulate_replicas(argon("float64"), [start, start], baths, **asked)
    assert found[0].run.summary.neighbor_retries > 0
    for one, other in zip(expected.replicas, found.replicas, strict=True):
        same(one.run.frames, other.run.frames)


def test_files_of_replicas(cluster: System, argon: Argon, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    md.simulate_replicas(argon("float32"), cluster, ENSEMBLES[1:2] * 2, timestep_fs=2.0, steps=10, to=path)
    assert [each.name for each in replica_paths(path, 2)] == ["run_000.h5", "run_001.h5"]
    assert {each.name for each in tmp_path.iterdir()} == {
        "run_000.h5",
        "run_001.h5",
        "run_000.summary.json",
        "run_001.summary.json",
        "run.h5.checkpoint.safetensors",
    }
    seeds = [Trajectory(each).settings["seed"] for each in replica_paths(path, 2)]
    assert seeds == [0, 1]
    with pytest.raises(FileError, match=r"run_000.h5' exists; resume the run"):
        md.simulate_replicas(argon("float32"), cluster, ENSEMBLES[1:2] * 2, timestep_fs=2.0, steps=10, to=path)
    with pytest.raises(FileError, match=r"another model, start structure or settings \(seed was 1, is 7\)"):
        md.simulate_replicas(
            argon("float32"), cluster, ENSEMBLES[1:2] * 2, timestep_fs=2.0, steps=10, to=path, seeds=[0, 7], resume=True
        )


def test_thermalised_replicas_start_apart(cluster: System, argon: Argon) -> None:
    found = md.simulate_replicas(
        argon("float64"),
        cluster,
        md.NVE(),
        seeds=[1, 2],
        timestep_fs=2.0,
        steps=20,
        initial_temperature_K=20.0,
        thermalise_ps=0.4,
        monitor=QUIET,
    )
    starts = [each.run.frames.positions[0] for each in found.replicas]
    assert np.abs(starts[0] - starts[1]).max() > 0.05
    _, alone = md.simulate(
        argon("float64"),
        cluster,
        md.NVE(),
        seed=2,
        timestep_fs=2.0,
        steps=20,
        initial_temperature_K=20.0,
        thermalise_ps=0.4,
        monitor=QUIET,
    )
    np.testing.assert_allclose(starts[1], alone.frames.positions[0], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"starts": [], "integrators": []}, "no replica to run"),
        ({"seeds": [1]}, "2 starts, 2 ensembles and 1 seeds are given"),
        (
            {"integrators": [md.NVE(), md.CSVR(temperature_K=9.0)]},
            "replica 1 differs .* in kind of ensemble",
        ),
        ({"integrators": [md.NVE(), md.NVE(fix_center=False)]}, "in options of the ensemble"),
        ({"exchange": md.TemperatureExchange()}, "replica exchange works with Langevin and CSVR, not with NVE"),
    ],
)
def test_replicas_that_are_none(change: dict, sentence: str, cluster: System, argon: Argon) -> None:
    asked = {"starts": [cluster, cluster], "integrators": [md.NVE(), md.NVE()]} | change
    with pytest.raises(InputError, match=sentence):
        md.simulate_replicas(argon("float64"), timestep_fs=1.0, steps=1, initial_temperature_K=9.0, **asked)


def settings_of(seeds: Any, cluster: System, argon: Argon) -> list[int]:
    _, settings = replica_settings(
        argon("float64"),
        cluster,
        md.Langevin(temperature_K=9.0),
        timestep_fs=1.0,
        steps=1,
        seeds=seeds,
        exchange=None,
        initial_temperature_K=None,
        thermalise_ps=0.0,
        recording=md.Recording(),
        monitor=md.Monitor(),
    )
    return [each.seed for each in settings]


def test_seeds_may_be_an_array(cluster: System, argon: Argon) -> None:
    assert settings_of(np.arange(4), cluster, argon) == settings_of([0, 1, 2, 3], cluster, argon) == [0, 1, 2, 3]
    with pytest.raises(InputError, match="replica 1: seed is 4294967296; it must be from 0 to 4294967295"):
        settings_of([2**32 - 1, 2**32], cluster, argon)


@pytest.mark.usefixtures("unchecked")
def test_seeds_are_whole_numbers(cluster: System, argon: Argon) -> None:
    with pytest.raises(InputError, match="seeds are whole numbers; received"):
        settings_of(np.array([0.0, 1.5]), cluster, argon)


def test_replicas_of_other_atoms(cluster: System, argon: Argon) -> None:
    other = replace(cluster, numbers=np.full(13, 10))
    with pytest.raises(InputError, match="replica 1 differs from replica 0 in elements, masses"):
        md.simulate_replicas(
            argon("float64"), [cluster, other], md.Langevin(temperature_K=9.0), timestep_fs=1.0, steps=1
        )


def test_two_devices_share_the_replicas(tmp_path: Path) -> None:
    """In processes of their own, since the number of devices is fixed at the start; bitwise but for the batch."""
    for devices in (1, 2):
        flags = f"--xla_force_host_platform_device_count={devices} {os.environ.get('XLA_FLAGS', '')}"
        run = [sys.executable, "-c", SHARED_RUN, str(tmp_path / str(devices))]
        subprocess.run(run, check=True, timeout=300, env=os.environ | {"XLA_FLAGS": flags})
    one, two = (np.load(tmp_path / f"{devices}.npz") for devices in (1, 2))
    assert (one["devices"], two["devices"]) == (1, 2)
    assert [read_summary(tmp_path / f"{devices}_000.h5")["devices"] for devices in (1, 2)] == [1, 2]
    np.testing.assert_array_equal(one["ended"], [False, True, False, False])
    np.testing.assert_array_equal(one["ended"], two["ended"])
    np.testing.assert_allclose(one["positions"], two["positions"], atol=1e-10)


SHARED_RUN = """
import sys
import numpy as np, jax
from so3krates import md
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum
axis = 3.75 * np.arange(3)
sites = np.stack(np.meshgrid(axis, axis, axis[:2], indexing="ij"), -1).reshape(-1, 3)[:13]
cluster = System(sites, np.full(13, 18))
fast = md.maxwell_boltzmann(cluster, 20.0, seed=1)
push = 0.005 * (sites[1] - sites[0])
fast[0] += push
fast[1] -= push
starts = [md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 20.0, seed=s)) for s in range(4)]
starts[1] = md.Snapshot(cluster, fast)
found = md.simulate_replicas(
    Potential(LennardJones(0.0104, 3.4, 9.0, dtype="float64")), starts, md.NVE(), timestep_fs=1.0, steps=300,
    monitor=md.Monitor(min_distance=2.6, max_gap=None), to=sys.argv[1] + ".h5",
)
np.savez(
    sys.argv[1] + ".npz",
    devices=jax.local_device_count(),
    ended=[each.ended is not None for each in found.replicas],
    positions=[each.final.system.positions for each in found.complete],
)
"""


def same(a: object, b: object) -> None:
    for name, values in a.present().items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(values, b.present()[name], err_msg=name)  # type: ignore[attr-defined]


def test_chunks_of_any_length_give_the_same(cluster: System, argon: Argon, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = [md.CSVR(temperature_K=t) for t in (20.0, 24.0)]
    asked = {"timestep_fs": 2.0, "steps": 120, "exchange": md.TemperatureExchange(every_fs=10.0), "monitor": QUIET}
    one = md.simulate_replicas(argon("float64"), cluster, ladder, **asked)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-9)
    other = md.simulate_replicas(argon("float64"), cluster, ladder, **asked)
    for a, b in zip(one.replicas, other.replicas, strict=True):
        same(a.run.frames, b.run.frames)


ATTEMPT_FS = 230.0
"""The first one is between the second replica and the third, the next one between the first and the second."""
LEAVING = md.Monitor(max_gap=5.0, stop_on=("evaporated",))


@pytest.fixture
def leaving(cluster: System) -> list[md.Snapshot]:
    """Three clusters; of the first one an atom leaves, which a frame shows before the second attempt."""
    starts = [md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 20.0, seed=seed)) for seed in range(3)]
    positions, velocities = cluster.positions.copy(), starts[0].velocities.copy()
    positions[12] = positions[6] + np.array([4.0, 0.0, 0.0])
    velocities[12] = [0.005, 0.0, 0.0]
    return [md.Snapshot(cluster.moved(positions), velocities), *starts[1:]]


def exchanged(argon: Argon, starts: list[md.Snapshot], steps: int = 400, **asked: object) -> md.Replicas:
    """Neighbours so near in temperature that nearly every attempt is accepted."""
    ladder = [md.Langevin(temperature_K=kelvin) for kelvin in (20.0, 20.1, 20.2)]
    asked |= {"timestep_fs": 2.0, "steps": steps, "exchange": md.TemperatureExchange(every_fs=ATTEMPT_FS)}
    asked |= {"recording": md.Recording(every_fs=20.0), "monitor": LEAVING}
    return md.simulate_replicas(argon("float64"), starts, ladder, **asked)


@pytest.mark.parametrize("most_bytes", [record_room.RECORD_BYTES, 1])
def test_what_a_frame_has_ended_is_exchanged_no_more(
    most_bytes: int, leaving: list[md.Snapshot], argon: Argon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither later in the chunk with that frame nor, if chunks are short, in the next one, however slow the writer."""
    commit = Track.commit

    def slowly(self: Track, *chunk: Any) -> None:
        sleep(0.05)
        commit(self, *chunk)

    monkeypatch.setattr(Track, "commit", slowly)
    monkeypatch.setattr(record_room, "RECORD_BYTES", most_bytes)
    found = exchanged(argon, leaving)
    stopped = found[0].stopped
    assert stopped is not None and stopped.reason == "evaporated" and ATTEMPT_FS < stopped.time_fs < 2 * ATTEMPT_FS
    assert found[0].run.frames.time_fs[-1] == stopped.time_fs - 20.0
    walkers = np.array([found[number].run.frames.walker for number in (1, 2)])
    np.testing.assert_array_equal(np.sort(walkers, axis=0), np.array([[1], [2]]).repeat(41, axis=1))
    assert np.ptp(walkers, axis=1).all()


def test_a_frame_that_ends_a_replica_does_so_in_chunks_of_any_length(
    leaving: list[md.Snapshot], argon: Argon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = exchanged(argon, leaving, to=tmp_path / "whole.h5")
    for steps in (100, 200, 400):
        parts = exchanged(argon, leaving, steps, to=tmp_path / "parts.h5", resume=True)
    monkeypatch.setattr(record_room, "RECORD_BYTES", 1)
    short = exchanged(argon, leaving, to=tmp_path / "short.h5")
    for number, path in enumerate(replica_paths(tmp_path / "whole.h5", 3)):
        for name, other in (("parts", parts), ("short", short)):
            same(Trajectory(path).read(), Trajectory(tmp_path / path.name.replace("whole", name)).read())
            assert whole[number].ended == (other[number].ended and other[number].ended.replace(name, "whole"))


@pytest.mark.parametrize("together", [True, False])
def test_an_overflow_behind_the_frame_that_ended_a_run_does_not_hide_why(
    together: bool, leaving: list[md.Snapshot], argon: Argon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next chunk is computed while a frame is looked at, and may fail because of what the frame shows."""
    tracks: list[Track] = []
    commit, chunk = Track.commit, engine.Engine._chunk

    def committed(self: Track, *args: Any) -> None:
        commit(self, *args)
        tracks.append(self)

    def failing(self: engine.Engine, checkpoint: Any, count: int, status: Any) -> Any:
        if checkpoint.step < 300 or not count:
            return chunk(self, checkpoint, min(count, 300 - checkpoint.step if count else 0), status)
        for _ in range(500):
            if all(track.ended for track in self.tracks):
                break
            sleep(0.01)
        assert self.enlarged(checkpoint.state, checkpoint.neighbors, ROOM).near.capacity
        raise CapacityError("the neighbour list overflows whatever is tried.")

    monkeypatch.setattr(Track, "commit", committed)
    monkeypatch.setattr(engine.Engine, "_chunk", failing)
    asked: dict[str, Any] = {"timestep_fs": 2.0, "steps": 400, "monitor": LEAVING}
    bath = md.Langevin(temperature_K=20.0)
    if together:
        found = md.simulate_replicas(
            argon("float64"), leaving[:1], bath, recording=md.Recording(every_fs=20.0), **asked
        )
        assert found[0].stopped is not None and found[0].stopped.reason == "evaporated"
    else:
        with pytest.raises(md.RunStopped) as caught:
            md.simulate(argon("float64"), leaving[0], bath, **asked)
        assert caught.value.reason == "evaporated"


def test_one_replica_is_searched_like_one_structure(cluster: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the table of all far pairs, where there is one."""
    potential = Potential(Sum((FixedCharges({18: 0.0}), Electrostatics())))
    lists, topology = potential.allocate(cluster), Topology.of(cluster, "float32")
    seen, evaluated = [], evaluation._evaluate

    def spied(*args: Any) -> Any:
        seen.append(type(args[-1].far))
        return evaluated(*args)

    monkeypatch.setattr(evaluation, "_evaluate", spied)
    positions = jnp.asarray(cluster.positions, jnp.float32)
    one = evaluation.evaluate(potential.fast, topology, lists, positions, None)
    many = jax.vmap(lambda x: evaluation.evaluate(potential.fast, topology, lists, x, None))(positions[None])
    assert set(seen) == {AllPairs}
    np.testing.assert_array_equal(one.forces, many.forces[0])


def test_the_monitor_measures_each_replica_against_its_own_start(crystal: System, argon: Argon) -> None:
    """The second one has more than twice the volume of the first."""
    wide = System(1.35 * crystal.positions, crystal.numbers, 1.35 * crystal.cell, crystal.pbc)  # type: ignore[operator]
    found = md.simulate_replicas(
        argon("float64"), [crystal, wide], md.NVE(), timestep_fs=2.0, steps=10, initial_temperature_K=20.0
    )
    assert [each.ended for each in found.replicas] == [None, None]


def test_replicas_that_exchange_share_cell_and_fixed_atoms(crystal: System, argon: Argon) -> None:
    ladder = [md.Langevin(temperature_K=20.0), md.Langevin(temperature_K=22.0)]
    asked: dict[str, Any] = {"timestep_fs": 2.0, "steps": 10, "exchange": md.TemperatureExchange(every_fs=10.0)}
    wide = System(1.01 * crystal.positions, crystal.numbers, 1.01 * crystal.cell, crystal.pbc)  # type: ignore[operator]
    with pytest.raises(InputError, match="replica 1 differs from replica 0 in its cell; .* Begin all of them"):
        md.simulate_replicas(argon("float64"), [crystal, wide], ladder, **asked)
    moved = crystal.moved(crystal.positions + 0.1)
    starts = [md.Snapshot(crystal, fixed=(3,)), md.Snapshot(moved, fixed=(3,))]
    with pytest.raises(InputError, match="in the places of its fixed atoms"):
        md.simulate_replicas(argon("float64"), starts, ladder, **asked)


def test_configurations_stay_in_place_when_they_are_exchanged(cluster: System, argon: Argon) -> None:
    """Starts whose positions are counted from different origins."""
    ladder = [md.Langevin(temperature_K=20.0), md.Langevin(temperature_K=20.1)]
    found = md.simulate_replicas(
        argon("float64"),
        [cluster, cluster.moved(cluster.positions + 7.0)],
        ladder,
        timestep_fs=2.0,
        steps=60,
        exchange=md.TemperatureExchange(every_fs=20.0),
        monitor=QUIET,
    )
    assert found.exchanges is not None and found.exchanges.accepted.sum() > 0
    for each in found.replicas:
        frames = each.run.frames
        centers = frames.positions.mean(axis=1) - cluster.positions.mean(axis=0)
        np.testing.assert_allclose(centers, 7.0 * frames.walker[:, None] * np.ones(3), atol=1e-9)


def test_bonds_hold_between_starts_that_are_wrapped_differently(crystal: System, argon: Argon) -> None:
    """A configuration that is exchanged keeps its own images, which must be those of the bonds watched."""
    length = float(np.diag(crystal.cell).min())  # type: ignore[arg-type]
    distances = np.linalg.norm(crystal.positions - crystal.positions[0], axis=1)
    bonds = tuple((0, other) for other in np.flatnonzero(distances < 4.0).tolist() if other)
    wrapped = crystal.moved((crystal.positions + 0.9 * length) % length)
    assert len(bonds) > 2 and np.linalg.norm(wrapped.positions - wrapped.positions[0], axis=1)[bonds[0][1]] > 4.0
    ladder = [md.Langevin(temperature_K=20.0), md.Langevin(temperature_K=20.1)]
    found = md.simulate_replicas(
        argon("float64"),
        [crystal, wrapped],
        ladder,
        timestep_fs=2.0,
        steps=60,
        exchange=md.TemperatureExchange(every_fs=20.0),
        monitor=md.Monitor(bonds=bonds, max_bond_deviation=None),
    )
    assert found.exchanges is not None and found.exchanges.accepted.sum() > 0
    assert [each.run.events for each in found.replicas] == [(), ()]
