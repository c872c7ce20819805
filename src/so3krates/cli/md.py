"""`so3krates md`: molecular dynamics with a model."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from so3krates._errors import FileError, InputError
from so3krates.cli._running import Running

if TYPE_CHECKING:
    from rich.console import Console

    from so3krates.md import Run, Snapshot
    from so3krates.md.run_config import RunConfig
    from so3krates.potential import Potential
    from so3krates.system import System

PICTURE_SECONDS = 5.0
"""Of the wall time, but at most a tenth of it, are kept for drawing the summary."""


def md(
    model: str | None = None,
    start: Path | None = None,
    /,
    *,
    config: Path | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    time_ps: float | None = None,
    ensemble: Literal["nve", "langevin", "nose-hoover", "csvr", "npt-scr", "npt-mtk"] | None = None,
    temperature_K: float | None = None,
    pressure_GPa: float | None = None,
    coupling: str | None = None,
    timestep_fs: float | None = None,
    friction_per_ps: float | None = None,
    period_fs: float | None = None,
    fix_rotation: Annotated[bool, Parameter(negative=())] = False,
    thermalise_ps: float | None = None,
    seed: int | None = None,
    save_every_fs: float | None = None,
    save_forces: Annotated[bool, Parameter(negative=())] = False,
    max_temperature_K: float | None = None,
    min_distance: float | None = None,
    max_bond_deviation: float | None = None,
    dtype: Literal["float32", "float64"] | None = None,
    running: Running | None = None,
    wall_time: str | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run molecular dynamics with a model; options override the configuration file.

    Writes RUN.h5 with its checkpoint, and at the end RUN.summary.json and RUN.summary.png. Exit status 0: complete;
    3: stopped by the monitor; 4: the wall time is over, or SIGTERM, so go on with --resume; 130: Ctrl-C.

    Parameters
    ----------
    model
        Model file, or the name of published weights.
    start
        Structure file; its last frame is the start. Velocities in it are used if no temperature is given.
    config
        YAML file; `so3krates config template md` prints one.
    output
        Trajectory (.h5 or .hdf5) in the H5MD layout; the checkpoint lies beside it.
    time_ps
        Length of the run in ps, with the part before a resume.
    ensemble
        nve (velocity Verlet), langevin (BAOAB; if not given), nose-hoover (chain), csvr (stochastic rescaling of
        velocities), npt-scr (stochastic cell rescaling) or npt-mtk (Martyna, Tobias and Klein).
    temperature_K
        Temperature of the thermostat, and of the velocities drawn at the start.
    pressure_GPa
        Pressure of the barostat (npt-scr, npt-mtk); 0.0001, which is 1 bar, if not given.
    coupling
        What of the cell may change (npt-scr); isotropic if not given.
    timestep_fs
        Time step in fs; 0.5 if not given.
    friction_per_ps
        Friction of Langevin dynamics in 1/ps; 1 if not given.
    period_fs
        Characteristic time of the Nosé–Hoover chain in fs; 100 if not given.
    fix_rotation
        Remove the angular momentum at the start (nve, nose-hoover, csvr; isolated molecules), and count without it.
    thermalise_ps
        Langevin dynamics before the run, not recorded.
    seed
        Of velocities and noise; 0 if not given.
    save_every_fs
        Interval of saved frames; about 10 fs, or the whole run if that is shorter, if not given.
    save_forces
        Store forces too.
    max_temperature_K
        The monitor stops a run that becomes hotter; 10000 if not given.
    min_distance
        The monitor stops when two atoms come closer, in Å; 0.5 if not given.
    max_bond_deviation
        The monitor stops when a bond changes its length by more, in Å; 1 if not given.
    dtype
        Precision of the arithmetic; float32 if not given.
    wall_time
        End within this time, compilation included, so that the run can be resumed: H:MM:SS, D-HH:MM:SS or MM:SS.
    resume
        Go on from the checkpoint, or begin if there is none.
    overwrite
        Replace an existing trajectory.
    dry_run
        Say what would run, how large the files become and how long it takes, after timing some steps; write nothing.
    """
    began = monotonic()
    from rich.console import Console

    from so3krates.cli._md_options import assemble
    from so3krates.cli._outputs import check_output

    options = {
        "model": model,
        "start": start,
        "output": output,
        "time_ps": time_ps,
        "timestep_fs": timestep_fs,
        "thermalise_ps": thermalise_ps,
        "seed": seed,
        "save_every_fs": save_every_fs,
        "save_forces": save_forces or None,
        "dtype": dtype,
        "wall_time": wall_time,
        "monitor": {
            "max_temperature_K": max_temperature_K,
            "min_distance": min_distance,
            "max_bond_deviation": max_bond_deviation,
        },
        "running": {} if running is None else asdict(running) | {"full_range": running.full_range or None},
    }
    parameters = {
        "pressure_GPa": pressure_GPa,
        "coupling": coupling,
        "friction_per_ps": friction_per_ps,
        "period_fs": period_fs,
        "fix_rotation": fix_rotation or None,
    }
    chosen = assemble(config, options, ensemble, parameters, temperature_K)
    check_output(chosen.output, "a trajectory", (".h5", ".hdf5"), [chosen.model, chosen.start, config])
    snapshot = _read(chosen.start, ignore_velocities=chosen.initial_temperature_K is not None)
    if chosen.kind == "nve" and chosen.initial_temperature_K is None and snapshot.velocities is None:
        raise InputError(f"--ensemble nve needs --temperature-K, or velocities in '{chosen.start}'.")
    potential = Running(**dict(chosen.running)).load(Path(chosen.model), chosen.dtype)
    console = Console()
    for remark in _remarks(potential, snapshot.system, chosen.start):
        console.print(remark, highlight=False, soft_wrap=True)
    if dry_run:
        _plan(chosen, potential, snapshot, console)
    else:
        _run(chosen, potential, snapshot, console, resume=resume, overwrite=overwrite, began=began)


def _plan(config: "RunConfig", potential: "Potential", start: "Snapshot", console: "Console") -> None:
    from so3krates.cli._md_report import print_plan
    from so3krates.md.plan import plan
    from so3krates.md.settings import make_settings
    from so3krates.md.simulate import recording_of

    settings = make_settings(
        potential,
        start,
        config.integrator,
        config.monitor,
        timestep_fs=config.timestep_fs,
        steps=config.steps,
        recording=recording_of(None, config.save_every_fs, config.save_forces),
        seed=config.seed,
        initial_temperature_K=config.initial_temperature_K,
        thermalise_ps=config.thermalise_ps,
    )
    print_plan(console, config, start.system, plan(potential, start, settings))


def _run(
    config: "RunConfig",
    potential: "Potential",
    start: "Snapshot",
    console: "Console",
    *,
    resume: bool,
    overwrite: bool,
    began: float,
) -> None:
    from so3krates.md import RunStopped, RunUnfinished, progress_bar, simulate

    wall_time_s = config.wall_time_s
    if wall_time_s is not None:
        used = monotonic() - began + min(PICTURE_SECONDS, 0.1 * wall_time_s)
        wall_time_s = max(wall_time_s - used, 1e-3)
    try:
        with progress_bar(console) as report:
            _, run = simulate(
                potential,
                start,
                config.integrator,
                timestep_fs=config.timestep_fs,
                steps=config.steps,
                to=config.output,
                initial_temperature_K=config.initial_temperature_K,
                thermalise_ps=config.thermalise_ps,
                seed=config.seed,
                save_every_fs=config.save_every_fs,
                save_forces=config.save_forces,
                monitor=config.monitor,
                resume=resume,
                overwrite=overwrite,
                wall_time_s=wall_time_s,
                report=report,
            )
    except (RunStopped, RunUnfinished) as error:
        if error.run is not None:
            _tell(console, error.run, config.output)
        raise
    except KeyboardInterrupt:
        _draw(config.output)
        raise
    if not run.made:
        more = f", more than the {config.steps} asked for" if run.summary.steps > config.steps else ""
        console.print(
            f"'{config.output}' holds all {run.summary.steps} steps already{more}; there was nothing to do.",
            highlight=False,
            soft_wrap=True,
        )
    _tell(console, run, config.output)


def _tell(console: "Console", run: "Run", output: Path) -> None:
    from so3krates.cli._md_report import print_summary

    print_summary(console, run, output)
    _draw(output)


def _draw(output: Path) -> None:
    """The page about the run; what ended the run must be said even if that cannot be written."""
    from so3krates.md.run_file import summary_path
    from so3krates.viz.run_summary import write_run_picture

    if summary_path(output).exists():
        with suppress(FileError):
            write_run_picture(output)


def _read(path: Path, *, ignore_velocities: bool) -> "Snapshot":
    import ase.io
    import numpy as np

    from so3krates.md import Snapshot
    from so3krates.system import System
    from so3krates.units import FEMTOSECOND

    if not path.exists():
        raise FileError(f"structure file '{path}' does not exist.")
    try:
        atoms = ase.io.read(path, index=-1)
    except Exception as error:  # readers of other formats raise whatever they like
        raise FileError(f"'{path}' cannot be read as a structure: {error}") from error
    assert not isinstance(atoms, list)
    velocities = None
    if not ignore_velocities and np.any(atoms.get_momenta()):
        velocities = atoms.get_velocities() * FEMTOSECOND
    try:
        return Snapshot(System.from_ase(atoms), velocities)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _remarks(potential: "Potential", system: "System", path: Path) -> list[str]:
    """What there is to say about the structure; what the model refuses of it names the file."""
    try:
        potential.check(system)
        potential.treated(system)
        potential.mesh(system)
        return list(potential.remarks(system).values())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
