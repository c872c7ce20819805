"""`so3krates demo`: from reference data to a report page, in one command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from so3krates.demo import Demonstration


def demo(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("so3krates-demo"),
    minutes: float = 3.0,
    time_ps: float = 20.0,
    temperature_K: float = 500.0,
    seed: int = 0,
) -> None:
    """Train on the packaged ethanol data, run dynamics, write report.html and model.safetensors.

    Parameters
    ----------
    output
        Folder to write to; files of an earlier demonstration in it are replaced.
    minutes
        Minutes of training.
    time_ps
        Length of the run at constant energy, in ps.
    temperature_K
        Temperature before the run.
    seed
        Of parameters, data order and velocities.
    """
    from rich.console import Console

    from so3krates.cli._demo import DemoProgress
    from so3krates.demo import demonstrate

    console = Console()
    console.print(f"Ethanol, PBE/def2-SVP: {minutes:g} minutes of training, then {time_ps:g} ps of dynamics.")
    with DemoProgress(console) as progress:
        made = demonstrate(
            output,
            minutes=minutes,
            time_ps=time_ps,
            temperature_K=temperature_K,
            seed=seed,
            listeners=progress.listeners,
        )
    _print(made, console)


def _print(made: "Demonstration", console: object) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    summary, errors = made.run.summary, made.evaluation.statistics
    table = Table(title="what the model can do", title_justify="left", show_header=False)
    table.add_row("force MAE on the test frames", f"{1e3 * errors['forces'].mae:.1f} meV/Å")
    table.add_row("energy MAE on the test frames", f"{1e3 * errors['energy'].mae:.1f} meV")
    table.add_row("dynamics", f"{summary.time_ps:.4g} ps at {summary.temperature_K.mean:.0f} K")
    table.add_row("speed", f"{summary.ns_per_day:.3g} ns/day, {summary.steps_per_second:.4g} steps/s")
    if summary.drift is not None:
        table.add_row("energy drift", f"{summary.drift.meV_per_atom_per_ps:.2g} meV/atom/ps")
        table.add_row("drift ÷ σ(kinetic energy)", f"{summary.drift.over_kinetic_spread:.2g}")
    console.print(table)
    console.print(f"written to {made.report.parent}:", highlight=False, soft_wrap=True)
    files = Table(show_header=False)
    for path, words in (
        (made.report, "the report: open it in a browser"),
        (made.model, "the model; `so3krates info`, `so3krates md`, ASE"),
        (made.metrics, "errors and drift as numbers"),
        (made.trajectory, "the run, H5MD; `so3krates convert` makes extxyz"),
        (made.log, "the training log"),
    ):
        files.add_row(path.name, words)
    console.print(files)
