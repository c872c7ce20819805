"""What a terminal of 80 columns shows of a training run."""

import re
from io import StringIO

import pytest
from rich.console import Console

from so3krates.cli._progress import TrainingProgress
from so3krates.md import progress as md_progress
from so3krates.md.engine.telling import Report


def test_errors_fit_below_the_bar_in_eighty_columns() -> None:
    screen = StringIO()
    with TrainingProgress(Console(file=screen, width=80, force_terminal=True)) as progress:
        progress.listen({"event": "progress", "step": 123456, "share": 0.5, "forces_mae": 0.1234, "energy_mae": 0.0987})
        progress.listen({"event": "validation", "forces_mae": 0.0456, "energy_mae": 0.0123})
    shown = screen.getvalue()
    assert "step 123456  train  F 123.4 meV/Å  E 98.7 meV  valid  F 45.6 meV/Å  E 12.3 meV" in shown
    assert "50%" in shown
    assert "…" not in shown.replace("compiling …", "")


def test_lines_instead_of_a_bar_where_the_output_is_no_terminal() -> None:
    written = StringIO()
    with TrainingProgress(Console(file=written, width=80, force_terminal=False)) as progress:
        progress.listen({"event": "progress", "step": 7, "share": 0.5, "forces_mae": 0.1234, "energy_mae": 0.0987})
        progress.listen({"event": "validation", "minutes": 1.5, "forces_mae": 0.0456, "energy_mae": 0.0123})
    lines = written.getvalue().splitlines()
    assert lines == ["1.5 min  step 7  train  F 123.4 meV/Å  E 98.7 meV  valid  F 45.6 meV/Å  E 12.3 meV"]


def test_dynamics_say_where_they_are_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line comes once the speed is known: not behind the first steps, nor behind those after thermalising."""
    clock = iter([0.0, 0.0, 1.0, 4.0, 30.0, 34.5, 34.5, 35.0, 38.0])
    monkeypatch.setattr(md_progress, "perf_counter", lambda: next(clock))
    written = StringIO()
    with md_progress.progress_bar(Console(file=written, width=80, force_terminal=False)) as show:
        for step in (1, 2, 3, 4):
            show(Report(step, 5, 300.0, -1.0, 10.0, 0.4, thermalising=True))
        for step in (1, 2, 3):
            show(Report(step, 5, 300.0, -1.0, 10.0, 0.4))
    lines = [line.split("  ")[0] for line in written.getvalue().splitlines()]
    assert lines == ["compiling", "thermalising step 3 of 5", "step 3 of 5"]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_happens_in_a_run_is_said_with_time_left_and_pressure(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(md_progress, "MEASURED_SECONDS", 0.0)
    written = StringIO()
    report = Report(
        step=100, steps=400_100, temperature_K=300.0, total_energy_eV=-1.0, steps_per_second=4.0, ns_per_day=0.2
    )
    with md_progress.progress_bar(Console(file=written, width=200, force_terminal=terminal)) as show:
        show(
            report._replace(
                pressure_GPa=0.1234, volume_A3=1000.04, remarks=("neighbour list enlarged",), thermalising=True
            )
        )
    said = written.getvalue()
    for words in ("neighbour list enlarged", "thermalising", "1-03:46:40", "P 0.123 GPa", "V 1000.0 Å³", "4 steps/s"):
        assert words in said
    assert "total energy -1.0000 eV" in said
    assert report._replace(steps_per_second=0.0).seconds_left is None


def test_speeds_of_replicas_are_those_of_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(md_progress, "MEASURED_SECONDS", 0.0)
    written = StringIO()
    with md_progress.progress_bar(Console(file=written, width=80, force_terminal=False)) as show:
        show(Report(1, 5, 300.0, -1.0, 10.0, 0.4, replicas=3, running=2))
    assert "2 of 3 replicas  in all 0.4 ns/day  10 steps/s" in written.getvalue()


def test_dynamics_fit_eighty_columns() -> None:
    screen = StringIO()
    report = Report(
        step=123_456_789,
        steps=1_000_000_000,
        temperature_K=1234.0,
        total_energy_eV=-123456.7891,
        steps_per_second=1777.0,
        ns_per_day=76.7,
        pressure_GPa=-0.1234,
        volume_A3=123456.78,
        replicas=16,
        running=15,
        thermalising=True,
    )
    with md_progress.progress_bar(Console(file=screen, width=80, force_terminal=True, color_system=None)) as show:
        show(report)
    lines = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line).rstrip() for line in screen.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    assert any("123456789/1000000000" in line and line.endswith("left") for line in lines)
    assert "15 of 16 replicas  in all 76.7 ns/day  1777 steps/s" in lines
    assert "1234 K  total energy -123456.7891 eV  P -0.123 GPa  V 123456.8 Å³" in lines
