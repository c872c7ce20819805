"""What a terminal of 80 columns shows of a training run."""

from io import StringIO

from rich.console import Console

from so3krates.cli._progress import TrainingProgress


def test_errors_fit_below_the_bar_in_eighty_columns() -> None:
    screen = StringIO()
    with TrainingProgress(Console(file=screen, width=80, force_terminal=True)) as progress:
        progress.listen({"event": "progress", "step": 123456, "share": 0.5, "forces_mae": 0.1234, "energy_mae": 0.0987})
        progress.listen({"event": "validation", "forces_mae": 0.0456, "energy_mae": 0.0123})
    shown = screen.getvalue()
    assert "step 123456  train  F 123.4 meV/Å  E 98.7 meV  valid  F 45.6 meV/Å  E 12.3 meV" in shown
    assert "50%" in shown
    assert "…" not in shown.replace("compiling …", "")
