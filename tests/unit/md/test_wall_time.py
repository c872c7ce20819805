"""Wall time: how it is written, and that runs keep it."""

import time
from math import inf
from pathlib import Path

import numpy as np
import pytest

from so3krates import md
from so3krates._errors import InputError
from so3krates.io.trajectory import Trajectory
from so3krates.md.engine import pace as pace_module
from so3krates.md.engine.pace import Pace
from so3krates.md.records.checkpoint import checkpoint_path
from so3krates.md.records.run_file import read_summary
from so3krates.md.wall_time import LEAST_MARGIN_S, MOST_MARGIN_S, Deadline, parse_wall_time
from so3krates.system import System


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45:00", 2700),
        ("90:00", 5400),
        ("0:30", 30),
        ("23:50:00", 85800),
        ("100:00:01", 360001),
        ("2-11:30:05", 2 * 86400 + 11 * 3600 + 30 * 60 + 5),
        (" 1:00:00 ", 3600),
    ],
)
def test_forms_of_batch_systems(text: str, seconds: float) -> None:
    assert parse_wall_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "24", "24h", "1:2:3", "1:60:00", "1:00:75", "0:00:00", "1-24:00:00", "1-30:00", "-1:00:00", "1:00:00:00"],
)
def test_other_forms_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="such as 23:50:00"):
        parse_wall_time(text)


def test_room_leaves_time_for_writing() -> None:
    assert Deadline().room(100.0) == inf
    day = Deadline(86400.0)
    assert day.room(0.0) == pytest.approx(86400.0 - MOST_MARGIN_S, abs=1.0)
    assert day.room(20.0) == pytest.approx(86400.0 - 60.0, abs=1.0)
    assert Deadline(10.0).room(0.0) == pytest.approx(10.0 - LEAST_MARGIN_S, abs=0.1)
    with pytest.raises(InputError, match="must be positive"):
        Deadline(0.0)


def test_chunks_shrink_towards_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(pace_module, "perf_counter", lambda: clock)
    pace = Pace(2.0, 10**6)
    pace.start()
    assert pace.next(10**6, 100.0) == 1  # it is not known yet how long a step takes
    clock += 0.01
    pace.computed(1)
    assert pace.next(10**6, 100.0) == 128
    clock += 1.28
    pace.computed(128)
    assert pace.next(10**6, inf) == pace.next(10**6, 100.0) == 200  # two seconds
    assert pace.next(10**6, 0.1) == 5  # half of 0.1 s × 100 steps/s
    assert pace.next(3, 0.1) == 3
    assert pace.next(10**6, 0.01) == 0
    assert pace.next(10**6, -1.0) == 0


@pytest.mark.slow
def test_a_run_ends_in_time_and_goes_on(cluster: System, argon, tmp_path: Path) -> None:
    arguments = {"timestep_fs": 2.0, "save_every_fs": 2000.0, "to": tmp_path / "run.h5"}
    integrator = md.Langevin(temperature_K=20.0)
    began = time.monotonic()
    with pytest.raises(md.RunUnfinished, match="the wall time is over after step .* goes on from there") as caught:
        md.simulate(argon("float32"), cluster, integrator, steps=10**8, wall_time_s=10.0, **arguments)
    assert time.monotonic() - began < 10.0
    ended = caught.value
    assert ended.reason == "wall_time" and ended.step > 0 and ended.run is not None and ended.final is not None
    assert ended.run.made == ended.step == ended.run.summary.steps
    assert read_summary(tmp_path / "run.h5")["ended"]["reason"] == "wall_time"
    more = ended.step + 100
    final, resumed = md.simulate(argon("float32"), cluster, integrator, steps=more, resume=True, **arguments)
    assert resumed.made == 100
    through, _ = md.simulate(argon("float32"), cluster, integrator, **arguments | {"to": None}, steps=more)
    np.testing.assert_array_equal(final.system.positions, through.system.positions)


@pytest.mark.slow
def test_a_run_in_memory_hands_over_what_it_has(cluster: System, argon) -> None:
    with pytest.raises(md.RunUnfinished, match="in memory only") as caught:
        md.simulate(
            argon("float32"), cluster, md.Langevin(temperature_K=20.0), timestep_fs=2.0, steps=10**8, wall_time_s=15.0
        )
    run, final = caught.value.run, caught.value.final
    assert run is not None and final is not None
    assert len(run.frames) == run.summary.frames == 1 + caught.value.step // 5


def test_time_that_is_over_while_thermalising(cluster: System, argon, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"over after step \d+ of 50000000 of thermalisation, .*; allow more"):
        md.simulate(
            argon("float32"),
            cluster,
            md.Langevin(temperature_K=20.0),
            timestep_fs=2.0,
            steps=100,
            thermalise_ps=1e5,
            wall_time_s=8.0,
            to=tmp_path / "run.h5",
        )
    assert len(Trajectory(tmp_path / "run.h5")) == 0 and not checkpoint_path(tmp_path / "run.h5").exists()


def test_time_that_no_step_fits_into_is_no_reason_to_come_again(cluster: System, argon, tmp_path: Path) -> None:
    """Else a script that submits what is unfinished would do so for ever."""
    arguments = {"timestep_fs": 2.0, "steps": 100, "wall_time_s": 1.0, "to": tmp_path / "run.h5"}
    for resume in (False, True):
        with pytest.raises(InputError, match="over after start and compilation, before the first step; allow more"):
            md.simulate(argon("float32"), cluster, md.Langevin(temperature_K=20.0), resume=resume, **arguments)
    _, run = md.simulate(
        argon("float32"), cluster, md.Langevin(temperature_K=20.0), resume=True, **arguments | {"wall_time_s": None}
    )
    assert run.summary.steps == run.made == 100
