"""`so3krates md` from the command line: files, exit status, sentences."""

import json
import re
from pathlib import Path

import ase.build
import ase.io
import jax
import numpy as np
import pytest
import yaml
from oracles.long_range import long_range_potential

from so3krates.cli.app import main
from so3krates.cli.info import describe_model
from so3krates.io.model_file import save
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.run_file import summary_path
from so3krates.md.run_config import RunConfig


def run(files: Path, output: Path, *more: str) -> int:
    arguments = ["md", str(files / "model.safetensors"), str(files / "start.xyz"), "-o", str(output)]
    return main([*arguments, "--min-distance", "0.01", *more])


LANGEVIN = ("--ensemble", "langevin", "--temperature-K", "100", "--time-ps", "0.02", "--save-every-fs", "1")


def test_frames_farther_apart_than_the_run_is_long_are_mentioned(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(files, tmp_path)
    assert main(["md", "--config", config, "--time-ps", "0.001", "--save-every-fs", "5000"]) == 0
    said = capsys.readouterr().out
    assert "--save-every-fs 5000 is longer than the run of 0.001 ps: of its frames only the start is recorded" in said


@pytest.mark.parametrize(
    ("wall_time", "said"),
    [("24:00:00", "enough"), ("0:02", "too short: the start and the last files leave no time"), ("1:00", "not enough")],
)
def test_a_dry_run_counts_the_start_into_the_wall_time(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wall_time: str, said: str
) -> None:
    length = "1e6" if said == "not enough" else "0.1"
    more = ["--time-ps", length, "--save-every-fs", "50", "--wall-time", wall_time, "--dry-run"]
    assert main(["md", "--config", _config(files, tmp_path), *more]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert said in told and "after a start of" in told


def test_run_exists_resume(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run.h5"
    assert run(files, output, *LANGEVIN) == 0
    assert "ns/day" in capsys.readouterr().out
    assert len(Trajectory(output)) == 21
    assert run(files, output, *LANGEVIN) == 1
    assert "exists" in capsys.readouterr().err
    longer = [word if word != "0.02" else "0.03" for word in LANGEVIN]
    assert run(files, output, *longer, "--resume") == 0
    assert len(Trajectory(output)) == 31
    assert run(files, output, *LANGEVIN, "--resume", "--seed", "4") == 1
    assert "another model, start structure or settings (seed was 0, is 4)" in capsys.readouterr().err
    ours = describe_model(files / "model.safetensors")["model_of_runs"]["float32"]
    assert json.loads(summary_path(output).read_text(encoding="utf-8"))["settings"]["model"] == ours
    other = ["md", str(files / "second.safetensors"), str(files / "start.xyz"), "-o", str(output), *LANGEVIN]
    assert main([*other, "--resume", "--min-distance", "0.01"]) == 1
    assert "another model, start structure or settings (model)" in capsys.readouterr().err
    assert len(Trajectory(output)) == 31


def test_a_stopped_run_has_its_own_exit_status(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, tmp_path / "run.h5", *LANGEVIN, "--max-temperature-K", "1") == 3
    error = capsys.readouterr().err
    assert error.startswith("stopped: ") and "exceeds 1 K" in error and "run_stopped.extxyz" in error
    assert np.isfinite(ase.io.read(tmp_path / "run_stopped.extxyz", -1).positions).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--time-ps", "1"), "needs --temperature-K"),
        (("--time-ps", "1", "--ensemble", "nve"), "nve needs --temperature-K, or velocities"),
        (("--time-ps", "1", "--ensemble", "nve", "--friction-per-ps", "1"), "belongs to langevin"),
        (("--time-ps", "1", "--ensemble", "nve", "--fix-rotation", "--period-fs", "1"), "--period-fs belongs to nose"),
        (
            ("--time-ps", "1", "--temperature-K", "300", "--fix-rotation"),
            "nose-hoover and csvr, not to lang",
        ),
        (("--time-ps", "1", "--ensemble", "npt-scr"), "npt-scr needs --temperature-K"),
        (("--time-ps", "1", "--temperature-K", "300", "--pressure-GPa", "1"), "belongs to npt-scr and npt-mtk, not to"),
        (("--time-ps", "0", "--temperature-K", "300"), "--time-ps: Input should be greater than 0"),
        (("--time-ps", "-1", "--temperature-K", "300"), "--time-ps: Input should be greater than 0"),
        (("--time-ps", "0.0001", "--temperature-K", "300"), "less than a time step"),
        (("--time-ps", "1", "--temperature-K", "-300"), "must be positive, in K; received -300"),
        (("--time-ps", "1", "--temperature-K", "0"), "must be positive, in K; received 0"),
        (("--temperature-K", "300"), "a run needs --time-ps TIME (or 'time_ps' in --config FILE)"),
        (
            ("--time-ps", "1", "--temperature-K", "300", "--wall-time", "24h"),
            "the wall time is '24h'; write it as H:MM:SS",
        ),
        (("--time-ps", "1", "--temperature-K", "300", "--wall-time", "1:75:00"), "such as 23:50:00"),
        (("--time-ps", "1", "--temperature-K", "300", "--save-every-fs", "0.7"), "multiple of the time step"),
        (("--time-ps", "1", "--temperature-K", "300", "--thermalise-ps", "-1"), "--thermalise-ps: "),
        (("--time-ps", "1", "--temperature-K", "300", "--seed", "-1"), "--seed: "),
        (("--time-ps", "1", "--temperature-K", "300", "--timestep-fs", "100"), "at most 10 fs"),
        (("--time-ps", "1", "--temperature-K", "300", "--timestep-fs", "0"), "at most 10 fs"),
    ],
)
def test_impossible_requests(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run(files, tmp_path / "run.h5", *options) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_start(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["md", str(files / "model.safetensors"), "nowhere.xyz", "-o", str(tmp_path / "run.h5"), *LANGEVIN]
    assert main(arguments) == 1
    assert "does not exist" in capsys.readouterr().err


def test_errors_of_the_structure_name_its_file(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = ase.build.molecule("NH3")
    charged = ase.build.molecule("CH3OH")
    charged.info["charge"] = 50
    for structure, message in ((atoms, "holds N, but the model"), (charged, "leaves -32 electrons")):
        ase.io.write(tmp_path / "strange.extxyz", structure)
        arguments = [str(files / "model.safetensors"), str(tmp_path / "strange.extxyz"), "-o", str(tmp_path / "run.h5")]
        assert main(["md", *arguments, *LANGEVIN]) == 1
        error = capsys.readouterr().err
        assert message in error and str(tmp_path / "strange.extxyz") in error


def test_a_run_shorter_than_the_usual_interval(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its last state is a frame, and what is told are the steps made."""
    output = tmp_path / "run.h5"
    assert run(files, output, "--temperature-K", "100", "--time-ps", "0.005") == 0
    printed = capsys.readouterr().out
    assert "compiling" in printed and "0.005 ps, 10 steps, 2 frames" in printed
    assert Trajectory(output).read().step.tolist() == [0, 10]
    assert run(files, output, "--temperature-K", "100", "--time-ps", "0.03", "--resume") == 0
    assert Trajectory(output).read().step.tolist() == [0, 10, 20, 30, 40, 50, 60]
    capsys.readouterr()
    uneven = ("--temperature-K", "100", "--time-ps", "0.0125")
    assert run(files, output, *uneven, "--overwrite") == 0
    assert "0.0125 ps, 25 steps, 2 frames" in capsys.readouterr().out


def test_the_speed_told_is_without_compilation(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a run of one chunk: this program takes a second to compile, and microseconds for a step."""
    assert run(files, tmp_path / "run.h5", "--temperature-K", "100", "--time-ps", "0.005", "--seed", "7") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "steps/s" in line and "speed" in line]
    assert float(line.split("ns/day, ")[1].split()[0]) > 100.0


def test_remarks_on_the_structure_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(long_range_potential(dtype="float32"), tmp_path / "model.safetensors")
    ase.io.write(tmp_path / "radical.extxyz", ase.build.molecule("CH3"))
    arguments = [str(tmp_path / "model.safetensors"), str(tmp_path / "radical.extxyz"), "-o", str(tmp_path / "run.h5")]
    options = ["--temperature-K", "10", "--time-ps", "0.0005", "--min-distance", "0.01"]
    main(["md", *arguments, *options])
    assert "CH3 has 9 electrons" in capsys.readouterr().out


RUN = """\
model: {folder}/model.safetensors
start: {folder}/start.xyz
output: {output}
time_ps: 0.02
recording: {{every_fs: 1}}
ensemble:
  kind: {kind}
  temperature_K: 100
monitor:
  broken_factor: null
  min_distance: 0.01
  max_gap: null
{more}
"""


def _config(files: Path, tmp_path: Path, kind: str = "langevin", more: str = "") -> str:
    path = tmp_path / "run.yaml"
    path.write_text(RUN.format(folder=files, output=tmp_path / "run.h5", kind=kind, more=more), encoding="utf-8")
    return str(path)


def test_a_file_says_what_options_do(files: Path, tmp_path: Path) -> None:
    config = _config(files, tmp_path)
    assert main(["config", "validate", config]) == 0
    assert main(["md", "--config", config]) == 0
    assert run(files, tmp_path / "by_options.h5", *LANGEVIN) == 0
    by_file, by_options = Trajectory(tmp_path / "run.h5"), Trajectory(tmp_path / "by_options.h5")
    np.testing.assert_array_equal(by_file.read().positions, by_options.read().positions)
    assert by_file.settings["monitor"]["broken_factor"] is None


def test_options_override_the_file(files: Path, tmp_path: Path) -> None:
    config = _config(files, tmp_path)
    more = ["--time-ps", "0.01", "--friction-per-ps", "7", "--seed", "3", "-o", str(tmp_path / "other.h5")]
    assert main(["md", "--config", config, *more]) == 0
    settings = Trajectory(tmp_path / "other.h5").settings
    assert settings["steps"] == 20 and settings["seed"] == 3 and settings["monitor"]["min_distance"] == 0.01
    assert settings["ensemble"]["friction_per_ps"] == 7.0 and settings["ensemble"]["temperature_K"] == 100.0
    # Another ensemble takes nothing of the section of the file.
    nose = ["--ensemble", "nose-hoover", "--temperature-K", "80", "--fix-rotation", "-o", str(tmp_path / "nose.h5")]
    assert main(["md", "--config", config, *nose]) == 0
    assert Trajectory(tmp_path / "nose.h5").settings["ensemble"] == {
        "kind": "NoseHoover",
        "temperature_K": 80.0,
        "period_fs": 100.0,
        "chain": 3,
        "fix_rotation": True,
    }


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("langevin", "colour: blue", "unknown key 'colour'"),
        ("langevin", "running: {cutoff: 3}", "unknown key 'running.cutoff'"),
        ("nve", "", "unknown key 'ensemble.temperature_K' (it belongs to langevin, nose-hoover, csvr"),
        ("brownian", "", "key 'ensemble.kind' is 'brownian'; it must be one of nve, langevin, "),
        ("langevin", "timestep_fs: 100", "at most 10 fs"),
        ("langevin", "wall_time: soon", "such as 23:50:00"),
        ("langevin", "seed: 1\nseed: 2", "key 'seed' is given twice"),
    ],
)
def test_mistakes_in_a_file_name_it_and_the_key(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, more: str, message: str
) -> None:
    config = _config(files, tmp_path, kind, more)
    assert main(["md", "--config", config]) == 1
    error = capsys.readouterr().err
    assert message in error and config in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize(("text", "seconds"), [("23:50:00", 85800), ("'23:50:00'", 85800), ("1-00:00:00", 86400)])
def test_yaml_may_read_a_wall_time_as_a_number_by_itself(text: str, seconds: float, tmp_path: Path) -> None:
    values = yaml.safe_load(f"wall_time: {text}")
    needed = {"model": "m", "start": "s", "output": "o.h5", "time_ps": 1.0, "ensemble": {"kind": "nve"}}
    assert RunConfig.parse(values | needed).wall_time_s == seconds


def test_a_dry_run_writes_nothing(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(files, tmp_path)
    assert main(["md", "--config", config, "--time-ps", "200", "--wall-time", "2-00:00:00", "--dry-run"]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "CH4O, 6 atoms, isolated" in printed and "degrees of freedom 15" in printed
    assert "200 ps, 400000 steps of 0.5 fs" in printed and "200001 frames" in printed
    # 6 atoms × 3 × 2 quantities × 4 bytes, and at least 7 scalars of 8 bytes; three digits are shown
    (size,) = re.findall(r"frames, ([\d.]+) MB", printed)
    assert 200001 * (144 + 55) <= float(size) * 1e6 <= 200001 * (144 + 200)
    assert "about 0:" in printed and "2-00:00:00, enough" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_a_dry_run_counts_what_is_left(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, longer = tmp_path / "run.h5", [word if word != "0.02" else "0.05" for word in LANGEVIN]
    assert run(files, output, *LANGEVIN) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert run(files, output, *longer, "--resume", "--dry-run") == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "left 60 steps; 40 are made" in printed and "exists:" not in printed
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    output.unlink()
    assert run(files, output, *longer, "--resume", "--dry-run") == 1
    assert "its trajectory" in capsys.readouterr().err
    assert run(files, output, *longer, "--resume", "--overwrite") == 1
    assert "resume and overwrite are both given" in capsys.readouterr().err


def test_the_summary_is_beside_the_trajectory(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, tmp_path / "run.h5", *LANGEVIN) == 0
    capsys.readouterr()
    names = {"run.h5", "run.h5.checkpoint.safetensors", "run.summary.json", "run.summary.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    summary = json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8"))
    trajectory = Trajectory(tmp_path / "run.h5")
    assert summary["ended"] == {"state": "complete", "reason": None, "sentence": None}
    assert summary["system"]["formula"] == "CH4O" and summary["versions"]["jax"] == jax.__version__
    assert summary["settings"]["model"] == trajectory.settings["model"]
    temperatures = trajectory.series()["temperature"][1:]
    assert summary["results"]["temperature_K"]["mean"] == pytest.approx(temperatures.mean())
    assert summary["results"]["steps"] == 40 and summary["results"]["frames"] == 21
    picture = (tmp_path / "run.summary.png").stat().st_mtime_ns
    assert run(files, tmp_path / "run.h5", *LANGEVIN, "--resume") == 0
    assert "holds all 40 steps already; there was nothing to do" in capsys.readouterr().out
    assert (tmp_path / "run.summary.png").stat().st_mtime_ns >= picture
    assert json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8")) == summary


def test_a_stopped_run_says_so_in_its_summary(files: Path, tmp_path: Path) -> None:
    assert run(files, tmp_path / "run.h5", *LANGEVIN, "--max-temperature-K", "92") == 3
    ended = json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8"))["ended"]
    assert ended["state"] == "stopped" and ended["reason"] == "too_hot" and "exceeds 92 K" in ended["sentence"]
    assert (tmp_path / "run.summary.png").exists()
    # A run of the same name leaves nothing of the old one.
    assert run(files, tmp_path / "run.h5", *LANGEVIN, "--overwrite") == 0
    assert not (tmp_path / "run_stopped.extxyz").exists()


def test_averages_that_mean_little_say_so(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that the monitor ended, however long it was, and of a ramp."""
    frames = ("--save-every-fs", "0.5", "--time-ps", "0.02", "--friction-per-ps", "50")
    heated = (*frames, "--temperature-K", "0:20,0.02:2000")
    assert run(files, tmp_path / "run.h5", *heated) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "temperature follows a ramp, so no average" in printed and "±" not in printed
    results = json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8"))["results"]
    assert results["temperature_K"]["converged"] is False
    # From a single frame on there is no error, and nothing that looks like one.
    assert run(files, tmp_path / "one.h5", "--temperature-K", "100", "--time-ps", "0.0005") == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "1 step, 2 frames" in printed and "K, error unknown" in printed and "±" not in printed


@pytest.mark.slow
def test_the_wall_time_has_its_own_exit_status(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(files, tmp_path)
    assert main(["md", "--config", config, "--time-ps", "1e5", "--save-every-fs", "10", "--wall-time", "0:15"]) == 4
    error = capsys.readouterr().err
    assert error.startswith("unfinished: the wall time is over after step ") and "goes on from there" in error
    step = json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8"))["results"]["steps"]
    assert step > 0 and f"after step {step} of" in error
