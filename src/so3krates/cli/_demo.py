"""The progress bars of `so3krates demo`: one for each stage, in one display."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from so3krates.demo import Listeners
from so3krates.md.engine.telling import Report
from so3krates.md.progress import Lines


class DemoProgress:
    """Bars for training, evaluation and dynamics."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plain = not console.is_terminal
        """Lines instead of bars."""
        self._lines = Lines(console)
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
        )
        self._training, self._evaluation, self._dynamics = (
            self._bars.add_task(name, total=1.0, start=name == "training", text=text)
            for name, text in (("training", "compiling …"), ("evaluating", ""), ("dynamics", ""))
        )
        self.listeners = Listeners(self._tell, self._trained, self._evaluated, self._moved)

    def __enter__(self) -> Self:
        if not self._plain:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._plain:
            self._bars.stop()

    def _tell(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False)

    def _trained(self, record: Mapping[str, Any]) -> None:
        match record["event"]:
            case "progress":
                self._bars.update(self._training, completed=min(record["share"], 1.0))
            case "validation":
                text = f"step {record['step']:,}, validation: forces {1e3 * record['forces_mae']:.1f} meV/Å"
                text += f", energy {1e3 * record['energy_mae']:.1f} meV"
                self._bars.update(self._training, text=text)
                self._say(f"training: {text}")
            case "end":
                self._bars.update(self._training, completed=1.0)
                self._bars.stop_task(self._training)
                self._bars.start_task(self._evaluation)

    def _evaluated(self, done: int, total: int) -> None:
        self._bars.update(self._evaluation, completed=done / total, text=f"{done} of {total} test frames")
        if done == total:
            self._bars.stop_task(self._evaluation)
            self._bars.start_task(self._dynamics)
            self._bars.update(self._dynamics, text="thermalising …")

    def _moved(self, report: Report) -> None:
        text = f"{report.ns_per_day:.3g} ns/day, {report.temperature_K:.0f} K, E {report.total_energy_eV:.4f} eV"
        self._bars.update(self._dynamics, completed=report.step / report.steps, text=text)
        self._say(f"dynamics: step {report.step} of {report.steps}, {text}")

    def _say(self, sentence: str) -> None:
        """A line now and then where there are no bars."""
        if self._plain:
            self._lines.say(sentence)
