"""The examples run and write what they say."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from so3krates.io.foreign_convert import find_files
from so3krates.io.weights import convert_published

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.slow


def run(name: str, *arguments: str | Path) -> None:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=900)


@pytest.fixture(scope="module")
def trained(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rmd17")
    run("rmd17.py", "ethanol", "--data", shared_dir / "data", "--minutes", "1", "--output", folder)
    return folder


def test_rmd17_writes_test_errors_and_a_learning_curve(trained: Path) -> None:
    report = json.loads((trained / "ethanol.json").read_text())
    assert report["test"]["frames"] == 1000
    # Ethanol's forces have a mean size of 0.9 eV/Å: whatever was learnt must show.
    assert report["test"]["errors"]["forces"]["mae"] < 0.2
    assert all("/" not in frame["origin"] for frame in report["test"]["worst_frames"])
    minutes = [point["minutes"] for point in report["learning_curve"]]
    assert len(minutes) >= 2 and minutes == sorted(minutes)


def test_dynamics_writes_stable_times_and_drifts(trained: Path, shared_dir: Path) -> None:
    reference = shared_dir / "data" / "rmd17_ethanol.npz"
    times = ("--canonical-ps", "0.5", "--constant-energy-ps", "0.5")
    run("dynamics.py", trained / "ethanol.safetensors", "--reference", reference, *times, "--output", trained)
    report = json.loads((trained / "ethanol.dynamics.json").read_text())
    assert report["canonical, float32, seed 0"]["summary"]["degrees_of_freedom"] == 21
    for precision in ("float32", "float64"):
        part = report[f"constant energy, {precision}"]
        assert part["stable_ps"] == 0.5 and part["stopped"] is None
        assert math.isfinite(part["summary"]["drift"]["meV_per_atom_per_ps"])
        assert part["summary"]["degrees_of_freedom"] == 21


@pytest.fixture(scope="module")
def so3lr(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("so3lr") / "so3lr.safetensors"
    convert_published("so3lr", find_files(shared_dir / "reference" / "so3lr"), model)
    return model


def test_so3lr_dynamics_conserves_energy(so3lr: Path, shared_dir: Path) -> None:
    structure = shared_dir / "structures" / "dha.xyz"
    times = ("--time-ps", "0.3", "--thermalise-ps", "0.2", "--output", so3lr.parent)
    run("so3lr_dynamics.py", so3lr, structure, *times)
    report = json.loads((so3lr.parent / "dha.json").read_text())
    # The file has a box of 1000 Å: no cutoff for what is taken as isolated.
    assert report["atoms"] == 56 and report["long_range_cutoff_A"] == 1000.0
    assert abs(report["drift"]["meV_per_atom_per_ps"]) < 1.0
    assert report["bonds"]["intact"] and report["bonds"]["number"] == 55
    assert (so3lr.parent / "dha.svg").read_text().startswith("<?xml")


def test_finetuning_lowers_the_error_on_unseen_molecules(so3lr: Path, shared_dir: Path) -> None:
    data = ("--data", shared_dir / "data" / "qm7x_2500.extxyz")
    ways = ("--ways", "adapters of rank 8", "--learning-rates", "1e-4", "--epochs", "4")
    run("finetune.py", so3lr, *data, *ways, "--output", so3lr.parent)
    report = json.loads((so3lr.parent / "finetune.json").read_text())
    assert report["test_structures"] == 1900
    (tuned,) = report["tuned"]
    assert tuned["forces_mae_eV_per_A"] < report["untuned_forces_mae_eV_per_A"]
    change = tuned["forces_mae_eV_per_A"] - report["untuned_forces_mae_eV_per_A"]
    assert tuned["change_eV_per_A"] == pytest.approx(change, abs=1e-9)
