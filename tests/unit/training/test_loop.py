import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from springs import run_config, samples, write

from so3krates._errors import ConfigError, FileError, InputError
from so3krates.io.model_file import load
from so3krates.training import loop
from so3krates.training.loop import TrainingDiverged, train

SCRIPT = Path(__file__).with_name("run_training.py")


def records(folder: Path, event: str) -> list[dict]:
    lines = (folder / "model.log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def wait_for(event: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any(line.strip() == event for line in process.stdout), f"ended before '{event}'"


def test_training_learns_and_the_model_file_is_the_best_model(tmp_path: Path) -> None:
    result = train(run_config(tmp_path, budget={"steps": 240}, optimizer={"learning_rate": 1e-2, "ema": 0.9}))
    validations = records(tmp_path, "validation")
    assert [record["step"] for record in validations] == list(range(20, 241, 20))
    assert validations[-1]["forces_mae"] < 0.5 * validations[0]["forces_mae"]
    assert result.reason == "budget"
    best = min(validations, key=lambda record: record["loss"])
    assert best["forces_mae"] == pytest.approx(result.metrics.forces_mae)
    data = samples(8, seed=2)
    predictions = load(tmp_path / "model.safetensors").predict([sample.system for sample in data])
    errors = np.stack([p.forces - s.forces for p, s in zip(predictions, data, strict=True)])
    assert np.abs(errors).mean() == pytest.approx(best["forces_mae"], rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    train(run_config(whole, dtype=dtype))

    chunk, calls = loop._Run._chunk, []

    def dying(run) -> None:
        calls.append(0)
        if len(calls) == 3:
            raise RuntimeError("power failure")
        chunk(run)

    monkeypatch.setattr(loop._Run, "_chunk", dying)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="power failure"):
        train(run_config(parts, dtype=dtype))
    monkeypatch.setattr(loop._Run, "_chunk", chunk)
    with pytest.raises(FileError, match="--resume"):
        train(run_config(parts, dtype=dtype))
    train(run_config(parts, dtype=dtype), resume=True)
    ours, expected = (load_file(folder / "model.safetensors") for folder in (parts, whole))
    assert all(np.array_equal(ours[name], expected[name]) for name in expected)
    for ours, expected in zip(records(parts, "validation"), records(whole, "validation"), strict=True):
        assert {**ours, "minutes": 0} == {**expected, "minutes": 0}


@pytest.mark.slow
def test_killed_at_any_moment_a_run_resumes_exactly(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    subprocess.run([sys.executable, SCRIPT, whole, "400"], check=True, timeout=300)
    rng = np.random.default_rng(3)
    for _ in range(3):
        with subprocess.Popen([sys.executable, SCRIPT, killed, "400"], stdout=subprocess.PIPE, text=True) as process:
            wait_for("progress", process)
            time.sleep(float(rng.uniform(0.0, 0.5)))
            process.send_signal(signal.SIGKILL)
    subprocess.run([sys.executable, SCRIPT, killed, "400"], check=True, timeout=300)
    ours, expected = (load_file(folder / "model.safetensors") for folder in (killed, whole))
    assert all(np.array_equal(ours[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "expected"), [("progress", "KeyboardInterrupt: at step"), ("validation", "interrupted")]
)
def test_an_interrupt_leaves_a_checkpoint_and_after_a_validation_a_model(
    tmp_path: Path, event: str, expected: str
) -> None:
    command = [sys.executable, SCRIPT, tmp_path, "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_for(event, process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert output.splitlines()[-1].startswith(expected), output
    assert (tmp_path / "model.checkpoint.safetensors").exists()
    assert (tmp_path / "model.safetensors").exists() == (event == "validation")


@pytest.mark.slow
def test_an_interrupt_that_is_lost_before_the_first_step_ends_the_run_all_the_same(tmp_path: Path) -> None:
    """As one is that comes while JAX is called by the garbage collector: what is raised there goes nowhere."""

    def tell(_: str) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="step 0"):
        train(run_config(tmp_path), tell=tell)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_two_devices_give_the_losses_of_one(tmp_path: Path) -> None:
    losses = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        flags = f"--xla_force_host_platform_device_count={devices}"
        subprocess.run(
            [sys.executable, SCRIPT, folder, "40"], check=True, timeout=300, env=os.environ | {"XLA_FLAGS": flags}
        )
        losses.append([record["loss"] for record in records(folder, "progress")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_a_larger_budget_extends_a_finished_run(tmp_path: Path) -> None:
    constant = {"optimizer": {"schedule": {"kind": "constant"}}}
    train(run_config(tmp_path, budget={"steps": 20}, **constant))
    result = train(run_config(tmp_path, budget={"steps": 40}, **constant), resume=True)
    assert result.reason == "budget"
    assert records(tmp_path, "end")[-1]["step"] == 40


def test_resume_begins_where_nothing_is_there(tmp_path: Path) -> None:
    assert train(run_config(tmp_path, budget={"steps": 20}), resume=True).reason == "budget"
    (tmp_path / "model.checkpoint.safetensors").unlink()
    with pytest.raises(FileError, match="there is no checkpoint"):
        train(run_config(tmp_path, budget={"steps": 20}), resume=True)


def test_resume_with_other_settings_is_refused(tmp_path: Path) -> None:
    train(run_config(tmp_path, budget={"steps": 20}))
    with pytest.raises(FileError, match=r"other settings or other data \(seed\)"):
        train(run_config(tmp_path, budget={"steps": 40}, seed=1), resume=True)


def test_resume_with_other_data_of_the_same_size_is_refused(tmp_path: Path) -> None:
    train(run_config(tmp_path, budget={"steps": 20}))
    data = tmp_path / "valid.extxyz"
    text = data.read_text()
    assert "0.1" in text
    data.write_text(text.replace("0.1", "0.2", 1))
    with pytest.raises(FileError, match=r"other data \(content of .*valid\.extxyz\)"):
        train(run_config(tmp_path, budget={"steps": 40}), resume=True)


def test_nan_goes_back_to_the_best_state_and_then_gives_up(tmp_path: Path) -> None:
    wild = {"learning_rate": 1e30, "clip_norm": None, "schedule": {"kind": "constant"}}
    told: list[str] = []
    with pytest.raises(TrainingDiverged, match=r"lower optimizer\.learning_rate"):
        train(run_config(tmp_path, optimizer=wild, budget={"steps": 400}), tell=told.append)
    assert len(records(tmp_path, "recovery")) == loop.MAX_RECOVERIES + 1
    assert any("going back to the best state" in sentence for sentence in told)


def test_early_stop_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    still = {"learning_rate": 1e-30, "ema": None, "schedule": {"kind": "constant"}}
    result = train(run_config(tmp_path, optimizer=still, budget={"steps": 2000, "early_stop": 2}))
    assert result.reason == "early_stop"
    assert records(tmp_path, "end")[-1]["step"] == 60


@pytest.mark.slow
def test_compilation_takes_nothing_from_the_warm_up(tmp_path: Path) -> None:
    """With minutes to spend, the learning rate rises from near zero in a straight line over 2 % of them."""
    train(run_config(tmp_path, budget={"minutes": 0.3}, log={}))
    shares, rates = np.array([(r["share"], r["learning_rate"]) for r in records(tmp_path, "progress")]).T
    assert shares[0] == 0.0  # the clock starts behind the chunk that compiles
    rising = np.flatnonzero(shares < 0.015)
    assert len(rising) >= 3
    # A chunk's last rate is foretold by the duration of the chunk before: not below the line at the start of the
    # chunk, not above it after as long a time again.
    line = run_config(tmp_path).optimizer.learning_rate / 0.02 * shares
    for now in rising[2:]:
        assert line[now - 1] <= rates[now] <= 1.01 * (2 * line[now - 1] - line[now - 2])


def test_a_better_model_is_in_the_checkpoint_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a killed run could go on from an older best one, and replace the model file with a worse one."""
    saved = set()
    monkeypatch.setattr(loop, "save_checkpoint", lambda _, checkpoint, __: saved.add(checkpoint.book.best_step))
    train(run_config(tmp_path))
    better = {record["step"] for record in records(tmp_path, "validation") if record["best"]}
    assert better and better <= saved


def test_a_finished_run_is_not_validated_again(tmp_path: Path) -> None:
    train(run_config(tmp_path))
    count = len(records(tmp_path, "validation"))
    train(run_config(tmp_path), resume=True)
    assert len(records(tmp_path, "validation")) == count


def test_a_budget_of_minutes_is_kept(tmp_path: Path) -> None:
    result = train(run_config(tmp_path, budget={"minutes": 0.02}, log={}))
    assert result.reason == "budget"
    # Overrun: at most a chunk of steps and a validation, a few hundredths of a second each.
    assert 0.02 <= records(tmp_path, "end")[-1]["minutes"] < 0.06


def test_a_weighted_loss_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the loss weighs stress with 1.0, but none of the 24 structures"):
        train(run_config(tmp_path, loss={"stress": 1.0}))


def test_elements_only_in_the_validation_data_are_refused(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    (tmp_path / "valid.extxyz").write_text(
        "1\nProperties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-1.0\nN 0 0 0 0 0 0\n"
    )
    with pytest.raises(InputError, match="atomic number 7 occurs in the validation data but not in the training data"):
        train(config)


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size 25 is larger than the 24 training structures"):
        train(run_config(tmp_path, batch_size=25))


def test_mixed_sizes_train(tmp_path: Path) -> None:
    """Single atoms, dimers' worth of missing pairs, and larger structures in one set."""
    write(tmp_path / "train.extxyz", 8, 1)
    with open(tmp_path / "train.extxyz", "a") as file:
        file.write("1\nProperties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-13.6\nH 0 0 0 0 0 0\n")
    write(tmp_path / "valid.extxyz", 4, 2)
    result = train(run_config(tmp_path, budget={"steps": 20}))
    assert np.isfinite(result.metrics.loss)
