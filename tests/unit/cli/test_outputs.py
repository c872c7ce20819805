"""No command destroys a file: outputs that are inputs, names that do not fit, trajectories converted twice."""

from pathlib import Path

import ase.build
import ase.io
import made_runs
import pytest

from so3krates._errors import FileError, InputError
from so3krates.cli._outputs import check_output, refuse_existing
from so3krates.cli.app import main

MD = ("--temperature-K", "300", "--time-ps", "1", "--overwrite")
TRAIN = ("--train", "tt.extxyz", "--valid", "vv.extxyz", "--steps", "1", "--overwrite")
FILES = ("run.h5", "m.safetensors", "start.xyz", "tt.extxyz", "vv.extxyz", "log.jsonl", "run.yaml", "p.npz", "h.json")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with files that tell whether someone wrote to them."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text(f"precious {name}")
    (tmp_path / "run.yaml").write_text("data: {train: tt.extxyz, valid: vv.extxyz}\noutput: vv.extxyz\n")
    return tmp_path


def refused(arguments: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of a command that must fail and leave the folder as it was."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return line


@pytest.mark.parametrize(
    ("arguments", "output", "given"),
    [
        (("report", "run.h5", "-o", "run.h5"), "run.h5", "run.h5"),
        (("report", "run.h5", "--training-log", "log.jsonl", "-o", "./log.jsonl"), "log.jsonl", "log.jsonl"),
        (("report", "run.h5", "--data", "tt.extxyz@test", "-o", "tt.extxyz"), "tt.extxyz", "tt.extxyz@test"),
        (("check", "vv.extxyz", "tt.extxyz", "--json", "tt.extxyz"), "tt.extxyz", "tt.extxyz"),
        (("check", "tt.extxyz@0:10", "--json", "tt.extxyz"), "tt.extxyz", "tt.extxyz@0:10"),
        (("convert", "tt.extxyz", "tt.extxyz", "--overwrite"), "tt.extxyz", "tt.extxyz"),
        (("convert", "mlff", "--parameters", "p.npz", "--hyperparameters", "h.json", "-o", "p.npz"), "p.npz", "p.npz"),
        (("md", "m.safetensors", "start.xyz", "-o", "start.xyz", *MD), "start.xyz", "start.xyz"),
        (("md", "m.safetensors", "start.xyz", "-o", "m.safetensors", *MD), "m.safetensors", "m.safetensors"),
        (("md", "m.safetensors", "run.h5", "-o", "run.h5", *MD), "run.h5", "run.h5"),
        (("train", *TRAIN, "-o", "vv.extxyz"), "vv.extxyz", "vv.extxyz"),
        (("train", "--config", "run.yaml", "--overwrite"), "vv.extxyz", "vv.extxyz"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else value,
)
def test_an_output_that_is_an_input(
    arguments: tuple[str, ...], output: str, given: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(arguments, folder, capsys)
    assert f"the output '{output}' is the same file as the input '{given}'" in line


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"start": "new_stopped.extxyz"}, ()),
        ({"start": "new_001_stopped.extxyz"}, ("--replicas", "2")),
        ({"model": "new.h5.checkpoint.safetensors"}, ()),
        ({"committee": "new.h5.checkpoint.safetensors"}, ("--replicas", "2")),
        ({"config": "new.summary.json"}, ()),
    ],
    ids=lambda value: "-".join(value),
)
def test_an_input_that_belongs_to_the_output(
    given: dict[str, str], more: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that a run replaces or deletes beside its trajectory."""
    ((kind, name),) = given.items()
    ase.io.write(folder / given.get("start", "start.xyz"), ase.build.molecule("CH3OH"), format="extxyz")
    if kind != "start":
        (folder / name).write_text("ensemble: {kind: langevin, temperature_K: 300}" if kind == "config" else "precious")
    options = {kind: ("--" + kind, name)} if kind in ("config", "committee") else {}
    model, start = given.get("model", "m.safetensors"), given.get("start", "start.xyz")
    line = refused(("md", model, start, "-o", "new.h5", *MD, *more, *options.get(kind, ())), folder, capsys)
    assert f"'{name}', which belongs to the output 'new.h5' and would be replaced or deleted, is the input" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("report", "run.h5", "-o", "run.extxyz"), ".html"),
        (("check", "tt.extxyz", "--json", "vv.extxyz"), ".json"),
        (("convert", "run.h5", "run.pdb"), ".extxyz or .xyz or .dcd or .xtc"),
        (("convert", "mlff", "--parameters", "p.npz", "--hyperparameters", "h.json", "-o", "p"), ".safetensors"),
        (("md", "m.safetensors", "start.xyz", "-o", "e8.xyz", *MD), ".h5 or .hdf5"),
        (("train", *TRAIN, "-o", "model.npz"), ".safetensors"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_an_output_of_another_kind(
    arguments: tuple[str, ...], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"give a file that ends in {expected}." in refused(arguments, folder, capsys)


def test_the_same_file_by_another_path(folder: Path) -> None:
    (folder / "link.h5").symlink_to("run.h5")
    (folder / "hard.h5").hardlink_to(folder / "run.h5")
    for name in ("link.h5", "hard.h5", folder / "run.h5", f"../{folder.name}/run.h5", "run.h5@train"):
        with pytest.raises(InputError, match="the same file"):
            check_output(Path("run.h5"), "a trajectory", (".h5",), [None, name])
    check_output(Path("new.h5"), "a trajectory", (".h5",), ["run.h5", "missing.h5", None])
    check_output(Path("NEW.H5"), "a trajectory", (".h5",), [])


def test_an_at_sign_in_the_name_of_a_file(folder: Path) -> None:
    """FILE@NAME that exists is a file of that name: then FILE itself is no input."""
    (folder / "run.h5@old").write_text("")
    check_output(Path("run.h5"), "a trajectory", (".h5",), ["run.h5@old"])


def test_existing_files_are_kept(folder: Path) -> None:
    with pytest.raises(FileError, match="'run.h5' exists; replace it with --overwrite"):
        refuse_existing(Path("run.h5"), overwrite=False)
    refuse_existing(Path("run.h5"), overwrite=True)
    refuse_existing(Path("new.h5"), overwrite=False)


def test_convert_keeps_an_existing_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = made_runs.write_run(tmp_path / "run.h5", frames=7), tmp_path / "q.extxyz"
    assert main(["convert", str(run), str(target)]) == 0
    assert len(ase.io.read(target, ":")) == 7
    target.write_text("labelled data")
    assert main(["convert", str(run), str(target)]) == 1
    assert "exists; replace it with --overwrite" in capsys.readouterr().err
    assert target.read_text() == "labelled data"
    assert main(["convert", str(run), str(target), "--overwrite"]) == 0
    assert len(ase.io.read(target, ":")) == 7


def test_findings_beside_the_data(tmp_path: Path) -> None:
    atoms = ase.build.molecule("CH3OH")
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -30.0, 0.0 * atoms.positions
    ase.io.write(tmp_path / "a.extxyz", atoms)
    before = (tmp_path / "a.extxyz").read_bytes()
    assert main(["check", str(tmp_path / "a.extxyz"), "--json", str(tmp_path / "a.json")]) == 0
    assert (tmp_path / "a.json").read_text().startswith("{")
    assert (tmp_path / "a.extxyz").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check", "data.extxyz", "data.extxyz"], "'data.extxyz' is named twice"),
        (["report"], "nothing to report on; give at least one trajectory, or --training-log"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert sentence in capsys.readouterr().err
