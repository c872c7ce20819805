"""Progress of a run: what is reported after each chunk, and a bar for terminals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from so3krates.md.findings import Event

SECONDS_PER_LINE = 30.0
"""Between two lines of progress where the output is no terminal."""
EVENTS_TOLD = 5
"""Of each report at most; all of them are in `Run.events`."""


class Report(NamedTuple):
    """Where a run is."""

    step: int
    steps: int
    temperature_K: float
    total_energy_eV: float
    """With the reference energies of the elements."""
    steps_per_second: float
    ns_per_day: float
    events: tuple[Event, ...] = ()
    """What the monitor noticed since the last report."""


class Lines:
    """Progress as lines, at most one every half minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -SECONDS_PER_LINE

    def say(self, sentence: str) -> None:
        if (now := perf_counter()) - self._last >= SECONDS_PER_LINE:
            self._last = now
            self._console.print(sentence, highlight=False, soft_wrap=True)


class Pace:
    """Chooses how many steps the next chunk makes, and measures speed."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._next = max(1, min(16, most))
        self._steps, self._time = 0, 0.0
        self._mark = perf_counter()

    def next(self, remaining: int) -> int:
        """Steps of the next chunk; starts the clock."""
        self._mark = perf_counter()
        return min(self._next, remaining)

    def computed(self, steps: int) -> None:
        """A chunk of so many steps is computed. What is written afterwards costs the same however long it was."""
        elapsed = max(perf_counter() - self._mark, 1e-9)
        self._next = max(1, min(int(self._seconds * steps / elapsed), 8 * self._next, self._most))

    def written(self, steps: int) -> None:
        """It is written too."""
        elapsed = max(perf_counter() - self._mark, 1e-9)
        self._steps, self._time = self._steps + steps, self._time + elapsed

    @property
    def steps_per_second(self) -> float:
        """Of all chunks; 0 before the first is written."""
        return self._steps / self._time if self._steps else 0.0


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Callable[[Report], None]]:
    """A bar with ns/day, steps/s, time left, temperature and energy; yields what `simulate(report=…)` takes.

    Where the output is no terminal, a line every half minute instead. Both begin by saying that it compiles.
    """
    console = console or Console()
    if not console.is_terminal:
        lines = Lines(console)
        console.print("compiling", highlight=False)

        def say(report: Report) -> None:
            _tell_events(console, report)
            lines.say(f"step {report.step} of {report.steps}  {_line(report)}")

        yield say
        return
    columns = (
        TextColumn("[bold]MD"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[line]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("MD", total=None, line="compiling")

        def show(report: Report) -> None:
            _tell_events(bar.console, report)
            bar.update(task, total=report.steps, completed=report.step, line=_line(report))

        yield show


def _tell_events(console: Console, report: Report) -> None:
    lines = [f"at {event.time_fs * 1e-3:.3f} ps {event.sentence}" for event in report.events[:EVENTS_TOLD]]
    if len(report.events) > EVENTS_TOLD:
        lines.append(f"and {len(report.events) - EVENTS_TOLD} more events")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _line(report: Report) -> str:
    return (
        f"{report.ns_per_day:.3g} ns/day  {report.steps_per_second:.4g} steps/s  "
        f"{report.temperature_K:.0f} K  E {report.total_energy_eV:.4f} eV"
    )
