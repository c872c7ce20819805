"""Progress of a run on a terminal, or as lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from so3krates.md.engine.telling import Report

SECONDS_PER_LINE = 30.0
"""Between two lines of progress where the output is no terminal."""
EVENTS_TOLD = 5
"""Of each report at most; all of them are in `Run.events`."""


class Lines:
    """Progress as lines, at most one every half minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -SECONDS_PER_LINE

    def say(self, sentence: str) -> None:
        if (now := perf_counter()) - self._last >= SECONDS_PER_LINE:
            self._last = now
            self._console.print(sentence, highlight=False, soft_wrap=True)


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
            _tell(console, report)
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
            _tell(bar.console, report)
            bar.update(
                task,
                description=_phase(report).strip() or "MD",
                total=report.steps,
                completed=report.step,
                line=_line(report),
                left="" if report.seconds_left is None else duration(report.seconds_left),
            )

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


def _line(report: Report) -> str:
    parts = [
        f"{report.ns_per_day:.3g} ns/day  {report.steps_per_second:.4g} steps/s",
        f"{report.temperature_K:.0f} K  E {report.total_energy_eV:.4f} eV",
    ]
    if report.replicas > 1:
        parts.insert(0, f"{report.running} of {report.replicas} replicas")
    if report.pressure_GPa is not None:
        parts.append(f"P {report.pressure_GPa:.3f} GPa")
    if report.volume_A3 is not None:
        parts.append(f"V {report.volume_A3:.1f} Å³")
    return "  ".join(parts)
