"""The command line: help of every verb, exit statuses, and errors as one sentence."""

import ast
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import so3krates
from so3krates._errors import FileError, InputError, SimulationStopped
from so3krates.cli import app as application
from so3krates.cli.app import VERBS, build_app, main

CLI_FOLDER = Path(application.__file__).parent


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `so3krates info` raise."""

    def info() -> None:
        raise error

    def broken() -> object:
        app = build_app()
        app.command(info, name="broken")
        return app

    monkeypatch.setattr(application, "build_app", broken)


def _error_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_verbs_are_the_files_that_define_one() -> None:
    """Verb x is the function or sub-application x of file x.py; other files of the folder are parts of verbs."""
    assert {path.stem for path in CLI_FOLDER.glob("*.py") if path.stem in _defined_names(path)} == set(VERBS)


def _defined_names(path: Path) -> set[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return functions | {ast.unparse(target) for node in body if isinstance(node, ast.Assign) for target in node.targets}


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"so3krates {verb}" in text
    assert hasattr(import_module(f"so3krates.cli.{verb}"), verb)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    words = capsys.readouterr().out.split()
    assert [verb for verb in VERBS if verb not in words] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == so3krates.__version__


def test_help_starts_without_numerical_libraries() -> None:
    code = (
        "import sys; from so3krates.cli import main; main(['--help']);"
        "print(sorted({'jax', 'numpy', 'ase', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_unknown_verb_names_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    (line,) = _error_lines(capsys)
    assert line.startswith("error: 'trian'") and "train" in line


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "template", "--colour", "red"]) == 2
    (line,) = _error_lines(capsys)
    assert line.startswith("error: ") and "--colour" in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("md --restart", "so3krates md has no option --restart; did you mean --resume? Try 'so3krates md --help'."),
        ("md --time 1", "so3krates md has no option --time; did you mean --time-ps? Try 'so3krates md --help'."),
        ("md --colour red", "so3krates md has no option --colour. Try 'so3krates md --help'."),
        (
            "md --ensemble nvt",
            "--ensemble is 'nvt'; it must be one of nve, langevin, nose-hoover, csvr, npt-scr, npt-mtk. Try 'so3krates "
            "md --help'.",
        ),
        (
            "config template --enemble nve",
            "so3krates config template has no option --enemble; did you mean --ensemble? Try 'so3krates config "
            "template --help'.",
        ),
    ],
)
def test_what_is_wrong_with_an_option_and_whose_help_says_more(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    assert _error_lines(capsys) == [f"error: {sentence}"]


def test_missing_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "validate"]) == 2
    (line,) = _error_lines(capsys)
    assert line.startswith("error: ") and "FILE" in line


SENTENCES = {
    "known": (FileError("a.npz\nis damaged."), 1, "error: a.npz is damaged."),
    "stopped": (
        SimulationStopped("a bond broke at step 12.", "broken_bond", 12),
        3,
        "stopped: a bond broke at step 12.",
    ),
    "interrupt": (KeyboardInterrupt(), 130, "interrupted: what was written so far is kept."),
    "interrupt, told": (KeyboardInterrupt("go on with --resume"), 130, "interrupted: go on with --resume"),
    "missing": (FileNotFoundError(errno.ENOENT, "Not there", "a.xyz"), 1, "error: 'a.xyz': Not there."),
    "value": (InputError("0 frames in a.xyz."), 1, "error: 0 frames in a.xyz."),
}


@pytest.mark.parametrize(("error", "status", "expected"), SENTENCES.values(), ids=SENTENCES)
def test_errors_are_one_sentence(
    error: BaseException,
    status: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _failing(monkeypatch, error)
    assert main(["broken"]) == status
    assert _error_lines(capsys) == [expected]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run.h5"),
        OSError("Unable to write (errno = 28, error message = 'No space left on device')"),
    ],
    ids=["errno", "HDF5"],
)
def test_full_disk(error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _failing(monkeypatch, error)
    assert main(["broken"]) == 1
    (line,) = _error_lines(capsys)
    assert "the disk is full" in line


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["broken"])


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, FileError("damaged."))
    monkeypatch.setenv("SO3KRATES_DEBUG", "1")
    with pytest.raises(FileError):
        main(["broken"])


def test_options_keep_the_capitals_of_units() -> None:
    received: list[float] = []
    app = build_app()

    def heat(*, temperature_K: float, timestep_fs: float = 0.5) -> None:
        received.extend([temperature_K, timestep_fs])

    _register: Callable[..., object] = app.command
    _register(heat, name="heat")
    app(["heat", "--temperature-K", "500", "--timestep-fs", "1"], result_action="return_value")
    assert received == [500.0, 1.0]
