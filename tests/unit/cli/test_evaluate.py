"""`so3krates evaluate`: tables, metrics.json, parity plots; one sentence for what cannot be evaluated."""

import json
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from oracles.long_range import long_range_potential

from so3krates.cli.app import main
from so3krates.io.model_file import load, save
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System

CONFIG = ModelConfig(features=8, layers=1, heads=2, degrees=(1, 2), radial_functions=4)
BIAS_EV = 0.25


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = SO3krates(CONFIG, key=jax.random.key(0), dtype="float32")
    return Potential(model, ElementTable(numbers=(1, 6, 8), energies=(-13.0, -1000.0, -2000.0)))


@pytest.fixture(scope="module")
def model(potential: Potential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(potential, path)
    return path


@pytest.fixture(scope="module")
def data(potential: Potential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ethanol frames with the model's own labels, all energies lower by a known amount."""
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(6):
        atoms = molecule("CH3CH2OH")
        atoms.positions += 0.05 * rng.standard_normal((9, 3))
        truth = potential.predict([System.from_ase(atoms)])[0]
        atoms.calc = SinglePointCalculator(atoms, energy=truth.energy - BIAS_EV, forces=truth.forces)
        frames.append(atoms)
    path = tmp_path_factory.mktemp("data") / "test.extxyz"
    ase.io.write(path, frames)
    return path


def test_everything_is_written(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made" / "here"
    assert main(["evaluate", str(model), str(data), "-o", str(folder), "--batch-size", "4"]) == 0
    names = {path.name for path in folder.iterdir()}
    plots = {f"parity_{quantity}.{extension}" for quantity in ("energy", "forces") for extension in ("png", "svg")}
    assert names == {"metrics.json", "report.html", *plots}
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["frames"] == 6
    assert metrics["errors"]["energy"]["bias"] == pytest.approx(BIAS_EV, abs=1e-3)
    assert metrics["errors"]["energy_per_atom"]["mae"] == pytest.approx(BIAS_EV / 9, abs=1e-4)
    assert metrics["errors"]["forces"]["mae"] < 1e-4
    assert set(metrics["forces_by_element"]) == {"H", "C", "O"}
    assert len(metrics["worst_frames"]) == 5
    assert metrics["errors"]["energy_shifted"]["mae"] < 1e-3 and "zero of energy" in metrics["energy_note"]
    printed = capsys.readouterr().out
    assert "250" in printed and "meV/Å" in printed and "metrics.json" in printed
    assert "shifted" in printed and metrics["energy_note"] in printed
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Energy error, zero shifted" in page and "look at the shifted energies" in page


def test_numbers_are_not_broken_at_eighty_columns(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = ase.io.read(data, ":")
    for n, atoms in enumerate(frames):
        truth = atoms.get_potential_energy()
        atoms.calc = SinglePointCalculator(
            atoms, energy=truth - 12345.6789 - 0.1 * n, forces=atoms.get_forces() + 100.0
        )
    ase.io.write(tmp_path / "far.extxyz", frames)
    assert main(["evaluate", str(model), str(tmp_path / "far.extxyz"), "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    errors = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["errors"]
    row = next(line for line in lines if line.split()[:1] == ["energy"] and "meV" in line)
    for kind in ("mae", "rmse", "largest", "bias"):
        assert f"{1e3 * abs(errors['energy'][kind]):,.0f}" in row
    assert len(row) <= 80


def test_a_slice_of_the_data(model: Path, data: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(model), f"{data}@1:3", "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["frames"] == 2


def _sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["evaluate", *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_unknown_element(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = molecule("NH3")
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((4, 3)))
    ase.io.write(tmp_path / "a.extxyz", [atoms])
    sentence = _sentence([str(model), str(tmp_path / "a.extxyz"), "-o", str(tmp_path)], capsys)
    assert "a.extxyz" in sentence and "holds N" in sentence and "H, C, O" in sentence


def test_no_labels(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write(tmp_path / "a.extxyz", [molecule("H2O")])
    sentence = _sentence([str(model), str(tmp_path / "a.extxyz"), "-o", str(tmp_path)], capsys)
    assert "a.extxyz" in sentence and "label" in sentence


def test_missing_files(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.extxyz" in _sentence([str(model), str(tmp_path / "none.extxyz")], capsys)
    assert "none.safetensors" in _sentence([str(tmp_path / "none.safetensors"), str(data)], capsys)


def test_folder_that_cannot_be_made(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot be made" in _sentence([str(model), str(data), "-o", str(tmp_path / "file" / "folder")], capsys)


def test_predictions_are_written_with_everything_the_model_says(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Charges, dipole, Hirshfeld ratios and energy components; errors where the data have labels for them."""
    model, labelled = tmp_path / "long_range.safetensors", tmp_path / "labelled.extxyz"
    save(long_range_potential(dtype="float32"), model)
    frames = ase.io.read(data, ":4")
    for atoms in frames:
        atoms.info["REF_dipole"] = np.zeros(3)
        atoms.arrays["REF_hirshfeld_ratios"] = np.ones(len(atoms))
        atoms.set_cell(np.eye(3) * 1000.0)
        atoms.pbc = True
    ase.io.write(labelled, frames, format="extxyz")
    written = tmp_path / "predicted.extxyz"
    arguments = ["-o", str(tmp_path / "out"), "--predictions", str(written)]
    assert main(["evaluate", str(model), str(labelled), *arguments]) == 0
    said = capsys.readouterr().out
    assert "taken as isolated" in said and "The same goes for 3 more of the 4 frames." in said
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"dipole", "hirshfeld_ratios"} <= metrics["errors"].keys()
    assert len(metrics["remarks"]) == 1 and "taken as isolated" in metrics["remarks"][0]
    potential = load(model)
    for atoms in ase.io.read(written, ":"):
        expected = potential.predict([System.from_ase(atoms)])[0]
        np.testing.assert_allclose(atoms.get_charges(), expected.charges, atol=1e-5)
        np.testing.assert_allclose(atoms.get_dipole_moment(), expected.dipole, atol=1e-4)
        assert atoms.info["energy_electrostatics"] == pytest.approx(expected.components["electrostatics"], abs=1e-4)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-3)


def test_predictions_need_no_labels(model: Path, data: Path, tmp_path: Path, capsys) -> None:
    frames = ase.io.read(data, ":3")
    bare, written = tmp_path / "bare.extxyz", tmp_path / "predicted.extxyz"
    ase.io.write(bare, [ase.Atoms(frame.symbols, frame.positions) for frame in frames])
    arguments = [str(model), str(bare), "-o", str(tmp_path / "out")]
    assert "no labels" in _sentence(arguments, capsys)
    assert main(["evaluate", *arguments, "--predictions", str(written)]) == 0
    assert "holds no labels that the model predicts" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    predicted = ase.io.read(written, ":")
    assert len(predicted) == 3
    expected = load(model).predict([System.from_ase(predicted[0])])[0]
    assert predicted[0].get_potential_energy() == pytest.approx(expected.energy, abs=1e-3)


def test_predictions_do_not_replace_the_data(model: Path, data: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "data.extxyz"
    copy.write_bytes(data.read_bytes())
    assert main(["evaluate", str(model), str(copy), "--predictions", str(copy)]) == 1
    assert "is the same file as the input" in capsys.readouterr().err
    assert copy.read_bytes() == data.read_bytes()


def test_predictions_in_another_format_are_refused(model: Path, data: Path, tmp_path: Path, capsys) -> None:
    assert main(["evaluate", str(model), str(data), "--predictions", str(tmp_path / "x.csv")]) == 1
    assert "give a file that ends in .extxyz or .xyz" in capsys.readouterr().err
