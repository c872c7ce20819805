"""What a benchmark leaves: a JSON document that names machine and versions but neither host nor folder, and a table."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from side_by_side import Protocol, Quantity, advantage, measured, summarized
from workers import Engine, Worker

BUSY = 0.3
"""Load average above which other processes falsify the figures."""


def machine(load_before: float) -> dict[str, Any]:
    """Processor, cores, system, and how busy it was before the first worker started."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average_before": round(load_before, 2),
        "quiet": load_before <= BUSY,
    }


def described(engines: Sequence[Engine], workers: Mapping[str, Worker]) -> dict[str, dict[str, Any]]:
    """Versions of each engine, or that it was left out."""
    return {
        engine.name: {"versions": workers[engine.script].versions}
        if engine.script in workers
        else {"left_out": "no interpreter given"}
        for engine in engines
    }


def compared(
    engines: Sequence[Engine],
    workers: Mapping[str, Worker],
    task: Mapping[str, Any],
    protocol: Protocol,
    quantity: Quantity,
) -> dict[str, Any]:
    """One row: every engine's figures, and the advantage of the first engine over each other."""
    facts, samples = measured(engines, workers, task, protocol)
    first = engines[0].name
    return {
        "engines": {name: {**summarized(samples[name], quantity), **facts[name]} for name in samples},
        f"{first}_is_faster_by": {
            name: advantage(samples[first], samples[name], quantity) for name in samples if name != first
        },
    }


def document(
    name: str,
    load_before: float,
    protocol: Protocol,
    engines: dict[str, dict[str, Any]],
    rows: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """The whole result of engines side by side."""
    return {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(load_before),
        "protocol": {**asdict(protocol), "precision": "float32"},
        "engines": engines,
        "rows": rows,
    }


def own_document(name: str, load_before: float, protocol: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    """The whole result of this package alone."""
    # Imported here: some scripts choose the cores first, and JAX with its threads comes along.
    from so3krates._version import __version__

    return {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(load_before),
        "protocol": protocol,
        "versions": {"so3krates": __version__, **{each: version(each) for each in ("jax", "jaxlib")}},
        "rows": rows,
    }


def figures(title: str, *columns: str) -> Table:
    """An empty table of numbers, behind a column of names."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def comparison_table(result: Mapping[str, Any], engines: Sequence[Engine], goals: Mapping[str, float]) -> Table:
    """Figures of every engine and the factors, with the goal where there is one."""
    first = engines[0].name
    names = [engine.name for engine in engines if "versions" in result["engines"][engine.name]]
    table = Table(title=result["benchmark"], show_lines=True)
    table.add_column("")
    for name in names:
        table.add_column(name.replace(", ", "\n"), justify="right", no_wrap=True)
    for row, content in result["rows"].items():
        unit = content["engines"][first]["unit"]
        cells = [_cell(content["engines"][name], content[f"{first}_is_faster_by"].get(name)) for name in names]
        goal = f"\ngoal {goals[row]:g}×" if row in goals else ""
        table.add_row(f"{row}\n[dim]{unit}{goal}[/dim]", *cells)
    return table


def finish(result: Mapping[str, Any], table: Table, target: Path | None) -> None:
    """Show the table, say whether the machine was busy, and store the document if there is a file for it."""
    console = Console()
    console.print(table)
    if not result["machine"]["quiet"]:
        load = result["machine"]["load_average_before"]
        console.print(f"The machine was busy (load average {load}): do not trust these figures.", style="bold yellow")
    if target is not None:
        write(result, target)


def write(result: Mapping[str, Any], path: Path) -> None:
    """Store the document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _cell(figures: Mapping[str, Any], factor: Mapping[str, float] | None) -> str:
    spread = f"{figures['lower_quartile']:g}–{figures['upper_quartile']:g}"
    text = f"{figures['median']:g}\n[dim]{spread}[/dim]"
    return text if factor is None else f"{text}\n[bold]{factor['median']:.2f}×[/bold]"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
