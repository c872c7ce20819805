"""simulate: run dynamics, commit chunk by chunk, stop when the monitor says so, resume exactly."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from so3krates._interrupts import deferred_interrupts
from so3krates._precision import precision_scope
from so3krates.io.run_lock import RunLock
from so3krates.io.trajectory import Trajectory
from so3krates.md.committee import Committee
from so3krates.md.engine import Engine
from so3krates.md.monitor import Monitor
from so3krates.md.output import FileOutput, MemoryOutput, Output, resumable
from so3krates.md.progress import Report
from so3krates.md.run import Run
from so3krates.md.settings import Settings, make_settings
from so3krates.md.state import Integrator, Snapshot
from so3krates.md.wall_time import Deadline
from so3krates.neighbors.lists import Neighbors
from so3krates.potential import Potential
from so3krates.system import System


def simulate(
    potential: Potential,
    start: System | Snapshot,
    integrator: Integrator,
    *,
    timestep_fs: float,
    steps: int,
    to: str | PathLike[str] | None = None,
    initial_temperature_K: float | None = None,
    thermalise_ps: float = 0.0,
    seed: int = 0,
    save_every_fs: float | None = None,
    save_forces: bool = False,
    monitor: Monitor | None = None,
    committee: Sequence[Potential] = (),
    neighbors: Neighbors | None = None,
    resume: bool = False,
    overwrite: bool = False,
    wall_time_s: float | None = None,
    report: Callable[[Report], None] | None = None,
) -> tuple[Snapshot, Run]:
    """Run molecular dynamics in the precision of the potential.

    The whole loop is compiled; Python is entered every two seconds, and writes frames and a checkpoint while the next
    steps are computed. What is written is always complete and valid: a run that was interrupted or killed continues
    with `resume=True` and gives the same trajectory, bit for bit on a CPU, as one that was not. At the end a summary is
    written beside the trajectory (`so3krates.viz.run_summary` draws it).

    Args:
        potential: energy and forces.
        start: structure, or structure with velocities such as the end of another run.
        integrator: ensemble, such as `Langevin(temperature_K=300)` or `NVE()`.
        timestep_fs: fs.
        steps: total number of steps, those before a resume included.
        to: trajectory file (HDF5, H5MD layout); frames stay in memory without it. The checkpoint lies beside it.
        initial_temperature_K: temperature of the velocities drawn at the start; the thermostat's if not given.
        thermalise_ps: Langevin dynamics at that temperature before the run, not recorded. NVE begins with the frame of
            its second half whose energy is nearest to the mean, other ensembles with the last state.
        seed: of velocities and noise.
        save_every_fs: interval of saved frames; about 10 fs, or the whole run if that is shorter, if not given; on
            resume that of the trajectory.
        save_forces: store forces too.
        monitor: when to stop; the defaults of `Monitor` if not given.
        committee: other potentials for the same elements, evaluated on every saved frame: where their forces and those
            of the run disagree, the potential is extrapolating.
        neighbors: neighbour list to begin with; allocated from the start structure if not given.
        resume: go on from the checkpoint; from the beginning if there is none.
        overwrite: replace an existing trajectory.
        wall_time_s: end in time, compilation and the last writing included, so that the run can be resumed.
        report: called after each chunk, which is being written then.

    Returns:
        The last structure with its velocities, and the run.

    Raises:
        InputError: for arguments that make no sense.
        FileError: if a file exists, is damaged, belongs to another run or is written by one, or cannot be written.
        RunStopped: if the monitor ended the run; what was computed before is kept.
        RunUnfinished: at the wall time or after SIGTERM, once the chunk and its checkpoint are written.
        KeyboardInterrupt: after Ctrl-C, once the chunk and its checkpoint are written.
    """
    deadline = Deadline() if wall_time_s is None else Deadline(wall_time_s)
    snapshot = start if isinstance(start, Snapshot) else Snapshot(start)
    potential.check(snapshot.system)
    settings = make_settings(
        potential,
        snapshot,
        integrator,
        monitor or Monitor(),
        timestep_fs=timestep_fs,
        steps=steps,
        save_every_fs=save_every_fs,
        seed=seed,
        initial_temperature_K=initial_temperature_K,
        thermalise_ps=thermalise_ps,
        save_forces=save_forces,
    )
    path = None if to is None else Path(to)
    lock = None if path is None else RunLock(path)
    try:
        resuming = path is not None and resume and resumable(path)
        if path is not None and resuming and save_every_fs is None:
            # A short run chose a short interval, and may be made longer.
            settings = replace(settings, save_every=Trajectory(path).settings.get("save_every", settings.save_every))
        with precision_scope(potential.dtype), deferred_interrupts() as interrupts:
            asked = Committee.of(settings.model, committee, snapshot.system, settings.monitor)
            engine = Engine.of(potential, snapshot.system, settings, neighbors, interrupts, report, asked, deadline)
            if path is not None and resuming:
                output: Output = FileOutput(path, snapshot.system, settings)
                checkpoint = output.restore(engine.template(snapshot), engine.neighbors)
            else:
                output = _new_output(path, snapshot.system, settings, overwrite or resume)
                checkpoint = engine.begin(snapshot, output)
            return engine.run(checkpoint, output)
    finally:
        if lock is not None:
            lock.release()


def _new_output(path: Path | None, system: System, settings: Settings, overwrite: bool) -> Output:
    if path is None:
        return MemoryOutput()
    return FileOutput.create(path, system, settings, overwrite=overwrite)
