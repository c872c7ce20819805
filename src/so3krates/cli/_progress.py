"""What a training run shows while it runs, and at its end."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


class TrainingProgress:
    """A progress bar over the budget with the latest training and validation errors."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=1.0, text="compiling …")
        self._train, self._valid = "", ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tell(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self.console.print(sentence, highlight=False)

    def listen(self, record: Any) -> None:
        """Show a record of the log."""
        match record["event"]:
            case "progress":
                self._train = f"step {record['step']}  train F {1000 * record.get('forces_rms', 0.0):.1f}"
                self._bar.update(self._task, completed=min(record["share"], 1.0))
            case "validation":
                self._valid = f"valid F {1000 * record.get('forces_mae', 0.0):.1f} meV/Å"
                if "energy_mae" in record:
                    self._valid += f"  E {1000 * record['energy_mae']:.1f} meV"
        self._bar.update(self._task, text=f"{self._train}  {self._valid}")

    def report(self, result: Any, output: Path) -> None:
        """The validation errors of the model that was kept, and where the files are."""
        table = Table(title=f"validation errors of {output}", title_justify="left")
        table.add_column("quantity")
        table.add_column("MAE", justify="right")
        table.add_column("RMSE", justify="right")
        metrics = result.metrics.finite()
        for name, unit, factor in (("energy", "meV", 1e3), ("forces", "meV/Å", 1e3), ("stress", "meV/Å³", 1e3)):
            if f"{name}_mae" in metrics:
                values = [f"{factor * metrics[f'{name}_{kind}']:.2f} {unit}" for kind in ("mae", "rmse")]
                table.add_row(name, *values)
        self.console.print(table)
        self.console.print(f"ended by: {result.reason}; log: {result.log}", highlight=False)
