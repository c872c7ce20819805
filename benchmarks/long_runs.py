"""Long runs: whether trajectories stay whole, at the right temperature, without drift, and at the right density.

    so3krates pull so3lr
    python benchmarks/long_runs.py so3lr.safetensors AT-AT Ala15 "64 waters" --folder runs
    python benchmarks/long_runs.py ethanol.safetensors ethanol --folder runs

Peptide and base pairs in vacuum at 300 K (Langevin, 1/ps), 64 waters at 300 K and 1 bar (stochastic cell rescaling),
ethanol at 500 K. Interrupted runs go on where they were; a result is stored when its run is complete.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import ase.io
import cyclopts
from results import machine, write
from rich.console import Console
from structures import shared

import so3krates
from so3krates import md
from so3krates.demo import ETHANOL
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.averages import block_average
from so3krates.md.records.run_file import read_summary
from so3krates.md.records.summary import GRAM_PER_CM3
from so3krates.system import System

RESULT = Path(__file__).parent / "results" / "validation" / "long_runs.json"
TIMESTEP_FS = 0.5
THERMALISE_PS = 2.0
EQUILIBRATE_PS = 20.0
"""Of a run whose volume moves, left out of its averages."""
console = Console()


@dataclass(frozen=True)
class Case:
    """A run."""

    file: str | None
    """Of the start geometry; None: a frame of the data in the package."""
    ensemble: md.Integrator
    time_ps: float
    recording: md.Recording


VACUUM = md.Langevin(temperature_K=300.0, friction_per_ps=1.0)
CASES = {
    "AT-AT": Case("atat.xyz", VACUUM, 200.0, md.Recording(every_fs=100.0, scalars_every_fs=10.0)),
    "Ala15": Case("ala15.xyz", VACUUM, 200.0, md.Recording(every_fs=100.0, scalars_every_fs=10.0)),
    "64 waters": Case(
        "water_64.xyz",
        md.StochasticCellRescaling(temperature_K=300.0, pressure_GPa=1e-4),
        100.0,
        md.Recording(every_fs=100.0, scalars_every_fs=10.0),
    ),
    "ethanol": Case(
        None,
        md.Langevin(temperature_K=500.0, friction_per_ps=1.0),
        1000.0,
        md.Recording(every_fs=100.0, scalars_every_fs=10.0),
    ),
}


def main(
    model: Path,
    *names: str,
    folder: Path,
    time_ps: float | None = None,
    structures: Path | None = None,
    output: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None,
) -> None:
    """Run, or go on.

    Args:
        model: model file.
        names: of the cases.
        folder: for trajectories and checkpoints.
        time_ps: another length, only to see that everything works; nothing is stored unless `output` says so.
        structures: folder of the start geometries; `structures` in SHARED_DIR if not given.
        output: JSON file; the committed result if not given.
    """
    unknown = sorted(set(names) - set(CASES))
    if unknown or not names:
        raise SystemExit(f"name structures among {', '.join(CASES)}; received {', '.join(names) or 'none'}.")
    source = structures or shared("structures")
    folder.mkdir(parents=True, exist_ok=True)
    target = output or (RESULT if time_ps is None else None)
    for name in names:
        load_before = os.getloadavg()[0]
        case = CASES[name]
        path = folder / f"{name.replace(' ', '_').lower()}.h5"
        length = case.time_ps if time_ps is None else time_ps
        with md.progress_bar(console) as report:
            _, run = so3krates.simulate(
                so3krates.load(model),
                _start(case, source),
                case.ensemble,
                timestep_fs=TIMESTEP_FS,
                steps=round(length * 1e3 / TIMESTEP_FS),
                thermalise_ps=THERMALISE_PS,
                recording=case.recording,
                to=path,
                resume=True,
                report=report,
            )
        summary = read_summary(path)
        row = {
            "model": model.stem,
            "machine": machine(load_before),
            "date": datetime.now(UTC).date().isoformat(),
            "versions": {"so3krates": so3krates.__version__, "jax": version("jax")},
            "timestep_fs": TIMESTEP_FS,
            "thermalise_ps": THERMALISE_PS,
            "ensemble": summary["settings"]["ensemble"],
            "results": summary["results"],
            "equilibrated": _equilibrated(path),
            "events": [event.sentence for event in run.events],
        }
        console.print(name, row["results"], row["events"])
        if target is not None:
            known = json.loads(target.read_text(encoding="utf-8"))["rows"] if target.exists() else {}
            write({"benchmark": "long_runs", "rows": known | {name: row}}, target)


def _equilibrated(path: Path) -> dict[str, Any] | None:
    """Temperature and density without the time the volume needs to forget the start; None where it does not move."""
    trajectory = Trajectory(path)
    series = trajectory.series()
    if "volume" not in series or series["time_fs"][-1] <= 1e3 * EQUILIBRATE_PS:
        return None
    late = series["time_fs"] >= 1e3 * EQUILIBRATE_PS
    density = GRAM_PER_CM3 * float(trajectory.system.masses.sum()) / series["volume"][late]
    return {
        "from_ps": EQUILIBRATE_PS,
        "temperature_K": asdict(block_average(series["temperature"][late])),
        "density_g_cm3": asdict(block_average(density)),
    }


def _start(case: Case, structures: Path) -> System:
    if case.file is None:
        return so3krates.read_dataset(ETHANOL)[0].system
    atoms: Any = ase.io.read(structures / case.file)
    return System.from_ase(atoms)


if __name__ == "__main__":
    cyclopts.run(main)
