"""so3krates check: the doctor for data sets."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from so3krates._errors import FileError
from so3krates.cli._reading import Reading


def check(
    *files: Path,
    max_frames: Annotated[int | None, Parameter(name="--max-frames")] = None,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
    model: Annotated[str | None, Parameter(name="--model")] = None,
    reading: Reading | None = None,
) -> None:
    """Examine reference data: labels, units, forces against energies, duplicates, leaks. Exit status 1 on errors.

    Args:
        files: data files, FILE@NAME for a named subset, FILE@START:STOP for a slice. Several files count as splits
            that must not share frames.
        max_frames: look at this many frames at most (20,000 if not given).
        json: also write all findings to this file, which ends in .json.
        model: model file that shall be fine-tuned on these data: do the energies have its zero?
    """
    from so3krates._errors import InputError
    from so3krates.cli._outputs import check_output
    from so3krates.data.doctor import MAX_FRAMES, examine
    from so3krates.io.loading import load

    if not files:
        raise InputError("no file given; usage: so3krates check FILE [FILE ...].")
    if json is not None:
        check_output(json, "findings", (".json",), files)
    twice = [str(file) for n, file in enumerate(files) if file in files[:n]]
    if twice:
        raise InputError(f"'{twice[0]}' is named twice; each file or subset counts as a split of its own.")
    reading = reading or Reading()
    datasets = {str(file): reading.open(file) for file in files}
    alone = next(iter(datasets.values())) if len(datasets) == 1 else None
    potential = None if model is None else load(model)
    data = alone if alone is not None else datasets
    report = examine(data, max_frames=max_frames or MAX_FRAMES, potential=potential)
    console = Console()
    for key, value in report.summary.items():
        console.print(f"{key}: {value}", markup=False, highlight=False)
    console.print(report.table())
    if json is not None:
        _write(json, report.to_json())
    if report.failed:
        raise SystemExit(1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error}).") from error
