"""What `evaluate` leaves: tables on the console, metrics.json, parity plots and a page in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from so3krates._errors import FileError
from so3krates.analysis.evaluate import Evaluation
from so3krates.io.atomic import write_atomically
from so3krates.viz.model_sections import error_tables, parity_plots
from so3krates.viz.page import Table
from so3krates.viz.report import write_report


def write_evaluation(evaluation: Evaluation, folder: Path, *, model: str, data: str) -> list[Path]:
    """Write metrics.json, report.html, and a parity plot per quantity as PNG and SVG.

    Args:
        evaluation: the result.
        folder: made if missing; files of an earlier evaluation are replaced.
        model: its name, for the files.
        data: likewise.

    Returns:
        The files written.

    Raises:
        FileError: if something cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"folder '{folder}' cannot be made: {error.strerror or error}.") from error
    metrics: dict[str, Any] = {"model": model, "data": data, **evaluation.as_dict()}
    written = [folder / "metrics.json", folder / "report.html"]
    write_atomically(written[0], (json.dumps(metrics, indent=2) + "\n").encode())
    for name, picture in parity_plots(evaluation).items():
        for extension in (".png", ".svg"):
            written.append(folder / f"parity_{name}{extension}")
            picture.save(written[-1])
    write_report(
        written[1],
        title=f"{Path(model).name} against {Path(data).name}",
        lead=f"{len(evaluation):,} labelled frames.",
        evaluation=evaluation,
    )
    return written


def print_evaluation(evaluation: Evaluation, *, title: str, written: Sequence[Path]) -> None:
    """The tables of errors on the console."""
    from rich.console import Console

    console = Console()
    console.print(title, style="bold", highlight=False)
    for table in error_tables(evaluation):
        console.print(_rich(table))
    notes = [] if evaluation.energy_note is None else [evaluation.energy_note]
    for remark in (*notes, *evaluation.remarks):
        console.print(remark, highlight=False, soft_wrap=True)
    console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)


def _rich(table: Table) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    # Few lines between the columns: the table is to fit into 80 of them.
    shown = RichTable(title=table.caption, title_justify="left", title_style="", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(table.header):
        # Numbers stay in one piece; what they leave of the width is for names and units.
        if index in table.numeric:
            shown.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
        else:
            shown.add_column(name, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown
