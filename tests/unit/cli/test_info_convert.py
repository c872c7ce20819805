"""`so3krates info` and `so3krates convert` as a user types them."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from so3krates.cli import main
from so3krates.io.model_file import load, save
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn.fused import Kernels, variants
from so3krates.physics.zbl import ZBL
from so3krates.potential import Potential
from so3krates.prediction import ElementTable


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = SO3krates(ModelConfig(features=12, layers=1, radial_functions=4), key=jax.random.key(0))
    table = ElementTable(numbers=(1, 8), energies=(-13.5, -2041.0))
    save(Potential(network, table, '{"data": "water.extxyz", "epochs": 12}'), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_info_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["elements"] == ["H", "O"]
    assert told["reference_energies"] == [-13.5, -2041.0]
    assert told["architecture"]["degrees"] == [1, 2, 3]
    assert told["provenance"] == {"data": "water.extxyz", "epochs": 12}
    assert told["bytes"] == model.stat().st_size
    assert told["terms"] == ["so3krates"]
    leaves = jax.tree.leaves(load(model).model)
    assert told["parameters"] == sum(np.size(leaf) for leaf in leaves)


def test_info_table(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--json"]) == 0
    digest = json.loads(capsys.readouterr().out)["file_sha256"]
    assert main(["info", str(model)]) == 0
    table = capsys.readouterr().out
    assert "5.0 Å" in table
    assert "water.extxyz" in table
    assert digest in "".join(character for character in table if character.isalnum())


def test_info_about_a_term_without_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(Potential(ZBL(5.0, "cosine", "float64")), tmp_path / "zbl.safetensors")
    assert main(["info", str(tmp_path / "zbl.safetensors"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["terms"] == ["zbl"] and told["analytic_terms"][0]["cutoff"] == 5.0 and "architecture" not in told


def test_info_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--system", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["jax"] == jax.__version__
    assert len(told["devices"]) == len(jax.devices())
    names = [variant.name for variant in variants()]
    assert told["kernel"].startswith(names[0] if names else "none") and all(name in told["kernel"] for name in names)


def test_info_says_that_there_is_no_kernel(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("so3krates.nn.fused.variants", tuple)
    monkeypatch.setattr("so3krates.nn.fused.kernels", lambda: Kernels(missing="it was not compiled"))
    assert main(["info", "--system"]) == 0
    assert "none: it was not compiled" in capsys.readouterr().out


def test_info_tables_measures_what_they_change(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--tables", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["tables"]
    assert len(told["intervals"]) == 1 and told["structures"] > 0
    assert 0.0 < told["mean_change_of_forces_eV_per_A"] < told["largest_change_of_forces_eV_per_A"] < 1e-4


def test_info_tables_needs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--system", "--tables"]) == 1
    assert "--tables" in capsys.readouterr().err


def test_info_about_other_things(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = bytearray(model.read_bytes())
    changed[-1] ^= 4
    (tmp_path / "changed").write_bytes(changed)
    (tmp_path / "text").write_text("some text")
    for arguments, sentence in (
        ([str(tmp_path / "changed")], "is damaged"),
        ([str(tmp_path / "text")], "is not a so3krates model file"),
        ([str(tmp_path / "none")], "No such file"),
        ([], "give either a model file or --system"),
        ([str(model), "--system"], "give either a model file or --system"),
    ):
        assert main(["info", *arguments]) == 1
        message = capsys.readouterr().err
        assert sentence in message
        assert message.count("\n") == 1


def test_convert_mlff(shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = shared_dir / "reference"
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "params.npz").symlink_to(reference / "paper_params.npz")
    (folder / "hyperparameters.json").symlink_to(reference / "paper_hyperparameters.json")
    output = tmp_path / "model.safetensors"
    assert main(["convert", "mlff", str(folder), "-o", str(output), "--elements", "H", "C", "O"]) == 0
    assert "left out: 11 arrays" in capsys.readouterr().out
    elements = load(output).elements
    assert elements is not None
    assert elements.numbers == (1, 6, 8)


def test_convert_refuses(shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = shared_dir / "reference"
    output = tmp_path / "model.safetensors"
    names = ["--parameters", str(reference / "paper_params.npz")]
    names += ["--hyperparameters", str(reference / "paper_hyperparameters.json")]
    for arguments, sentence in (
        ([str(tmp_path / "none")], "is not a folder"),
        ([], "give a folder, or both"),
        ([*names, "--elements", "Xx"], "'Xx' is not the symbol of an element"),
        ([*names, "--reference", str(reference / "so3lr_ethanol_lr1000.npz")], "no file was written"),
    ):
        assert main(["convert", "mlff", *arguments, "-o", str(output)]) == 1
        assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_convert_trajectory_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tmp_path / "none.h5"), str(tmp_path / "run.pdb")]) == 1
    assert "ends in .extxyz or .xyz" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none.h5"), str(tmp_path / "run.extxyz")]) == 1
    assert "none.h5" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
