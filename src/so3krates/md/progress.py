"""Progress of a run: what is reported after each chunk, and a bar for terminals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import perf_counter
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from so3krates.md.findings import Event

SECONDS_PER_LINE = 30.0
"""Between two lines of progress where the output is no terminal."""
CAUTION = 0.5
"""Share of the time left that a chunk may be expected to take: the machine may slow down, and another one follows."""
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
    pressure_GPa: float | None = None
    """Where the structure is periodic along all axes."""
    volume_A3: float | None = None
    """Å³, where the cell moves."""
    thermalising: bool = False
    """Before the run itself; nothing is recorded yet."""
    remark: str | None = None
    """What happened during the chunk that people should know."""

    @property
    def seconds_left(self) -> float | None:
        """At this speed; None before it is known."""
        return (self.steps - self.step) / self.steps_per_second if self.steps_per_second else None


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
        self._rate = 0.0
        self._steps, self._time = 0, 0.0
        self._begin = self._mark = perf_counter()

    def start(self) -> None:
        """The clock of the whole run."""
        self._begin = perf_counter()

    def next(self, remaining: int, room: float) -> int:
        """Steps of the next chunk, which may take `room` seconds; 0 if there is no time for one."""
        self._mark = perf_counter()
        steps = min(self._next, remaining)
        if room == inf:
            return steps
        # Chunks of equal length differ; a first step tells how long they are at all.
        affordable = CAUTION * room * self._rate if self._rate else float(room > 0)
        return max(0, min(steps, int(affordable)))

    def computed(self, steps: int) -> None:
        """A chunk of so many steps is computed."""
        now = perf_counter()
        self._rate = steps / max(now - self._mark, 1e-9)
        self._next = max(1, min(int(self._seconds * self._rate), 8 * self._next, self._most))
        self._steps, self._time = self._steps + steps, now - self._begin

    @property
    def steps_per_second(self) -> float:
        """Of all chunks; 0 before the first is computed."""
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
            if report.remark is not None:
                console.print(report.remark, highlight=False, soft_wrap=True)
            left = "" if report.seconds_left is None else f"  {duration(report.seconds_left)} left"
            lines.say(f"{_phase(report)}step {report.step} of {report.steps}  {_line(report)}{left}")

        yield say
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[line]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("MD", total=None, line="compiling", left="")

        def show(report: Report) -> None:
            _tell_events(bar.console, report)
            if report.remark is not None:
                bar.console.print(report.remark, highlight=False, soft_wrap=True)
            bar.update(
                task,
                description=_phase(report).strip() or "MD",
                total=report.steps,
                completed=report.step,
                line=_line(report),
                left="" if report.seconds_left is None else duration(report.seconds_left),
            )

        yield show


def _phase(report: Report) -> str:
    return "thermalising " if report.thermalising else ""


def duration(seconds: float) -> str:
    """H:MM:SS, with days before it."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}" if days else f"{hour}:{minute:02d}:{second:02d}"


def _tell_events(console: Console, report: Report) -> None:
    lines = [f"at {event.time_fs * 1e-3:.3f} ps {event.sentence}" for event in report.events[:EVENTS_TOLD]]
    if len(report.events) > EVENTS_TOLD:
        lines.append(f"and {len(report.events) - EVENTS_TOLD} more events")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _line(report: Report) -> str:
    parts = [
        f"{report.ns_per_day:.3g} ns/day  {report.steps_per_second:.4g} steps/s",
        f"{report.temperature_K:.0f} K  E {report.total_energy_eV:.4f} eV",
    ]
    if report.pressure_GPa is not None:
        parts.append(f"P {report.pressure_GPa:.3f} GPa")
    if report.volume_A3 is not None:
        parts.append(f"V {report.volume_A3:.1f} Å³")
    return "  ".join(parts)
