"""What a training run shows while it runs, and at its end."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

SHOWN = (
    ("energy", "meV", 1e3),
    ("forces", "meV/Å", 1e3),
    ("stress", "meV/Å³", 1e3),
    ("dipole", "me·Å", 1e3),
    ("hirshfeld_ratios", "‰", 1e3),
)
"""Quantities, the units they are shown in, and the factors to these."""


class TrainingProgress:
    """A progress bar over the budget, and below it the latest training and validation errors."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=1.0)
        self._train, self._valid = "", ""
        self._errors = Text("compiling …", no_wrap=True)
        self._live = Live(Group(self._bar, self._errors), console=self.console, refresh_per_second=4)
        self._plain = not self.console.is_terminal
        """Lines instead of a bar."""

    def __enter__(self) -> Self:
        if not self._plain:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._plain:
            self._live.stop()

    def tell(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self.console.print(sentence, highlight=False)

    def listen(self, record: Any) -> None:
        """Show a record of the log."""
        match record["event"]:
            case "progress":
                self._train = f"step {record['step']}  train{_errors(record)}"
                self._bar.update(self._task, completed=min(record["share"], 1.0))
            case "validation":
                self._valid = f"valid{_errors(record)}"
        self._errors.plain = "  ".join(filter(None, (self._train, self._valid)))
        if self._plain and record["event"] == "validation":
            self.console.print(f"{record['minutes']:.1f} min  {self._errors.plain}", highlight=False, soft_wrap=True)

    def report(self, result: Any, output: Path) -> None:
        """The validation errors of the model that was kept, and where the files are."""
        table = Table(title=f"validation errors of {output}", title_justify="left")
        table.add_column("quantity")
        table.add_column("MAE", justify="right")
        table.add_column("RMSE", justify="right")
        metrics = result.metrics.finite()
        for name, unit, factor in SHOWN:
            if f"{name}_mae" in metrics:
                values = [f"{factor * metrics[f'{name}_{kind}']:.2f} {unit}" for kind in ("mae", "rmse")]
                table.add_row(name.replace("_", " "), *values)
        self.console.print(table)
        self.console.print(f"ended by: {result.reason}; log: {result.log}", highlight=False)


def _errors(record: Any) -> str:
    """Mean absolute errors: of the parameters as they are for training batches, of their average for validation."""
    known = (("F", "forces_mae", "meV/Å"), ("E", "energy_mae", "meV"))
    return "".join(f"  {name} {1000 * record[key]:.1f} {unit}" for name, key, unit in known if key in record)
