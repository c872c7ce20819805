"""Where training records go."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from springs import run_config

from so3krates._errors import FileError, InputError
from so3krates.training.config import LogConfig
from so3krates.training.loggers import JsonLines, Logger, extra_loggers
from so3krates.training.loop import train

RECORD = {"event": "validation", "step": 20, "loss": 0.5, "best": True, "reason": None}


class Recorder:
    """Stands in for a service: what it was told."""

    def __init__(self) -> None:
        self.values: list[tuple[str, float, int]] = []
        self.opened: list[str] = []
        self.closed = 0


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Weights & Biases and tensorboardX with the calls of theirs that are used."""
    told = Recorder()

    class Run:
        def log(self, numbers: dict[str, float], step: int) -> None:
            told.values += [(name, value, step) for name, value in numbers.items()]

        def finish(self) -> None:
            told.closed += 1

    class SummaryWriter:
        def __init__(self, logdir: str) -> None:
            told.opened.append(logdir)

        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            told.values.append((tag, scalar_value, global_step))

        def close(self) -> None:
            told.closed += 1

    def init(project: str, name: str) -> Run:
        told.opened.append(f"{project}/{name}")
        return Run()

    wandb, tensorboard = ModuleType("wandb"), ModuleType("tensorboardX")
    wandb.init, tensorboard.SummaryWriter = init, SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "tensorboardX", tensorboard)
    return told


def test_a_resumed_log_keeps_what_the_checkpoint_knew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first = JsonLines(path, 0)
    first.write({"step": 1})
    known = first.size
    first.write({"step": 2})
    first.close()
    second = JsonLines(path, known)
    second.write({"step": 3})
    second.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]


def test_a_log_that_was_lost_begins_anew(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl", 1000)
    log.write({"step": 1})
    log.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1}\n'


def test_a_log_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"log\.jsonl' cannot be written: No such file"):
        JsonLines(tmp_path / "missing" / "log.jsonl", 0)


def write(loggers: list[Logger]) -> None:
    for logger in loggers:
        logger.write(RECORD)
        logger.close()


def test_weights_and_biases_gets_numbers_at_their_step(services: Recorder) -> None:
    write(extra_loggers(LogConfig(wandb_project="ethanol"), "model"))
    assert services.opened == ["ethanol/model"] and services.closed == 1
    assert ("loss", 0.5, 20) in services.values
    assert {name for name, _, _ in services.values} == {"step", "loss"}


def test_tensorboard_gets_numbers_under_their_event(services: Recorder, tmp_path: Path) -> None:
    write(extra_loggers(LogConfig(tensorboard=tmp_path), "model"))
    assert services.opened == [str(tmp_path)] and services.closed == 1
    assert services.values == [("validation/loss", 0.5, 20)]


def test_training_sends_its_records_there(services: Recorder, tmp_path: Path) -> None:
    log = {"wandb_project": "springs", "tensorboard": tmp_path / "board"}
    train(run_config(tmp_path, budget={"steps": 40}, log=log))
    assert services.closed == 2
    names = {name for name, _, _ in services.values}
    assert {"forces_mae", "learning_rate", "validation/forces_mae", "progress/forces_mae"} <= names


@pytest.mark.parametrize(("option", "module"), [("wandb_project", "wandb"), ("tensorboard", "tensorboardX")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, option: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"log.{option} is set, but {module} is not installed: pip install {module}"):
        extra_loggers(LogConfig.model_validate({option: "somewhere"}), "model")
