"""`so3krates config`: the template is valid, mistakes are named, the schema is the configuration's."""

import json
from pathlib import Path

import pytest

from so3krates.cli.app import main
from so3krates.config_file import commented_yaml, read_config
from so3krates.training.config import DataConfig, StartConfig, TrainConfig


@pytest.fixture
def template(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["config", "template"]) == 0
    return capsys.readouterr().out


def _validate(text: str, folder: Path) -> tuple[int, Path]:
    file = folder / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return main(["config", "validate", str(file)]), file


def test_template_is_valid_and_holds_the_defaults(template: str, tmp_path: Path) -> None:
    status, file = _validate(template, tmp_path)
    assert status == 0
    data = DataConfig(train=Path("train.extxyz"), valid=Path("valid.extxyz"))
    assert read_config(file, TrainConfig) == TrainConfig(data=data)


def test_template_explains_every_top_level_key(template: str) -> None:
    lines = template.splitlines()
    for key in TrainConfig.model_fields:
        (number,) = [n for n, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert lines[number - 1].startswith("# "), key


def test_template_shows_the_keys_of_a_start_from_a_model(template: str, tmp_path: Path) -> None:
    """Without their comment signs, and with a model, they are valid."""
    lines = template.splitlines()
    start = lines.index("start: null")
    for key in StartConfig.model_fields:
        (number,) = [n for n, line in enumerate(lines) if line.startswith(f"#   {key}: ")]
        assert number > start
        lines[number] = lines[number].removeprefix("#").replace("model: …", "model: so3lr")
    lines[start] = "start:"
    status, file = _validate("\n".join(lines), tmp_path)
    assert status == 0
    assert read_config(file, TrainConfig).start == StartConfig(model="so3lr")


def test_every_choice_survives_the_file(tmp_path: Path) -> None:
    values = {
        "data": {"data": "a.npz", "n_train": 950, "n_valid": 50, "energy_unit": "kcal/mol"},
        "model": {"degrees": [0], "cutoff_function": "polynomial", "layers": 2},
        "optimizer": {"schedule": {"kind": "exponential", "factor": 0.85}, "ema": None, "learning_rate": 1e-5},
        "budget": {"steps": 10},
    }
    config = TrainConfig.parse(values)
    (tmp_path / "run.yaml").write_text(commented_yaml(config), encoding="utf-8")
    assert read_config(tmp_path / "run.yaml", TrainConfig) == config


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size:", "batchsize:", "unknown key 'batchsize'"),
        ("  heads: 4", "  head: 4", "unknown key 'model.head'"),
        ("  heads: 4", "  heads: four", "'model.heads'"),
        ("  heads: 4", "  heads: 5", "not divisible"),
        ("seed: 0\n# prec", "seed: 0\nseed: 1\n# prec", "given twice"),
        ("seed: 0\n# prec", "seed: [0\n# prec", "not valid YAML"),
    ],
    ids=["unknown key", "unknown inner key", "wrong type", "impossible", "twice", "broken"],
)
def test_mistakes_are_named(
    template: str, old: str, new: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in template
    status, file = _validate(template.replace(old, new), tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 1
    assert expected in line and str(file) in line


def test_a_list_is_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = _validate("- data\n", tmp_path)
    assert status == 1
    assert "received list" in capsys.readouterr().err


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "validate", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_binary_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00data")
    assert main(["config", "validate", str(tmp_path / "run.yaml")]) == 1
    assert "not UTF-8" in capsys.readouterr().err


def test_schema_is_json_and_refuses_unknown_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(TrainConfig.model_fields)
    assert schema["additionalProperties"] is False
