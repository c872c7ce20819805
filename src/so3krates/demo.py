"""The demonstration: from the reference data in the package to a model, a run and a report page."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from so3krates import data as data_package
from so3krates._errors import FileError, InputError
from so3krates.analysis.evaluate import Evaluation, evaluate
from so3krates.data.readers import read_dataset
from so3krates.data.sample import Dataset
from so3krates.io.atomic import write_atomically
from so3krates.md.engine.telling import Report
from so3krates.md.ensembles.nve import NVE
from so3krates.md.records.run import Run, RunStopped
from so3krates.md.simulate import simulate
from so3krates.model import ModelConfig
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.training.config import BudgetConfig, DataConfig, TrainConfig
from so3krates.training.loop import train
from so3krates.viz.page import chemical
from so3krates.viz.report import write_report

ETHANOL = Path(data_package.__file__).parent / "packaged" / "ethanol_pbe.npz"
"""The reference data in the package, with the splits train, valid and test."""
TIMESTEP_FS = 0.5
SAVE_EVERY_FS = 2.0
"""Often enough for the O–H stretch in the power spectrum."""
THERMALISE_PS = 5.0


@dataclass(frozen=True)
class Listeners:
    """What is called while the demonstration goes on; each may be left out."""

    tell: Callable[[str], None] = lambda _: None
    """Sentences."""
    training: Callable[[Mapping[str, Any]], None] = lambda _: None
    """Records of the training log."""
    evaluating: Callable[[int, int], None] = lambda done, total: None
    """Frames evaluated, and their number."""
    dynamics: Callable[[Report], None] = lambda _: None
    """State of the run."""


@dataclass(frozen=True, eq=False)
class Demonstration:
    """What was made."""

    model: Path
    log: Path
    trajectory: Path
    metrics: Path
    report: Path
    evaluation: Evaluation
    run: Run


def demonstrate(
    folder: Path,
    *,
    minutes: float = 3.0,
    time_ps: float = 20.0,
    temperature_K: float = 500.0,
    seed: int = 0,
    dataset: Path | None = None,
    model: ModelConfig | None = None,
    thermalise_ps: float = THERMALISE_PS,
    listeners: Listeners | None = None,
) -> Demonstration:
    """Train on reference data, test, run dynamics at constant energy, and write a report page.

    Writes model.safetensors (with its log and checkpoint), metrics.json, run.h5 and report.html into `folder`,
    replacing what an earlier call left there. If the monitor stops the run, the report shows it up to there.

    Args:
        folder: made if missing.
        minutes: of training.
        time_ps: of dynamics at constant energy.
        temperature_K: of the Langevin dynamics before it.
        seed: of parameters, data order and velocities.
        dataset: file with subsets train, valid and test of one molecule; that of the package if not given.
        model: architecture; the package's default if not given.
        thermalise_ps: of Langevin dynamics.
        listeners: for progress.

    Raises:
        InputError: for times that are not positive, or data without these subsets.
        FileError: for files that cannot be read or written.
        RunStopped: if the monitor ended the run; all files are written nevertheless.
        KeyboardInterrupt: after Ctrl-C; what was complete by then is kept.
    """
    if not (minutes > 0 and time_ps > 0):
        raise InputError(f"minutes is {minutes} and time_ps {time_ps}; both must be positive.")
    listeners, dataset = listeners or Listeners(), dataset or ETHANOL
    _make(folder)
    config = TrainConfig(
        data=DataConfig(train=_split(dataset, "train"), valid=_split(dataset, "valid")),
        model=model or ModelConfig(),
        budget=BudgetConfig(minutes=minutes),
        seed=seed,
        output=folder / "model.safetensors",
    )
    trained = train(config, overwrite=True, tell=listeners.tell, listener=listeners.training)
    if trained.reason == "interrupted":
        raise KeyboardInterrupt(f"the model so far is in {config.output}")
    test = read_dataset(dataset, split="test")
    evaluation = evaluate(trained.potential, test, progress=listeners.evaluating)
    stopped: RunStopped | None = None
    try:
        run = _run(
            trained.potential,
            _start(read_dataset(dataset, split="train")),
            folder / "run.h5",
            time_ps,
            temperature_K,
            thermalise_ps,
            seed,
            listeners,
        )
    except RunStopped as error:
        if error.run is None:
            raise
        run, stopped = error.run, error
    made = Demonstration(
        config.output, trained.log, folder / "run.h5", folder / "metrics.json", folder / "report.html", evaluation, run
    )
    _write(made, minutes, temperature_K, dataset)
    if stopped is not None:
        raise stopped
    return made


def _run(
    potential: Potential,
    start: System,
    path: Path,
    time_ps: float,
    temperature_K: float,
    thermalise_ps: float,
    seed: int,
    listeners: Listeners,
) -> Run:
    _, run = simulate(
        potential,
        start,
        NVE(fix_rotation=not start.periodic),
        timestep_fs=TIMESTEP_FS,
        steps=round(time_ps * 1e3 / TIMESTEP_FS),
        to=path,
        initial_temperature_K=temperature_K,
        thermalise_ps=thermalise_ps,
        save_every_fs=SAVE_EVERY_FS,
        seed=seed,
        overwrite=True,
        report=listeners.dynamics,
    )
    return run


def _start(dataset: Dataset) -> System:
    """The structure of lowest energy."""
    energies = [sample.energy for sample in dataset]
    labelled = [(energy, n) for n, energy in enumerate(energies) if energy is not None]
    return dataset[min(labelled)[1] if labelled else 0].system


def _write(made: Demonstration, minutes: float, temperature_K: float, dataset: Path) -> None:
    summary = made.evaluation.as_dict() | {"dynamics": asdict(made.run.summary)}
    write_atomically(made.metrics, (json.dumps(summary, indent=2) + "\n").encode())
    system = made.run.trajectory.system
    formula = chemical(system.formula)
    write_report(
        made.report,
        title=f"A force field for {formula} in {minutes:g} minutes",
        lead=f"Trained on ab-initio energies and forces, tested on frames it has not seen, then set free: molecular "
        f"dynamics at constant energy, started at {temperature_K:g} K. A run of {len(system)} atoms at constant energy "
        f"keeps the energy that it starts with, so its mean temperature differs from {temperature_K:g} K.",
        runs=[made.trajectory],
        reference=read_dataset(dataset),
        training_log=made.log,
        evaluation=made.evaluation,
    )


def _split(dataset: Path, name: str) -> Path:
    return dataset.with_name(f"{dataset.name}@{name}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"folder '{folder}' cannot be made: {error.strerror or error}.") from error
