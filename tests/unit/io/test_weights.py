"""Published weights from a server on this machine: fetched once, checked, converted, and never half of them kept."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from oracles.long_range import long_range_potential

from so3krates._errors import FileError, InputError
from so3krates.cli.app import main
from so3krates.io import weights
from so3krates.io.loading import load
from so3krates.io.model_file import save
from so3krates.io.weights import Published, RemoteFile, cached, pull, resolved


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        del format, values


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def registry(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_dir: Path
) -> dict[str, Published]:
    """The published weights as if that server published them."""
    folder, address = served
    entries = []
    for name in ("params.pkl", "hyperparameters.json"):
        content = (shared_dir / "reference" / "so3lr" / name).read_bytes()
        (folder / name).write_bytes(content)
        entries.append(RemoteFile(f"{address}/{name}", len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    found = {"so3lr": weights.REGISTRY["so3lr"]._replace(parameters=entries[0], hyperparameters=entries[1])}
    monkeypatch.setattr(weights, "REGISTRY", found)
    return found


def test_registered_files_are_those_that_were_read(shared_dir: Path) -> None:
    entry = weights.REGISTRY["so3lr"]
    for remote in (entry.parameters, entry.hyperparameters):
        content = (shared_dir / "reference" / "so3lr" / remote.address.rpartition("/")[2]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (remote.size, remote.sha256)


def test_pulled_once_and_loaded_by_name(
    registry: dict[str, Published], served: tuple[Path, str], shared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = resolved("so3lr")
    assert path == cached("so3lr") and path.exists()
    told = capsys.readouterr().err
    assert "fetching" in told and "licence MIT" in told and "doi 10.1021/jacs.5c09558" in told
    for file in served[0].iterdir():
        file.unlink()
    assert pull("so3lr") == path
    values = np.load(shared_dir / "reference" / "so3lr_ethanol_lr1000.npz")
    from so3krates.system import System

    energy = load("so3lr", "float64").energy(System(values["positions"], values["numbers"]))
    assert energy == pytest.approx(float(values["energy"]), abs=1e-8)


def test_changed_files_are_refused_and_leave_nothing(registry: dict[str, Published], served: tuple[Path, str]) -> None:
    for spoil in (lambda content: content[:-1], lambda content: content + b"x", lambda content: b"x" + content[1:]):
        file = served[0] / "params.pkl"
        original = file.read_bytes()
        file.write_bytes(spoil(original))
        with pytest.raises(FileError, match="is not the file that was published"):
            pull("so3lr")
        file.write_bytes(original)
        assert not list(cached("so3lr").parent.iterdir())


def test_without_a_network_the_message_says_what_to_do(
    registry: dict[str, Published], served: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (served[0] / "params.pkl").unlink()
    assert main(["pull", "so3lr"]) == 1
    message = capsys.readouterr().err
    assert f"so3krates convert so3lr DIR -o {cached('so3lr')}" in message
    assert "404" in message


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"no published weights named 'so4lr'; known are so3lr"):
        pull("so4lr")


def test_a_local_copy_is_converted_with_its_elements(shared_dir: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "so3lr.safetensors"
    assert main(["convert", "so3lr", str(shared_dir / "reference" / "so3lr"), "-o", str(output)]) == 0
    assert "agrees with separate evaluation" in capsys.readouterr().out
    assert main(["info", str(output), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["terms"] == ["so3krates", "zbl", "electrostatics", "dispersion"]
    assert rows["elements"] == ["H", "C", "N", "O", "F", "P", "S", "Cl"]
    said = json.loads(load(output).provenance)
    assert said["licence"] == "MIT" and "10.1021/jacs.5c09558" in said["citation"]


@pytest.mark.slow
def test_a_damaged_file_in_the_cache_is_not_called_ready(
    registry: dict[str, Published], capsys: pytest.CaptureFixture[str]
) -> None:
    path = pull("so3lr")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for arguments in (["pull", "so3lr"], ["info", "so3lr"], ["evaluate", "so3lr", "data.extxyz"]):
        assert main(arguments) == 1
        captured = capsys.readouterr()
        assert "ready" not in captured.out and "truncated" in captured.err
        assert "`so3krates pull so3lr --overwrite` fetches it again" in captured.err
    assert main(["pull", "so3lr", "--overwrite"]) == 0
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_altered_files_are_not_stamped_as_published(
    shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed cutoff passes the check against the original parameters, which reads the same changed file."""
    folder = tmp_path / "altered"
    folder.mkdir()
    source = shared_dir / "reference" / "so3lr"
    (folder / "params.pkl").write_bytes((source / "params.pkl").read_bytes())
    options = json.loads((source / "hyperparameters.json").read_text())
    options["model"]["cutoff"] = 4.0
    (folder / "hyperparameters.json").write_text(json.dumps(options))
    output = tmp_path / "model.safetensors"
    assert main(["convert", "so3lr", str(folder), "-o", str(output)]) == 0
    assert "hyperparameters.json in" in (told := capsys.readouterr().out)
    assert "is not the published model" in told and "params.pkl" not in told
    provenance = json.loads(load(output).provenance)
    assert provenance["title"].startswith("not the published so3lr: made with another hyperparameters.json")
    assert provenance["derived_from"] == weights.REGISTRY["so3lr"].title
    assert main(["convert", "so3lr", str(source), "-o", str(output), "--overwrite"]) == 0
    assert "not the published" not in capsys.readouterr().out
    assert json.loads(load(output).provenance)["title"] == weights.REGISTRY["so3lr"].title


def test_the_command_for_a_local_copy_makes_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "not" / "there"))
    assert main(["convert", "so3lr", str(shared_dir / "reference" / "so3lr"), "-o", str(cached("so3lr"))]) == 0
    assert main(["info", "SO3LR"]) == 0
    assert "Kabylda" in capsys.readouterr().out


def test_a_wrong_name_is_answered_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match=r"neither a model file 'so3l' nor published weights of that name; .* so3lr\."):
        load("so3l")
    assert resolved("somewhere/so3l") == Path("somewhere/so3l")
    (tmp_path / "SO3LR").write_bytes(b"a file of that name comes first")
    assert weights.name_of("SO3LR") is None and weights.name_of("So3lr") == "so3lr"


@pytest.mark.usefixtures("unchecked")
def test_a_cutoff_that_is_no_number(tmp_path: Path) -> None:
    save(long_range_potential(dtype="float32"), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="long_range_cutoff is '12'; it must be a number, in Å"):
        load(tmp_path / "model.safetensors", long_range_cutoff="12")  # type: ignore[arg-type]
    assert load(tmp_path / "model.safetensors", long_range_cutoff=12).long_range_cutoff == 12


def test_help_tells_where_weights_are_kept_and_how_to_do_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "~/.cache/so3krates" in told and "SO3KRATES_CACHE" in told and "so3krates convert so3lr DIR" in told
