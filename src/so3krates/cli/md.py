"""`so3krates md`: molecular dynamics with a model."""

from pathlib import Path
from time import monotonic
from typing import Annotated, Literal

from cyclopts import Parameter

from so3krates.cli._md_flags import EnsembleOptions, Flag, MonitorOptions, RecordingOptions, ReplicasOptions
from so3krates.cli._running import Running


def md(
    model: str | None = None,
    start: Path | None = None,
    /,
    *,
    config: Path | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    time_ps: float | None = None,
    timestep_fs: float | None = None,
    thermalise_ps: float | None = None,
    seed: int | None = None,
    fixed: str | None = None,
    hydrogen_mass_u: float | None = None,
    dtype: Literal["float32", "float64"] | None = None,
    wall_time: str | None = None,
    resume: Flag = False,
    overwrite: Flag = False,
    dry_run: Flag = False,
    ensemble: EnsembleOptions | None = None,
    recording: RecordingOptions | None = None,
    replicas: ReplicasOptions | None = None,
    monitor: MonitorOptions | None = None,
    running: Annotated[Running | None, Parameter(group="Running")] = None,
) -> None:
    """Run molecular dynamics with a model; options override the configuration file.

    Writes RUN.h5 with its checkpoint, and at the end RUN.summary.json and RUN.summary.png. Exit status 0: complete;
    3: stopped by the monitor, or one of the replicas was; 4: the wall time is over, or SIGTERM, so go on with --resume;
    130: Ctrl-C.

    Parameters
    ----------
    model
        Model file, or the name of published weights.
    start
        Structure file; its last frame is the start. Velocities in it are used if no temperature is given, and atoms
        that it says are fixed do not move.
    config
        YAML file; `so3krates config template md` prints one.
    output
        Trajectory (.h5 or .hdf5) in the H5MD layout; the checkpoint lies beside it.
    time_ps
        Length of the run in ps, with the part before a resume.
    timestep_fs
        Time step in fs; 0.5 if not given.
    thermalise_ps
        Langevin dynamics before the run, not recorded.
    seed
        Of velocities and noise; 0 if not given.
    fixed
        Atoms that do not move, counted from 0, such as 0-9,15.
    hydrogen_mass_u
        Mass of hydrogen, taken from the atoms it is bonded to; 3 allows a longer time step.
    dtype
        Precision of the arithmetic; float32 if not given.
    wall_time
        End within this time, compilation included, so that the run can be resumed: H:MM:SS, D-HH:MM:SS or MM:SS.
    resume
        Go on from the checkpoint, or begin if there is neither that nor a trajectory.
    overwrite
        Replace an existing run; not together with --resume.
    dry_run
        Say what would run, how large the files become and how long it takes, after timing some steps; write nothing.
        With --resume the time is that of the steps that are left.
    """
    began = monotonic()
    from rich.console import Console

    from so3krates.cli._md_options import assemble
    from so3krates.cli._md_run import Command, dry, go, trajectories
    from so3krates.cli._md_start import read_starts, remarks, said_of_fixed
    from so3krates.cli._outputs import check_companions, check_output
    from so3krates.md.conduct import files_of, refuse_ignored
    from so3krates.md.records.checkpoint import checkpoint_path
    from so3krates.md.records.output import refuse_existing, resumable

    options = {
        "model": model,
        "start": start,
        "output": output,
        "time_ps": time_ps,
        "timestep_fs": timestep_fs,
        "thermalise_ps": thermalise_ps,
        "seed": seed,
        "fixed": fixed,
        "hydrogen_mass_u": hydrogen_mass_u,
        "dtype": dtype,
        "wall_time": wall_time,
    }
    chosen = assemble(
        config,
        options,
        ensemble or EnsembleOptions(),
        recording or RecordingOptions(),
        replicas or ReplicasOptions(),
        monitor or MonitorOptions(),
        running or Running(),
    )
    refuse_ignored(chosen.output, resume=resume, overwrite=overwrite)
    inputs = [chosen.model, chosen.start, *chosen.committee, config]
    check_output(chosen.output, "a trajectory", (".h5", ".hdf5"), inputs)
    starts = read_starts(chosen)
    outputs = trajectories(chosen, len(starts))
    check_companions(chosen.output, files_of(chosen.output, outputs), inputs)
    # Said again by the run, which holds the locks, but nobody should wait for a program that is not run.
    checkpoint = checkpoint_path(chosen.output)
    if resume:
        resumable(checkpoint, outputs, None if chosen.replicas is None else len(starts))
    elif not (overwrite or dry_run):
        refuse_existing(outputs, checkpoint)
    evaluated = Running(**dict(chosen.running))
    potential = evaluated.load(Path(chosen.model), chosen.dtype)
    committee = [evaluated.load(Path(member), chosen.dtype) for member in chosen.committee]
    console = Console()
    said = [*remarks(potential, starts[0].system, chosen.start), said_of_fixed(starts[0])]
    for remark in filter(None, said):
        console.print(remark, highlight=False, soft_wrap=True)
    command = Command(chosen, potential, committee, starts, console)
    if dry_run:
        dry(command, resume=resume, began=began)
    else:
        go(command, resume=resume, overwrite=overwrite, began=began)
