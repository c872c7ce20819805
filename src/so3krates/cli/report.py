"""`so3krates report`: a page about runs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def report(
    *runs: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    data: str | None = None,
    training_log: Path | None = None,
    title: str | None = None,
) -> None:
    """Write a page about runs that opens in any browser, without a network.

    Parameters
    ----------
    runs
        Trajectories (.h5) written by `so3krates md`.
    output
        HTML file; an older one is replaced.
    data
        Reference data with the same molecule, FILE or FILE@SPLIT, to hold bond lengths against.
    training_log
        MODEL.log.jsonl written by `so3krates train`, for the learning curve.
    title
        Of the page.
    """
    from so3krates._errors import InputError
    from so3krates.cli._outputs import check_output
    from so3krates.data.readers import read_dataset
    from so3krates.viz.report import write_report

    if not runs and training_log is None:
        raise InputError("nothing to report on; give at least one trajectory, or --training-log.")
    check_output(output, "a report", (".html",), [*runs, data, training_log])
    names = ", ".join(run.name for run in runs) or (training_log.name if training_log else "")
    write_report(
        output,
        title=title or f"Report on {names}",
        runs=runs,
        reference=None if data is None else read_dataset(data),
        training_log=training_log,
    )
    print(f"{output}: open it in a browser")
