"""`so3krates report`: a page, or one sentence."""

from pathlib import Path

import made_runs
import pytest

from so3krates.cli.app import main


def test_a_page_about_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_runs.write_run(tmp_path / "run.h5", frames=100)
    page = tmp_path / "page.html"
    assert main(["report", str(run), "-o", str(page), "--title", "My run"]) == 0
    assert "<h1>My run</h1>" in page.read_text(encoding="utf-8")
    assert "page.html" in capsys.readouterr().out


def test_a_page_about_two_runs_and_a_training(tmp_path: Path) -> None:
    runs = [str(made_runs.write_run(tmp_path / name, frames=100)) for name in ("a.h5", "b.h5")]
    log = made_runs.write_log(tmp_path / "model.log.jsonl")
    assert main(["report", *runs, "-o", str(tmp_path / "r.html"), "--training-log", str(log)]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Report on a.h5, b.h5" in text and "<h2>Training</h2>" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["none.h5"], "none.h5"), ([], "at least one"), (["damaged.h5"], "damaged.h5")],
    ids=["missing", "nothing", "damaged"],
)
def test_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert main(["report", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line
    assert not (tmp_path / "report.html").exists()
