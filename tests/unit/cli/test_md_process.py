"""`so3krates md` as a real process: killed, terminated, out of time, out of room; every time it goes on exactly."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.build
import ase.io
import h5py
import jax
import numpy as np
import pytest
from safetensors import safe_open

from so3krates.io.model_file import save
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.checkpoint import checkpoint_path
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable

KILLS = 20
TIMESTEP_FS = 0.5
ENDLESS = "100000"
"""ps"""
WAIT_SECONDS = 600.0
"""For a process to start, on a machine that does other things too."""

RUN = """\
model: {folder}/model.safetensors
start: {folder}/start.xyz
ensemble: {{kind: langevin, temperature_K: 5}}
recording: {{every_fs: 10, forces: true}}
monitor: {{max_bond_deviation: null, min_distance: null, max_temperature_K: null, max_gap: null}}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with random, weak parameters, and a molecule."""
    folder = tmp_path_factory.mktemp("process")
    config = ModelConfig(features=8, layers=1, heads=2, degrees=(1, 2), radial_functions=4)
    elements = ElementTable(numbers=(1, 6, 8), energies=(-13.0, -1000.0, -2000.0))
    save(Potential(SO3krates(config, key=jax.random.key(0)), elements).astype("float32"), folder / "model.safetensors")
    ase.io.write(folder / "start.xyz", ase.build.molecule("CH3OH"))
    # Such a potential may do what it likes with a molecule.
    (folder / "run.yaml").write_text(RUN.format(folder=folder), encoding="utf-8")
    return folder


def command(files: Path, output: Path, time_ps: str, *more: str) -> list[str]:
    options = ["--config", str(files / "run.yaml"), "-o", str(output), "--time-ps", time_ps]
    return [sys.executable, "-m", "so3krates", "md", *options, *more]


def environment(files: Path) -> dict[str, str]:
    return os.environ | {
        "JAX_ENABLE_X64": "0",
        "PYTHONUNBUFFERED": "1",
        "SO3KRATES_COMPILED_PROGRAMS": str(files / "programs"),
        # JAX in the process of the tests has set it, so that the command would not.
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def wait_for_frames(child: subprocess.Popen, output: Path, more_than: int) -> None:
    """Until the run has committed something new."""
    until = time.monotonic() + WAIT_SECONDS
    while child.poll() is None and time.monotonic() < until:
        if checkpoint_path(output).exists() and output.exists() and len(Trajectory(output)) > more_than:
            return
        time.sleep(0.1)
    status = child.poll()
    child.kill()
    pytest.fail(f"no new frames; the process had ended with {status}, or not at all.")


def steps_in_checkpoint(output: Path) -> int:
    with safe_open(checkpoint_path(output), framework="numpy") as file:
        return int(file.get_tensor("state.step"))


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: every frame, and the state behind them."""
    first, second = Trajectory(one).read(), Trajectory(other).read()
    assert first.forces is not None
    for name, values in first.present().items():
        np.testing.assert_array_equal(values, second.present()[name], err_msg=name)
    with safe_open(checkpoint_path(one), "numpy") as a, safe_open(checkpoint_path(other), "numpy") as b:
        assert set(a.keys()) == set(b.keys())
        for name in a.keys():
            np.testing.assert_array_equal(a.get_tensor(name), b.get_tensor(name), err_msg=name)


def test_killed_twenty_times_and_every_frame_is_as_if_never(files: Path, tmp_path: Path) -> None:
    victim, witness = tmp_path / "victim.h5", tmp_path / "witness.h5"
    moments, frames = random.Random(20), 0
    for number in range(KILLS):
        with open(tmp_path / "said.txt", "w") as said:
            child = subprocess.Popen(
                command(files, victim, ENDLESS, "--resume"), env=environment(files), stdout=said, stderr=said
            )
        if number % 5 == 4:  # also while it starts, compiles and reads the checkpoint
            time.sleep(moments.uniform(0.0, 3.0))
        else:
            wait_for_frames(child, victim, frames)
            time.sleep(moments.uniform(0.0, 1.5))
        child.kill()
        assert child.wait() == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
        frames_now = len(Trajectory(victim))
        assert frames_now >= frames
        with h5py.File(victim, "r") as file:  # by the library alone
            assert len(file["particles/all/position/value"]) == frames_now
        behind = frames_now - (1 + steps_in_checkpoint(victim) // 20)
        assert behind >= 0
        frames = frames_now - behind
    steps = steps_in_checkpoint(victim) + 1003
    length = f"{steps * TIMESTEP_FS * 1e-3:.7f}"
    for output in (victim, witness):
        subprocess.run(
            command(files, output, length, "--resume"), env=environment(files), check=True, capture_output=True
        )
    assert steps_in_checkpoint(victim) == steps and len(Trajectory(victim)) == 1 + steps // 20
    assert_same_run(victim, witness)


def test_terminated_by_the_batch_system_and_submitted_again(files: Path, tmp_path: Path) -> None:
    output, witness = tmp_path / "run.h5", tmp_path / "witness.h5"
    child = subprocess.Popen(
        command(files, output, ENDLESS), env=environment(files), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for_frames(child, output, 1)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode == 4
    step = steps_in_checkpoint(output)
    assert said.decode().startswith(f"unfinished: told to terminate after step {step} of")
    assert "Traceback" not in said.decode()
    summary = json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8"))
    assert summary["ended"]["reason"] == "terminated" and summary["results"]["steps"] == step
    length = f"{(step + 500) * TIMESTEP_FS * 1e-3:.7f}"
    for path in (output, witness):
        subprocess.run(
            command(files, path, length, "--resume"), env=environment(files), check=True, capture_output=True
        )
    assert_same_run(output, witness)


def test_the_wall_time_is_kept_by_the_whole_process(files: Path, tmp_path: Path) -> None:
    output, witness = tmp_path / "run.h5", tmp_path / "witness.h5"
    began = time.monotonic()
    done = subprocess.run(
        command(files, output, ENDLESS, "--wall-time", "0:40"), env=environment(files), capture_output=True
    )
    taken = time.monotonic() - began
    assert done.returncode == 4 and b"the wall time is over after step" in done.stderr
    assert 20.0 < taken < 40.0
    assert (tmp_path / "run.summary.png").exists()
    length = f"{(steps_in_checkpoint(output) + 100) * TIMESTEP_FS * 1e-3:.7f}"
    for path in (output, witness):
        subprocess.run(
            command(files, path, length, "--resume"), env=environment(files), check=True, capture_output=True
        )
    assert_same_run(output, witness)


LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module("so3krates", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("room", [1_000, 200_000, 1_000_000])
def test_no_room_for_more_ends_the_run_and_room_lets_it_go_on(files: Path, tmp_path: Path, room: int) -> None:
    """A limit on the size of files is what a full disk looks like, at whichever file meets it first."""
    output, witness, small = tmp_path / "run.h5", tmp_path / "witness.h5", tmp_path / "small.h5"
    subprocess.run(command(files, small, "0.01"), env=environment(files), check=True, capture_output=True)
    limit = small.stat().st_size + room
    _, _, *arguments = command(files, output, ENDLESS)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *arguments[1:]],
        env=environment(files) | {"SO3KRATES_COMPILED_PROGRAMS": "off"},
        capture_output=True,
    )
    said = done.stderr.decode()
    assert done.returncode == 1 and said.count("\n") == 1, said
    assert "cannot be written: File too large" in said and "Traceback" not in said
    step = steps_in_checkpoint(output)
    length = f"{(step + 2000) * TIMESTEP_FS * 1e-3:.7f}"
    for path in (output, witness):
        subprocess.run(
            command(files, path, length, "--resume"), env=environment(files), check=True, capture_output=True
        )
    assert_same_run(output, witness)
