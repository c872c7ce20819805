"""The report page: complete, self-contained, and honest about what it is given."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import made_runs
import pytest

from so3krates._errors import FileError, InputError
from so3krates.data.sample import Sample
from so3krates.io.trajectory import Trajectory
from so3krates.viz.model_sections import error_tables, parity_plots, read_training_log
from so3krates.viz.report import write_report
from so3krates.viz.run_sections import read_run, run_cards, run_sections


class _Outline(HTMLParser):
    """Headings, tags opened and closed, and every attribute that can name another file."""

    VOID = frozenset({"meta", "input", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it."""
    folder = tmp_path_factory.mktemp("report")
    write_report(
        folder / "report.html",
        title="Ethanol <test> & more",
        lead="Made for a test.",
        runs=[made_runs.write_run(folder / "run.h5")],
        reference=made_runs.reference_data(),
        training_log=made_runs.write_log(folder / "model.log.jsonl"),
        evaluation=made_runs.evaluation(),
    )
    return folder / "report.html"


def test_sections(whole: Path) -> None:
    outline = _Outline(whole.read_text(encoding="utf-8"))
    assert outline.open == []
    assert outline.headings == ["Training", "Accuracy", "Energy conservation", "Bonds", "Vibrations", "Structure"]


def test_nothing_is_loaded(whole: Path) -> None:
    text = whole.read_text(encoding="utf-8")
    assert re.findall(r"\b(?:https?|ftp|file|wss?):", text) == []
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?//", text) == []
    assert [link for link in _Outline(text).links if not link.startswith(("#", "data:image/png;base64,"))] == []
    assert "@import" not in text and "<link" not in text
    assert "default-src 'none'" in text


def test_size_is_fit_for_mail(whole: Path) -> None:
    assert whole.stat().st_size < 1_500_000


def test_texts_are_escaped(whole: Path) -> None:
    text = whole.read_text(encoding="utf-8")
    assert "<h1>Ethanol &lt;test&gt; &amp; more</h1>" in text


def test_viewer_has_its_frames(whole: Path) -> None:
    (found,) = re.findall(
        r'<script type="application/json">(.*?)</script>', whole.read_text(encoding="utf-8"), re.DOTALL
    )
    data = json.loads(found)
    assert data["frames"] == 400
    assert data["start_fs"] == pytest.approx(2600 * 2.0)
    assert len(data["symbols"]) == 9


def test_cards_tell_a_good_run(tmp_path: Path) -> None:
    run = read_run(Trajectory(made_runs.write_run(tmp_path / "run.h5", frames=5001)), made_runs.reference_data())
    stable, drift = run_cards(run)
    assert (stable.value, stable.unit, stable.good) == ("10", "of 10 ps", True)
    assert "its mean over 400 reference frames throughout" in stable.remark
    assert drift.good is True
    assert run.drift is not None and run.drift.meV_per_atom_per_ps == pytest.approx(2e-3 / 9, rel=0.05)


def test_cards_tell_a_bad_run(tmp_path: Path) -> None:
    path = made_runs.write_run(tmp_path / "run.h5", slope_eV_per_ps=1.0, broken_from=1500)
    stable, drift = run_cards(read_run(Trajectory(path), made_runs.reference_data()))
    assert (stable.value, stable.good) == ("3", False)
    assert drift.good is False


def test_cards_of_a_short_run_give_no_verdict(tmp_path: Path) -> None:
    stable, drift = run_cards(read_run(Trajectory(made_runs.write_run(tmp_path / "run.h5", frames=5000)), None))
    assert (stable.good, drift.good) == (None, None)
    assert "its length in the first frame throughout; too short to tell" in stable.remark
    assert drift.remark.startswith("too short to tell") and "drowns" not in drift.remark


def test_captions_follow_the_run(tmp_path: Path) -> None:
    runs = {frames: made_runs.write_run(tmp_path / f"{frames}.h5", frames=frames) for frames in (999, 1500)}
    shown = {frames: run_sections(read_run(Trajectory(path), None)) for frames, path in runs.items()}
    captions = {frames: sections[0].figures[0].figures[0].caption for frames, sections in shown.items()}
    assert "blocks of 3 frames" in captions[1500] and "block" not in captions[999]
    bonds, vibrations = (section.figures[0].figures[0].caption for section in shown[1500][1:3])
    assert "such as O–H" in bonds and "two horns" in bonds
    assert "Torsions lie below about 300 cm⁻¹" in vibrations


def test_time_of_the_frames_shown(tmp_path: Path) -> None:
    """The time between 51 frames 2 fs apart is 100 fs."""
    run = read_run(Trajectory(made_runs.write_run(tmp_path / "run.h5", frames=51)), None)
    assert "the last 0.1 ps of the run" in run_sections(run)[-1].text


def test_rounding_noise_is_shown_as_zero() -> None:
    whole = made_runs.evaluation()
    balanced = whole.forces_predicted - (whole.forces_predicted - whole.forces_reference).mean() + 1e-9
    rows = {row[0]: row for row in error_tables(replace(whole, forces_predicted=balanced))[0].rows}
    assert rows["forces"][4] == "0"
    assert rows["energy"][4] != "0"


def test_a_run_alone_and_a_crystal(tmp_path: Path) -> None:
    path = made_runs.write_run(tmp_path / "run.h5", made_runs.crystal(), frames=200, kind="Langevin")
    write_report(tmp_path / "report.html", title="Silicon", runs=[path])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert _Outline(text).headings == ["Energy conservation", "Bonds", "Vibrations", "Structure"]
    assert "conserved quantity" in text and "Si₈" in text


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    runs = [made_runs.write_run(tmp_path / name, frames=100) for name in ("a.h5", "b.h5")]
    write_report(tmp_path / "report.html", title="Two", runs=runs)
    headings = _Outline((tmp_path / "report.html").read_text(encoding="utf-8")).headings
    assert headings[:1] + headings[4:5] == ["Energy conservation: a.h5", "Energy conservation: b.h5"]


def test_a_short_run_says_why_it_has_no_spectrum(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="Short", runs=[made_runs.write_run(tmp_path / "run.h5", frames=10)])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No power spectrum: it takes at least 64 frames, and this run holds 10." in text
    assert "autocorrelation" not in text


def test_slow_frames_say_so(tmp_path: Path) -> None:
    source = Trajectory(made_runs.write_run(tmp_path / "run.h5", frames=400))
    frames = source.read(every=5)
    from so3krates.io.trajectory import append_frames, create_trajectory

    create_trajectory(tmp_path / "slow.h5", source.system, source.settings, forces=False, dtype="float32")
    append_frames(tmp_path / "slow.h5", frames)
    write_report(tmp_path / "r.html", title="Slow", runs=[tmp_path / "slow.h5"])
    assert "above 1668 cm⁻¹ are too fast" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_mixed_compositions_are_compared_per_atom() -> None:
    upper, _ = parity_plots(made_runs.evaluation(mixed=True))["energy"].figure.axes
    assert upper.get_ylabel() == "predicted energy per atom (eV)"


def test_other_molecule_as_reference(tmp_path: Path) -> None:
    path = made_runs.write_run(tmp_path / "run.h5", frames=10)
    with pytest.raises(InputError, match="no frame with the atoms of .*run.h5 \\(C2H6O"):
        read_run(Trajectory(path), [Sample(made_runs.crystal(), energy=0.0)])


def test_too_short_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 2 frames"):
        read_run(Trajectory(made_runs.write_run(tmp_path / "run.h5", frames=2)), None)


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        write_report(tmp_path / "r.html", title="Nothing")


def test_training_log_cut_off_by_an_interrupt(tmp_path: Path) -> None:
    log = made_runs.write_log(tmp_path / "a.log.jsonl", validations=3)
    whole = len(read_training_log(log))
    log.write_text(log.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    assert len(read_training_log(log)) == whole - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("{}\n[]\n", "not a training log"), ("step 1\nstep 2\n", "line 1: not JSON"), (None, "cannot be read")],
    ids=["other JSON", "text", "missing"],
)
def test_something_else_than_a_training_log(text: str | None, words: str, tmp_path: Path) -> None:
    log = tmp_path / "a.log.jsonl"
    if text is not None:
        log.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=words):
        read_training_log(log)


def test_a_log_without_validation(tmp_path: Path) -> None:
    (tmp_path / "a.log.jsonl").write_text('{"event": "start"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="no validation"):
        write_report(tmp_path / "r.html", title="Early", training_log=tmp_path / "a.log.jsonl")


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page with")
def test_the_page_runs_in_a_browser(whole: Path, tmp_path: Path) -> None:
    """Scripts run under the page's own policy, and the canvas is painted."""
    page = tmp_path / "page.html"
    probe = (
        "<script>addEventListener('load', () => setTimeout(() => {"
        "const c = document.querySelector('.viewer canvas');"
        "const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let painted = 0; for (let n = 3; n < p.length; n += 4) painted += p[n] > 0;"
        "document.body.dataset.painted = painted;}, 300))</script></body>"
    )
    page.write_text(whole.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    assert BROWSER is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=1000,900"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [BROWSER, *flags, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'data-ready="true"' in done.stdout
    painted = re.findall(r'data-painted="(\d+)"', done.stdout)
    assert painted and int(painted[0]) > 5000
