"""The demonstration: what it writes, and what it does when something comes between."""

import json
from pathlib import Path
from typing import Any

import jax
import made_runs
import numpy as np
import pytest

from so3krates import demo
from so3krates._errors import FileError, InputError
from so3krates.cli.app import main
from so3krates.demo import Listeners, demonstrate
from so3krates.io.model_file import load
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.run import Run, RunStopped
from so3krates.md.records.summary import summarize
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.training.loop import TrainResult

TINY = ModelConfig(features=8, layers=1, heads=2, degrees=(1, 2), radial_functions=4)
POTENTIAL_ELEMENTS = ElementTable(numbers=(1, 6, 8), energies=(0.0, 0.0, 0.0))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Forty frames of ethanol with zero forces, split like the packaged data."""
    samples = made_runs.reference_data(40)
    path = tmp_path / "ethanol.npz"
    np.savez(
        path,
        numbers=samples[0].system.numbers,
        positions=np.stack([sample.system.positions for sample in samples]),
        energy=np.arange(40.0)[::-1] * 1e-3,
        forces=np.zeros((40, 9, 3)),
        split_train=np.arange(30),
        split_valid=np.arange(30, 34),
        split_test=np.arange(34, 40),
    )
    return path


def _run(path: Path) -> Run:
    series = Trajectory(path).series()
    summary = summarize(
        series,
        frames=len(Trajectory(path)),
        steps=400,
        atoms=9,
        degrees_of_freedom=24,
        steps_per_second=1000.0,
        timestep_fs=0.5,
        retries=0,
    )
    return Run(summary, path, None, 400)


@pytest.fixture
def without_engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Training and dynamics replaced by their results; gives back what they were called with."""
    called: dict[str, Any] = {}

    def train(config: Any, **_: Any) -> TrainResult:
        called["config"] = config
        potential = Potential(SO3krates(TINY, key=jax.random.key(0), dtype="float32"), POTENTIAL_ELEMENTS)
        log = made_runs.write_log(config.output.with_name("model.log.jsonl"))
        return TrainResult(potential, None, log, called.get("reason", "budget"))  # type: ignore[arg-type]

    def simulate(potential: Any, start: Any, integrator: Any, **options: Any) -> tuple[None, Run]:
        called["start"], called["options"] = start, options
        run = _run(made_runs.write_run(options["to"], frames=200))
        if "stop" in called:
            raise RunStopped("a bond broke", "bond_broken", 3, 1.5, run if called["stop"] else None)
        return None, run

    monkeypatch.setattr(demo, "train", train)
    monkeypatch.setattr(demo, "simulate", simulate)
    return called


def test_everything_is_made(dataset: Path, tmp_path: Path, without_engines: dict[str, Any]) -> None:
    done: list[tuple[int, int]] = []
    listeners = Listeners(evaluating=lambda n, total: done.append((n, total)))
    made = demonstrate(tmp_path / "out" / "demo", dataset=dataset, listeners=listeners)
    config, options = without_engines["config"], without_engines["options"]
    assert (config.data.train.name, config.data.valid.name) == ("ethanol.npz@train", "ethanol.npz@valid")
    assert config.budget.minutes == 3.0
    assert (options["steps"], options["timestep_fs"], options["initial_temperature_K"]) == (40_000, 0.5, 500.0)
    np.testing.assert_array_equal(
        without_engines["start"].positions, np.load(dataset)["positions"][29], err_msg="not the lowest training energy"
    )
    assert done == [(6, 6)]
    metrics = json.loads(made.metrics.read_text(encoding="utf-8"))
    assert metrics["frames"] == 6
    assert metrics["dynamics"]["drift"]["over_kinetic_spread"] < 1.0
    text = made.report.read_text(encoding="utf-8")
    assert "A force field for C₂H₆O in 3 minutes" in text
    for heading in ("Training", "Accuracy", "Energy conservation", "Bonds", "Vibrations", "Structure"):
        assert f"<h2>{heading}</h2>" in text


def test_interrupted_training_ends_it(dataset: Path, tmp_path: Path, without_engines: dict[str, Any]) -> None:
    without_engines["reason"] = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        demonstrate(tmp_path, dataset=dataset)
    assert "start" not in without_engines
    assert not (tmp_path / "report.html").exists()


def test_a_run_that_was_stopped_is_reported(dataset: Path, tmp_path: Path, without_engines: dict[str, Any]) -> None:
    without_engines["stop"] = True
    with pytest.raises(RunStopped, match="a bond broke"):
        demonstrate(tmp_path, dataset=dataset)
    assert (tmp_path / "report.html").exists() and (tmp_path / "metrics.json").exists()


def test_a_run_stopped_before_it_began(dataset: Path, tmp_path: Path, without_engines: dict[str, Any]) -> None:
    without_engines["stop"] = False
    with pytest.raises(RunStopped):
        demonstrate(tmp_path, dataset=dataset)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("times", [{"minutes": 0.0}, {"time_ps": -1.0}])
def test_times_must_be_positive(times: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be positive"):
        demonstrate(tmp_path, **times)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match="cannot be made"):
        demonstrate(tmp_path / "file" / "demo")


def test_command_prints_what_was_made(
    dataset: Path,
    tmp_path: Path,
    without_engines: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "ETHANOL", dataset)
    assert main(["demo", "-o", str(tmp_path / "d"), "--minutes", "1", "--time-ps", "2"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "d") in printed.replace("\n", "")
    assert "report.html" in printed and "model.safetensors" in printed
    assert without_engines["options"]["steps"] == 4000


@pytest.mark.slow
def test_the_whole_demonstration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a user runs it, on the packaged data."""
    assert main(["demo", "-o", str(tmp_path)]) == 0
    assert "written to" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["errors"]["forces"]["mae"] < 0.060
    assert metrics["dynamics"]["time_ps"] == pytest.approx(20.0)
    assert metrics["dynamics"]["drift"]["over_kinetic_spread"] < 1.0
    assert 300.0 < metrics["dynamics"]["temperature_K"]["mean"] < 750.0
    load(tmp_path / "model.safetensors")
    assert (tmp_path / "report.html").stat().st_size > 100_000
