"""Progress of a run on a terminal, or as lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import perf_counter

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from so3krates.md.engine.telling import Report

SECONDS_PER_LINE = 30.0
"""Between two lines of progress where the output is no terminal."""
MEASURED_SECONDS = 3.0
"""Of computing before the first line: the chunks that a run begins with are too short to tell its speed."""
BAR_WIDTH = 20
"""With it everything beside the bar fits 80 columns."""
EVENTS_TOLD = 5
"""Of each report at most; all of them are in `Run.events`."""


class Lines:
    """Progress as lines, at most one every half minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = -inf

    def hold(self, seconds: float) -> None:
        """Say nothing for so long."""
        self._next = max(self._next, perf_counter() + seconds)

    def say(self, sentence: str) -> None:
        if (now := perf_counter()) >= self._next:
            self._next = now + SECONDS_PER_LINE
            self._console.print(sentence, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Callable[[Report], None]]:
    """A bar with the time left, and below it ns/day, steps/s, temperature and energy; yields what
    `simulate(report=…)` takes.

    Where the output is no terminal, a line every half minute instead. Both begin by saying that it compiles.
    """
    console = console or Console()
    if not console.is_terminal:
        lines, thermalising = Lines(console), None
        console.print("compiling", highlight=False)

        def say(report: Report) -> None:
            nonlocal thermalising
            _tell(console, report)
            if report.thermalising != thermalising:
                # The run behind the thermalisation begins with short chunks as well.
                thermalising = report.thermalising
                lines.hold(MEASURED_SECONDS)
            left = "" if report.seconds_left is None else f"  {duration(report.seconds_left)} left"
            where = f"{_phase(report)}step {report.step} of {report.steps}"
            lines.say(f"{where}  {_speed(report)}  {_state(report)}{left}")

        yield say
        return
    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
    )
    task = bar.add_task("MD", total=None, left="")
    below = Text("compiling")
    with Live(Group(bar, below), console=console, refresh_per_second=4):

        def show(report: Report) -> None:
            _tell(console, report)
            bar.update(
                task,
                description=_phase(report).strip() or "MD",
                total=report.steps,
                completed=report.step,
                left="" if report.seconds_left is None else f"{duration(report.seconds_left)} left",
            )
            below.plain = f"{_speed(report)}\n{_state(report)}"

        yield show


def _tell(console: Console, report: Report) -> None:
    lines = [*report.remarks]
    lines += [f"at {event.time_fs * 1e-3:.3f} ps {event.sentence}" for event in report.events[:EVENTS_TOLD]]
    if len(report.events) > EVENTS_TOLD:
        lines.append(f"and {len(report.events) - EVENTS_TOLD} more events")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _phase(report: Report) -> str:
    return "thermalising " if report.thermalising else ""


def duration(seconds: float) -> str:
    """H:MM:SS, with days before it."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}" if days else f"{hour}:{minute:02d}:{second:02d}"


def _speed(report: Report) -> str:
    speed = f"{report.ns_per_day:.3g} ns/day  {report.steps_per_second:.4g} steps/s"
    return speed if report.replicas == 1 else f"{report.running} of {report.replicas} replicas  in all {speed}"


def _state(report: Report) -> str:
    parts = [f"{report.temperature_K:.0f} K", f"total energy {report.total_energy_eV:.4f} eV"]
    if report.pressure_GPa is not None:
        parts.append(f"P {report.pressure_GPa:.3f} GPa")
    if report.volume_A3 is not None:
        parts.append(f"V {report.volume_A3:.1f} Å³")
    return "  ".join(parts)
