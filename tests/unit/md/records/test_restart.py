"""N + M steps equal N, stop, M, bit for bit; whatever stops a run."""

import errno
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from inspect import unwrap
from pathlib import Path

import jax
import numpy as np
import pytest

from so3krates import md
from so3krates._errors import FileError, InputError
from so3krates.io import atomic
from so3krates.io.trajectory import Frames, Trajectory, append_frames
from so3krates.md.engine import engine
from so3krates.md.records.checkpoint import checkpoint_path
from so3krates.md.records.run_file import read_summary
from so3krates.model import ModelConfig, SO3krates
from so3krates.neighbors.dense import allocate
from so3krates.neighbors.lists import Neighbors
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.training.checkpoint import checkpoint_path as training_checkpoint_path

ENSEMBLES = {
    "NVE": md.NVE(),
    "Langevin": md.Langevin(temperature_K=40.0, friction_per_ps=5.0),
    "NoseHoover": md.NoseHoover(temperature_K=40.0, period_fs=200.0),
    "CSVR": md.CSVR(temperature_K=40.0),
    "Langevin, ramp": md.Langevin(temperature_K=md.Ramp(time_ps=(0.1, 0.45), value=(40.0, 90.0)), friction_per_ps=5.0),
    "CSVR, ramp": md.CSVR(temperature_K=md.Ramp(time_ps=(0.0, 0.3, 0.5), value=(40.0, 20.0, 60.0))),
}
LANGEVIN = ENSEMBLES["Langevin"]
RESCALING = {
    "temperature_K": 40.0,
    "pressure_GPa": 0.1,
    "compressibility_per_GPa": 0.4,
    "barostat_time_fs": 200.0,
}
BAROSTATS = {
    "isotropic": md.StochasticCellRescaling(**RESCALING, coupling="isotropic"),
    "triclinic": md.StochasticCellRescaling(**RESCALING, coupling="triclinic"),
    "MTK": md.MTK(temperature_K=40.0, pressure_GPa=0.1, barostat_period_fs=400.0),
    "isotropic, ramps": md.StochasticCellRescaling(
        **RESCALING
        | {
            "temperature_K": md.Ramp(time_ps=(0.1, 0.45), value=(40.0, 90.0)),
            "pressure_GPa": md.Ramp(time_ps=(0.0, 0.5), value=(0.0, 0.4)),
        }
    ),
}
"""For the crystal."""


@pytest.fixture
def crystal(rng: np.random.Generator) -> System:
    """Argon in two cells of its lattice along each axis, smaller than the range of the forces."""
    edge = 5.3
    corners = 0.5 * edge * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    cells = edge * np.stack(np.meshgrid(*[np.arange(2.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    sites = (cells + corners).reshape(-1, 3)
    return System(
        sites + 0.05 * rng.standard_normal(sites.shape), np.full(32, 18), 2.0 * edge * np.eye(3), (True, True, True)
    )


RARE = ("CSVR, ramp", "isotropic", "triclinic", "isotropic, ramps")
"""Looked at by the slow tests alone: each has something in common with two others."""


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in RARE)) for name in (*ENSEMBLES, *BAROSTATS)]
)
def ensemble(request: pytest.FixtureRequest, cluster: System, crystal: System) -> tuple[System, md.Integrator]:
    """Every ensemble, and something that it moves."""
    name = request.param
    return (crystal, BAROSTATS[name]) if name in BAROSTATS else (cluster, ENSEMBLES[name])


def same(a: Frames, b: Frames) -> None:
    assert len(a) == len(b)
    assert set(a.present()) == set(b.present())
    for name, values in a.present().items():
        np.testing.assert_array_equal(values, b.present()[name], err_msg=name)


@pytest.mark.parametrize(
    ("dtype", "own_scalars"),
    [
        ("float32", True),
        ("float64", False),
        pytest.param("float32", False, marks=pytest.mark.slow),
        pytest.param("float64", True, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_one_that_went_through(
    ensemble: tuple[System, md.Integrator], argon, tmp_path: Path, dtype: str, own_scalars: bool
) -> None:
    system, integrator = ensemble
    every, scalars_every = (12, 4) if own_scalars else (7, 7)
    recording = md.Recording(
        every_fs=2.0 * every, forces=True, scalars_every_fs=2.0 * scalars_every if own_scalars else None
    )
    settings = {"timestep_fs": 2.0, "initial_temperature_K": 40.0, "recording": recording}

    def run(name: str, steps: int, resume: bool = False) -> tuple[md.Snapshot, md.Run]:
        return md.simulate(argon(dtype), system, integrator, steps=steps, to=tmp_path / name, resume=resume, **settings)

    whole, through = run("whole.h5", 301)
    for steps in (0, 100, 101, 250, 301):  # most of them between two frames
        final, parts = run("parts.h5", steps, resume=True)
    same(through.frames, parts.frames)
    np.testing.assert_array_equal(final.system.positions, whole.system.positions)
    np.testing.assert_array_equal(final.velocities, whole.velocities)
    assert parts.summary.steps == 301
    np.testing.assert_array_equal(parts.frames.step, np.arange(0, 302, every))
    series, expected = (Trajectory(tmp_path / name).series() for name in ("parts.h5", "whole.h5"))
    np.testing.assert_array_equal(series["step"], np.arange(0, 302, scalars_every))
    assert set(series) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(series[name], values, err_msg=name)
    if integrator.moves_cell:
        assert final.system.cell is not None and whole.system.cell is not None
        np.testing.assert_array_equal(final.system.cell, whole.system.cell)
        assert np.ptp(series["volume"]) > 1e-3 * series["volume"].mean()  # there was something to restore


def test_intervals_that_nobody_asks_for_stay_what_they_were(cluster: System, argon, tmp_path: Path) -> None:
    def run(name: str, steps: int, recording: md.Recording | None = None, resume: bool = True) -> md.Run:
        return md.simulate(
            argon("float32"),
            cluster,
            LANGEVIN,
            timestep_fs=2.0,
            steps=steps,
            to=tmp_path / name,
            recording=recording,
            resume=resume,
        )[1]

    asked = md.Recording(every_fs=20.0, scalars_every_fs=4.0)
    run("run.h5", 25, asked)
    run("run.h5", 60)
    run("run.h5", 80, md.Recording(scalars_every_fs=4.0))
    with pytest.raises(FileError, match=r"settings \(steps between scalars was \d+, is \d+\)"):
        run("run.h5", 100, md.Recording(scalars_every_fs=2.0))
    with pytest.raises(FileError, match=r"settings \(steps between scalars was \d+, is \d+\)"):
        run("run.h5", 100, md.Recording(every_fs=20.0))
    same(run("whole.h5", 80, asked).frames, Trajectory(tmp_path / "run.h5").read())
    np.testing.assert_array_equal(Trajectory(tmp_path / "run.h5").series()["step"], np.arange(0, 81, 2))


def test_a_network_in_a_periodic_cell_resumes_exactly(tmp_path: Path) -> None:
    config = ModelConfig(features=16, layers=1, heads=2, degrees=(1, 2), cutoff=4.0, radial_functions=8)
    potential = Potential(SO3krates(config, key=jax.random.key(0))).astype("float32")
    cell = np.array([[5.0, 0, 0], [1.0, 5.5, 0], [0, -1.0, 6.0]])
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    system = System(corners @ cell, np.array([6, 8, 6, 7]), cell, (True, True, True))
    quiet = md.Monitor(max_bond_deviation=None)
    integrator = md.Langevin(temperature_K=100.0)

    def run(name: str, steps: int, resume: bool = False) -> md.Run:
        return md.simulate(
            potential,
            system,
            integrator,
            timestep_fs=0.5,
            steps=steps,
            to=tmp_path / name,
            resume=resume,
            save_every_fs=5.0,
            monitor=quiet,
        )[1]

    through = run("whole.h5", 60)
    run("parts.h5", 33)
    same(through.frames, run("parts.h5", 60, resume=True).frames)


def test_forced_overflow_gives_the_trajectory_of_a_large_list(ensemble: tuple[System, md.Integrator], argon) -> None:
    system, integrator = ensemble

    def run(capacity: int | None) -> md.Run:
        return md.simulate(
            argon("float32"),
            system,
            integrator,
            timestep_fs=2.0,
            steps=400,
            initial_temperature_K=60.0,
            recording=md.Recording(every_fs=20.0, scalars_every_fs=4.0),
            neighbors=Neighbors(allocate(system, 9.0, capacity=capacity)),
        )[1]

    # A crystal that is compressed gets more pairs.
    small, large = run(8), run(2 * allocate(system, 9.0).capacity)
    assert small.summary.neighbor_retries >= 1
    assert large.summary.neighbor_retries == 0
    same(small.frames, large.frames)


def test_overflow_in_the_middle_of_a_run(argon) -> None:
    """Atoms fall together until pairs exceed the list: the chunk is discarded and run again, all of it."""
    apart = np.stack(np.meshgrid(*[np.array([-7.5, 0, 7.5])] * 3, indexing="ij"), -1).reshape(-1, 3)
    gas = System(apart, np.full(27, 18))
    start = md.Snapshot(gas, -2e-4 * apart)
    quiet = md.Monitor(max_bond_deviation=None)

    remarks: list[str] = []

    def tell(report: md.Report) -> None:
        remarks.extend(report.remarks)

    def run(capacity: int | None) -> md.Run:
        neighbors = Neighbors(allocate(gas, 9.0, capacity=capacity))
        return md.simulate(
            argon("float32"),
            start,
            md.NVE(),
            timestep_fs=4.0,
            steps=500,
            neighbors=neighbors,
            monitor=quiet,
            report=tell,
        )[1]

    # A list too: the table of all pairs, which has 27 · 13 places, is rounded in other ways.
    large = run(27 * 13 + 8)
    assert remarks == []
    small = run(None)
    assert small.summary.neighbor_retries >= 1
    assert 1 <= len(remarks) <= small.summary.neighbor_retries
    told = r"neighbour list enlarged after step \d+, chunk run again from there: near pairs: .* room for .* pairs"
    assert all(re.match(told, remark) for remark in remarks)
    same(small.frames, large.frames)


def test_other_isotopes_are_another_run(cluster: System, argon, tmp_path: Path) -> None:
    def run(system: System, resume: bool = False) -> None:
        md.simulate(
            argon("float64"),
            system,
            md.NVE(),
            timestep_fs=2.0,
            steps=10,
            initial_temperature_K=20.0,
            to=tmp_path / "run.h5",
            resume=resume,
        )

    heavy = replace(cluster, isotope_masses=2.0 * cluster.masses)
    run(heavy)
    np.testing.assert_array_equal(Trajectory(tmp_path / "run.h5").system.masses, heavy.masses)
    with pytest.raises(FileError, match="another model, start structure or settings"):
        run(cluster, resume=True)


def test_a_model_and_a_trajectory_of_one_name_have_their_own_checkpoints(tmp_path: Path) -> None:
    assert checkpoint_path(tmp_path / "ethanol.h5") != training_checkpoint_path(tmp_path / "ethanol.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"timestep_fs": 1.0},
        {"seed": 5},
        {"save_every_fs": 4.0},
        {"integrator": md.Langevin(temperature_K=50.0)},
        {"integrator": md.NVE(), "initial_temperature_K": 40.0},
        {"potential": "float64"},
        {"start": "moved"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_model_or_other_settings_are_refused(cluster: System, argon, tmp_path: Path, change: dict) -> None:
    arguments = {
        "potential": argon("float32"),
        "start": cluster,
        "integrator": md.Langevin(temperature_K=40.0),
        "timestep_fs": 2.0,
        "steps": 20,
        "to": tmp_path / "run.h5",
        "save_every_fs": 2.0,
    }
    md.simulate(**arguments)
    change = dict(change)
    if "potential" in change:
        change["potential"] = argon("float64")
    if "start" in change:
        change["start"] = cluster.moved(cluster.positions + 0.1)
    with pytest.raises(FileError, match=r"another model, start structure or settings \(\w+"):
        md.simulate(**arguments | change | {"resume": True})


def test_an_existing_trajectory_is_not_lost(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 2.0, "steps": 20, "to": tmp_path / "run.h5"}
    md.simulate(argon("float32"), cluster, LANGEVIN, **arguments)
    before = (tmp_path / "run.h5").read_bytes()
    with pytest.raises(FileError, match="exists"):
        md.simulate(argon("float32"), cluster, LANGEVIN, **arguments)
    assert (tmp_path / "run.h5").read_bytes() == before
    _, run = md.simulate(argon("float32"), cluster, LANGEVIN, overwrite=True, **arguments | {"steps": 10})
    assert run.summary.steps == 10
    checkpoint_path(tmp_path / "run.h5").unlink()
    with pytest.raises(FileError, match="has no checkpoint"):
        md.simulate(argon("float32"), cluster, LANGEVIN, resume=True, **arguments)


def test_two_runs_cannot_write_one_trajectory(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 2.0, "steps": 20, "to": tmp_path / "run.h5"}
    tried = []

    def second(report: md.Report) -> None:
        del report
        for how in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(FileError, match="another process is writing '.*run.h5'"):
                md.simulate(argon("float32"), cluster, LANGEVIN, **arguments, **how)
            tried.append(how)

    _, run = md.simulate(argon("float32"), cluster, LANGEVIN, report=second, **arguments)
    assert tried and run.summary.steps == 20
    assert not (tmp_path / "run.h5.lock").exists()
    md.simulate(argon("float32"), cluster, LANGEVIN, **arguments, resume=True)


def test_a_damaged_checkpoint_is_named(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 2.0, "steps": 20, "to": tmp_path / "run.h5"}
    md.simulate(argon("float32"), cluster, LANGEVIN, **arguments)
    path = checkpoint_path(tmp_path / "run.h5")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match="not a readable checkpoint"):
        md.simulate(argon("float32"), cluster, LANGEVIN, resume=True, **arguments)


def test_frames_behind_the_checkpoint_are_cut_off(cluster: System, argon, tmp_path: Path) -> None:
    """A run killed after writing frames and before the checkpoint."""
    arguments = {"timestep_fs": 2.0, "save_every_fs": 10.0}
    _, through = md.simulate(argon("float32"), cluster, LANGEVIN, steps=100, to=tmp_path / "whole.h5", **arguments)
    md.simulate(argon("float32"), cluster, LANGEVIN, steps=52, to=tmp_path / "run.h5", **arguments)
    append_frames(tmp_path / "run.h5", through.frames[11:14])
    _, resumed = md.simulate(
        argon("float32"), cluster, LANGEVIN, steps=100, to=tmp_path / "run.h5", resume=True, **arguments
    )
    same(through.frames, resumed.frames)


def test_a_full_disk_loses_nothing(cluster: System, argon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-3)
    arguments = {"timestep_fs": 2.0, "steps": 400, "save_every_fs": 10.0}
    _, through = md.simulate(argon("float32"), cluster, LANGEVIN, to=tmp_path / "whole.h5", **arguments)
    real, calls = atomic._write_synced, []

    def full(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_write_synced", full)
        with pytest.raises(FileError, match="disk is full"):
            md.simulate(argon("float32"), cluster, LANGEVIN, to=tmp_path / "run.h5", **arguments)
    kept = Trajectory(tmp_path / "run.h5").read()
    assert 1 < len(kept) < len(through.frames)
    same(kept, through.frames[: len(kept)])
    _, resumed = md.simulate(argon("float32"), cluster, LANGEVIN, to=tmp_path / "run.h5", resume=True, **arguments)
    same(resumed.frames, through.frames)


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        pytest.param(signal.SIGINT, KeyboardInterrupt, "interrupted", id="INT"),
        pytest.param(signal.SIGTERM, md.RunUnfinished, "terminated", id="TERM", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_ends_after_the_chunk_with_a_checkpoint(
    cluster: System,
    argon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[BaseException],
    reason: str,
) -> None:
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-3)
    arguments = {"timestep_fs": 2.0, "steps": 400, "save_every_fs": 10.0}
    before = signal.getsignal(number)

    def interrupt(report: md.Report) -> None:
        if report.step > 50:
            os.kill(os.getpid(), number)

    with pytest.raises(error, match=r"after step .* resume=True \(--resume\) goes on from there"):
        md.simulate(argon("float32"), cluster, LANGEVIN, to=tmp_path / "run.h5", report=interrupt, **arguments)
    assert signal.getsignal(number) is before
    ended = read_summary(tmp_path / "run.h5")["ended"]
    assert (ended["state"], ended["reason"]) == ("unfinished", reason)
    assert 1 < len(Trajectory(tmp_path / "run.h5")) < 81
    _, through = md.simulate(argon("float32"), cluster, LANGEVIN, **arguments)
    _, resumed = md.simulate(argon("float32"), cluster, LANGEVIN, to=tmp_path / "run.h5", resume=True, **arguments)
    same(resumed.frames, through.frames)


def test_a_signal_while_thermalising_leaves_nothing_to_resume(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 2.0, "steps": 20, "to": tmp_path / "run.h5", "thermalise_ps": 2.0}

    def terminate(report: md.Report) -> None:
        assert report.thermalising
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(md.RunUnfinished, match="told to terminate after step .* of thermalisation; .* begins again"):
        md.simulate(argon("float32"), cluster, LANGEVIN, report=terminate, **arguments)
    assert not checkpoint_path(tmp_path / "run.h5").exists()
    # The same command with resume begins, and ends where a run without the signal does.
    final, _ = md.simulate(argon("float32"), cluster, LANGEVIN, resume=True, **arguments)
    through, _ = md.simulate(argon("float32"), cluster, LANGEVIN, **arguments | {"to": None})
    np.testing.assert_array_equal(final.system.positions, through.system.positions)


def test_a_complete_run_has_nothing_left_to_do(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 2.0, "to": tmp_path / "run.h5"}
    final, run = md.simulate(argon("float32"), cluster, LANGEVIN, steps=50, **arguments)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"run.h5", "run.h5.checkpoint.safetensors", "run.summary.json"} and run.made == 50
    for steps in (50, 20):
        again, resumed = md.simulate(argon("float32"), cluster, LANGEVIN, steps=steps, resume=True, **arguments)
        assert resumed.made == 0 and resumed.summary.steps == 50
        np.testing.assert_array_equal(again.system.positions, final.system.positions)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep_fs": 0.0}, "above 0 and at most 10 fs"),
        ({"timestep_fs": 100.0}, "above 0 and at most 10 fs"),
        ({"timestep_fs": float("nan")}, "above 0 and at most 10 fs"),
        ({"steps": -1}, "steps is -1"),
        ({"save_every_fs": 3.0}, "multiple of the time step"),
        ({"initial_temperature_K": 0.0}, "must be positive"),
        ({"initial_temperature_K": -300.0}, "must be positive"),
        ({"thermalise_ps": -1.0}, "thermalise_ps is -1.0; it must be a number that is not negative"),
        ({"thermalise_ps": float("inf")}, "thermalise_ps is inf; it must be a number that is not negative"),
        ({"thermalise_ps": float("nan")}, "thermalise_ps is nan"),
        ({"seed": -1}, "seed is -1; it must be from 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296; it must be from 0 to 4294967295"),
        ({"save_every_fs": 1e300}, r"the recording asks for a frame every 5e\+299 steps"),
        (
            {"integrator": md.NoseHoover(temperature_K=40.0, period_fs=19.0)},
            "period_fs is 19, less than 10 time steps of 2 fs, which do not resolve it; make it at least 20 fs",
        ),
        ({"integrator": md.NVE()}, "needs velocities"),
        ({"to": "no/such/folder/run.h5"}, "does not exist"),
        ({"wall_time_s": 0.0}, "wall_time_s is 0.0; it must be positive"),
    ],
    ids=lambda value: str(next(iter(value.items()))) if isinstance(value, dict) else "",
)
def test_impossible_requests_get_a_sentence(cluster: System, argon, change: dict, message: str) -> None:
    arguments = {"integrator": LANGEVIN, "timestep_fs": 2.0, "steps": 10}
    with pytest.raises((InputError, FileError), match=message):
        md.simulate(argon("float32"), cluster, **arguments | change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 20.5}, "steps is 20.5; it must be a whole number."),
        ({"steps": float("nan")}, "steps is nan; it must be a whole number."),
        ({"steps": "20"}, "steps is '20'; it must be a whole number."),
        ({"seed": 0.5}, "seed is 0.5; it must be a whole number."),
    ],
)
def test_numbers_that_are_not_whole_are_refused(cluster: System, argon, change: dict, sentence: str) -> None:
    """As a user calls it, without the type checks of the tests."""
    for function, more in ((md.simulate, {}), (md.simulate_replicas, {"seeds": [0]})):
        if "seed" in change and more:
            continue
        with pytest.raises(InputError) as error:
            unwrap(function)(argon("float32"), cluster, LANGEVIN, **{"timestep_fs": 2.0, "steps": 10} | more | change)
        assert str(error.value) == sentence


@pytest.mark.parametrize("steps", [10.0, np.int64(10)])
def test_whole_numbers_of_other_types_are_numbers_of_steps(cluster: System, argon, steps: int) -> None:
    _, run = unwrap(md.simulate)(argon("float32"), cluster, LANGEVIN, timestep_fs=2.0, steps=steps)
    assert run.made == 10


CHILD = """
import sys
import numpy as np
from so3krates import md
from so3krates.md.engine import engine
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
engine.CHUNK_SECONDS = 0.05
sites = 3.75 * np.stack(np.meshgrid(*[np.arange(2.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
md.simulate(Potential(LennardJones(0.0104, 3.4, 9.0)), System(sites, np.full(8, 18)), md.Langevin(temperature_K=30.0),
            timestep_fs=2.0, steps=int(sys.argv[2]), save_every_fs=20.0, to=sys.argv[1], resume=True,
            report=lambda report: print(report.step, flush=True))
"""


def test_a_killed_run_resumes_and_gives_the_same_trajectory(tmp_path: Path) -> None:
    """SIGKILL at random moments; the file opens after each of them."""
    steps, victim, witness = "100000", tmp_path / "victim.h5", tmp_path / "witness.h5"
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-c", CHILD]
    subprocess.run([*command, witness, steps], check=True, env=environment, stdout=subprocess.DEVNULL)
    moments = random.Random(7)
    killed = 0
    for _ in range(3):
        child = subprocess.Popen([*command, victim, steps], env=environment, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.3))
        child.kill()
        child.wait()
        child.stdout.close()
        killed += child.returncode == -signal.SIGKILL
        assert len(Trajectory(victim)) >= 1
    assert killed >= 1
    subprocess.run([*command, victim, steps], check=True, env=environment, stdout=subprocess.DEVNULL)
    same(Trajectory(victim).read(), Trajectory(witness).read())
    assert len(Trajectory(victim)) == int(steps) // 10 + 1
