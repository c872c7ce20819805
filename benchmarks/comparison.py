"""Engines side by side: measured on one task after another, shown, stored."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from options import Comparing
from results import compared, comparison_table, described, document, finish
from rich.console import Console
from side_by_side import Quantity
from workers import Engine, running


class Task(NamedTuple):
    """A row of a table."""

    name: str
    asked: Mapping[str, Any]
    """Of the workers."""
    facts: Mapping[str, Any]
    """That stand in the row."""


def compare(
    benchmark: str,
    engines: Sequence[Engine],
    tasks: Iterable[Task],
    options: Comparing,
    quantity: Quantity,
    goals: Mapping[str, float],
    committed: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    whole: bool = True,
) -> None:
    """Measure, show and store.

    Args:
        benchmark: its name.
        engines: the first is the one that the others are held against.
        tasks: one after another; the next is made when the one before is measured.
        options: from the command line.
        quantity: what is measured.
        goals: how many times better than the others, by task.
        committed: the result in the repository.
        settings: of all tasks, for the result.
        whole: whether these are all tasks.
    """
    load, console = os.getloadavg()[0], Console()
    rows = {}
    with running(engines, options.threads) as workers:
        for name, asked, facts in tasks:
            console.print(f"measuring {name}", style="dim")
            rows[name] = {**facts, **compared(engines, workers, asked, options.protocol, quantity)}
        result = document(benchmark, load, options.protocol, described(engines, workers), rows)
    if settings is not None:
        result["settings"] = settings
    finish(result, comparison_table(result, engines, goals), options.target(committed, whole=whole))
