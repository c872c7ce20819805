"""What lies beside a trajectory: whose checkpoint it is, what a run may delete, and what is left of an earlier one."""

import errno
from pathlib import Path

import numpy as np
import pytest

from so3krates import md
from so3krates._errors import FileError, InputError
from so3krates.io import atomic
from so3krates.io.run_lock import RunLock
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.averages import block_average
from so3krates.md.records.output import stopped_path
from so3krates.md.records.run_file import read_summary, summary_path
from so3krates.system import System

LANGEVIN = md.Langevin(temperature_K=40.0, friction_per_ps=5.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def one(cluster: System, argon, tmp_path: Path):
    """A run on its own of some steps."""

    def run(steps: int = 10, to: str | None = "run.h5", integrator: md.Integrator = LANGEVIN, **more) -> md.Run:
        where = None if to is None else tmp_path / to
        return md.simulate(argon("float32"), cluster, integrator, timestep_fs=2.0, steps=steps, to=where, **more)[1]

    return run


@pytest.fixture
def many(cluster: System, argon, tmp_path: Path):
    """So many replicas."""

    def run(count: int, steps: int = 10, to: str | None = "run.h5", **more) -> md.Replicas:
        where, ensembles = None if to is None else tmp_path / to, [LANGEVIN] * count
        return md.simulate_replicas(
            argon("float32"), cluster, ensembles, timestep_fs=2.0, steps=steps, to=where, **more
        )

    return run


def test_the_checkpoint_of_another_run_is_not_lost(one, many, tmp_path: Path) -> None:
    """A run on its own and replicas of that name share it."""
    one()
    before = contents(tmp_path)
    with pytest.raises(FileError, match=r"run.h5.checkpoint.safetensors' exists, the checkpoint of a run on its own;"):
        many(2)
    with pytest.raises(FileError, match="is the checkpoint of a run on its own, and 2 replicas cannot go on from it"):
        many(2, resume=True)
    assert contents(tmp_path) == before
    many(2, overwrite=True)
    (tmp_path / "run.h5").unlink()
    before = contents(tmp_path)
    with pytest.raises(FileError, match="checkpoint.safetensors' exists, the checkpoint of 2 replicas; resume the run"):
        one()
    with pytest.raises(FileError, match="is the checkpoint of 2 replicas, and a run on its own cannot go on from it"):
        one(resume=True)
    with pytest.raises(FileError, match="is the checkpoint of 2 replicas, and 3 replicas cannot go on"):
        many(3, resume=True)
    assert contents(tmp_path) == before
    (tmp_path / "run_001.h5").rename(tmp_path / "elsewhere.h5")
    with pytest.raises(FileError, match=r"exists, but its trajectory '.*run_001.h5' is missing; put them back"):
        many(2, resume=True)


def test_a_missing_trajectory_is_no_reason_to_begin_again(one, tmp_path: Path) -> None:
    one()
    (tmp_path / "run.h5").unlink()
    before = contents(tmp_path)
    with pytest.raises(FileError, match=r"run.h5.checkpoint.safetensors' exists, but its trajectory '.*run.h5' is mis"):
        one(resume=True)
    assert contents(tmp_path) == before


def test_each_trajectory_of_replicas_is_locked(one, many, tmp_path: Path) -> None:
    tried = []

    def beside(report: md.Report) -> None:
        del report
        with pytest.raises(FileError, match="another process is writing '.*run_001.h5'"):
            RunLock(tmp_path / "run_001.h5")
        tried.append(True)

    many(2, report=beside)
    assert tried and not list(tmp_path.glob("*.lock"))
    lock = RunLock(tmp_path / "run_000.h5")
    with pytest.raises(FileError, match="another process is writing '.*run_000.h5'"):
        many(2, resume=True)
    lock.release()
    assert not list(tmp_path.glob("*.lock"))


def test_a_full_disk_leaves_what_was_to_be_overwritten(one, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one()
    stopped_path(tmp_path / "run.h5").write_text("of an earlier run")
    before = contents(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_write_synced", full)
    with pytest.raises(FileError, match="disk is full"):
        one(overwrite=True)
    assert contents(tmp_path) == before


def test_a_summary_that_a_kill_prevented_is_written_by_the_next_call(one, tmp_path: Path) -> None:
    one()
    path = summary_path(tmp_path / "run.h5")
    complete = path.read_text()
    for left in (None, complete.replace('"complete"', '"unfinished"')):
        path.unlink() if left is None else path.write_text(left)
        assert one(resume=True).made == 0
        assert read_summary(tmp_path / "run.h5")["ended"]["state"] == "complete"
        assert read_summary(tmp_path / "run.h5")["results"]["steps"] == 10


def test_the_trajectory_knows_the_length_and_the_monitor_of_the_last_call(one, tmp_path: Path) -> None:
    one(10, save_every_fs=2.0)
    one(20, save_every_fs=2.0, resume=True, monitor=md.Monitor(max_temperature_K=900.0))
    settings = Trajectory(tmp_path / "run.h5").settings
    assert settings["steps"] == 20 and settings["monitor"]["max_temperature_K"] == 900.0
    one(15, save_every_fs=2.0, resume=True)  # it has gone farther already
    assert Trajectory(tmp_path / "run.h5").settings == settings
    one(25, resume=True)
    assert Trajectory(tmp_path / "run.h5").settings["steps"] == 25
    np.testing.assert_array_equal(Trajectory(tmp_path / "run.h5").read().step, np.arange(26))


def test_what_a_stop_left_goes_when_the_run_completes(one, tmp_path: Path) -> None:
    with pytest.raises(md.RunStopped):
        one(400, save_every_fs=2.0, monitor=md.Monitor(max_temperature_K=41.0))
    assert stopped_path(tmp_path / "run.h5").exists()
    one(400, save_every_fs=2.0, resume=True)
    assert not stopped_path(tmp_path / "run.h5").exists()


def test_temporary_files_of_a_killed_run_are_removed(one, tmp_path: Path) -> None:
    mine = [".run.h5.0123abcd.tmp", ".run.h5.journal.0123abcd.tmp", ".run.h5.checkpoint.safetensors.00000000.tmp"]
    others = [".run_000.h5.0123abcd.tmp", ".run.h5.notes.tmp", ".run.summary.png.0123abcd.tmp"]
    for name in (*mine, *others):
        (tmp_path / name).touch()
    one()
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"} == set(others)


@pytest.mark.parametrize(
    ("to", "more", "sentence"),
    [
        (None, {"resume": True}, "resume=True needs the file of the run"),
        (None, {"overwrite": True}, "overwrite=True needs the file of the run"),
        ("run.h5", {"resume": True, "overwrite": True}, "resume and overwrite are both given"),
    ],
)
def test_what_would_have_no_effect_is_refused(to: str | None, more: dict, sentence: str, one, many) -> None:
    with pytest.raises(InputError, match=sentence):
        one(to=to, **more)
    with pytest.raises(InputError, match=sentence):
        many(2, to=to, **more)


def test_a_run_that_the_monitor_ended_is_not_converged(one, tmp_path: Path) -> None:
    """However well its frames scatter about a mean: it was not in equilibrium when it ended."""
    bath = md.Langevin(temperature_K=40.0, friction_per_ps=100.0)
    monitor = md.Monitor(max_temperature_K=72.0)
    with pytest.raises(md.RunStopped) as caught:
        one(20_000, save_every_fs=2.0, monitor=monitor, integrator=bath)
    run = caught.value.run
    assert run is not None and block_average(run.trajectory.series()["temperature"][1:]).converged
    assert run.summary.temperature_K.converged is False
    assert read_summary(tmp_path / "run.h5")["results"]["temperature_K"]["converged"] is False
