"""The benchmark scripts: they explain themselves, run for this package alone, and compute their figures rightly."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = ("step_time", "train_throughput")


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120"}
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import side_by_side

    yield side_by_side
    for name in ("side_by_side", "workers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: path.stem)
def test_every_file_compiles(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_names_the_peers(name: str) -> None:
    done = run_script(name, "--help")
    assert done.returncode == 0, done.stderr
    for option in ("--so3krates-torch-python", "--mace-python", "--quick", "--output"):
        assert option in done.stdout


@pytest.mark.parametrize("name", ["so3lr_step_time", "so3lr_scaling"])
def test_help_of_the_scripts_for_so3lr(name: str) -> None:
    done = run_script(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "MODEL" in done.stdout and "--structures" in done.stdout


def test_help_and_refusal_of_the_script_for_scaling() -> None:
    done = run_script("scaling", "--help")
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout and "--structures" in done.stdout
    done = run_script("scaling", "--atoms", "7")
    assert done.returncode == 1
    assert "no box of 7 atoms; choose from 1536, 15360, 98304" in done.stderr


def test_help_and_refusal_of_the_script_for_neighbour_search() -> None:
    done = run_script("neighbour_search", "--help")
    assert done.returncode == 0, done.stderr
    assert "--model" in done.stdout and "--quick" in done.stdout
    done = run_script("neighbour_search", "--atoms", "7")
    assert done.returncode == 1
    assert "no box of 7 atoms; choose from 1536, 12288" in done.stderr


def test_unknown_structure_is_refused() -> None:
    done = run_script("step_time", "--quick", "--only", "benzene")
    assert done.returncode == 1
    assert "unknown structure 'benzene'; choose from ethanol, DHA" in done.stderr


def test_factors_compare_within_rounds(side_by_side: ModuleType) -> None:
    """The machine is ten times slower in the second round: the factor of two stays."""
    ours, theirs = [[1.0, 1.0, 9.0], [10.0, 10.0]], [[2.0, 2.0], [20.0, 20.0, 90.0]]
    time = side_by_side.Quantity("ms", higher_is_better=False)
    rate = side_by_side.Quantity("1/s", higher_is_better=True)
    assert side_by_side.advantage(ours, theirs, time) == {"median": 2, "smallest_round": 2, "largest_round": 2}
    assert side_by_side.advantage(ours, theirs, rate)["median"] == 0.5


def test_quartiles_are_over_all_samples(side_by_side: ModuleType) -> None:
    figures = side_by_side.summarized([[1.0, 2.0], [3.0, 4.0, 5.0]], side_by_side.Quantity("ms", False))
    assert (figures["lower_quartile"], figures["median"], figures["upper_quartile"]) == (2.0, 3.0, 4.0)
    assert figures["samples"] == 5


def test_a_worker_that_dies_is_reported(side_by_side: ModuleType, tmp_path: Path) -> None:
    import workers

    with pytest.raises(workers.WorkerFailed, match=r"ended with status [1-9][\s\S]*can't open file"):
        workers.Worker("missing_worker.py", Path(sys.executable), 1, tmp_path)


@pytest.mark.slow
def test_step_time_runs_for_this_package_alone(tmp_path: Path) -> None:
    result = measured("step_time", tmp_path)
    figures = result["rows"]["ethanol"]["engines"]
    assert set(figures) == {"so3krates", "so3krates, ASE"}
    assert np.isfinite([entry["energy_eV"] for entry in figures.values()]).all()
    assert result["rows"]["ethanol"]["atoms"] == 9
    assert set(result["rows"]["ethanol"]["so3krates_is_faster_by"]) == {"so3krates, ASE"}


@pytest.mark.slow
def test_train_throughput_runs_for_this_package_alone(tmp_path: Path, shared_dir: Path) -> None:
    result = measured("train_throughput", tmp_path, "--data", str(shared_dir / "data"))
    assert set(result["rows"]["ethanol"]["engines"]) == {"so3krates"}
    assert result["rows"]["ethanol"]["engines"]["so3krates"]["median"] > 0


def measured(name: str, folder: Path, *arguments: str) -> dict:
    """A quick run; it must name what was left out and reveal no folder of this machine."""
    output = folder / "result.json"
    done = run_script(name, "--quick", "--threads", "1", "--output", str(output), *arguments)
    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    result = json.loads(text)
    left_out = [name for name, entry in result["engines"].items() if "left_out" in entry]
    assert [re.split(r"[, ]", name)[0] for name in left_out] == ["so3krates-torch", "mace-torch"]
    assert str(ROOT) not in text and os.uname().nodename not in text
    return result
