"""Run dynamics, of one structure or of many replicas: commit chunk by chunk, stop when the monitor says so, resume."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import index
from os import PathLike
from pathlib import Path

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Int
from so3krates.md.conduct import Conduct, conduct
from so3krates.md.engine.replicas import check_alike
from so3krates.md.engine.telling import Report
from so3krates.md.ensembles.exchange import TemperatureExchange, check_ladder, check_starts
from so3krates.md.monitoring.bonds import watched_bonds, with_images_of
from so3krates.md.monitoring.monitor import Monitor
from so3krates.md.records.recording import Recording
from so3krates.md.records.run import Replicas, Run
from so3krates.md.records.settings import Settings, make_settings
from so3krates.md.state import Integrator, Snapshot
from so3krates.md.wall_time import Deadline
from so3krates.neighbors.lists import Neighbors
from so3krates.potential import Potential
from so3krates.system import System

Seeds = Sequence[int] | Int[np.ndarray, " replicas"]


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
    recording: Recording | None = None,
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
        start: structure, or structure with velocities and fixed atoms, such as the end of another run.
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
        recording: everything that can be said about what is stored, in place of these two.
        monitor: when to stop; the defaults of `Monitor` if not given.
        committee: other potentials; how far their forces lie apart shows where the potential extrapolates.
        neighbors: neighbour list to begin with, which searches in every step unless it has a skin
            (`Neighbors.with_skin`); if not given, one is allocated from the start, with a skin if that is large.
        resume: go on from the checkpoint; from the beginning if there is neither that nor a trajectory.
        overwrite: replace an existing run; not together with `resume`.
        wall_time_s: end in time, compilation and the last writing included, so that the run can be resumed.
        report: called after each chunk, which is being written then.

    Returns:
        The last structure with its velocities, and the run.

    Raises:
        InputError: for arguments that make no sense.
        FileError: if a file exists, is damaged, belongs to another run or is written by one, or cannot be written.
        RunStopped: if the monitor ended the run; what was computed before is kept.
        RunUnfinished: at the wall time or after SIGTERM, once the chunk and its checkpoint are written.
        RunInterrupted: after Ctrl-C, likewise; a KeyboardInterrupt.
    """
    deadline = Deadline() if wall_time_s is None else Deadline(wall_time_s)
    steps, seed = _whole(steps, "steps"), _whole(seed, "seed")
    snapshot = start if isinstance(start, Snapshot) else Snapshot(start)
    potential.check(snapshot.system)
    stored = recording_of(recording, save_every_fs, save_forces)
    settings = make_settings(
        potential,
        snapshot,
        integrator,
        monitor or Monitor(),
        timestep_fs=timestep_fs,
        steps=steps,
        recording=stored,
        seed=seed,
        initial_temperature_K=initial_temperature_K,
        thermalise_ps=thermalise_ps,
    )
    path = None if to is None else Path(to)
    asked = Conduct(path, resume, overwrite, stored.open_intervals, deadline, committee, neighbors, report)
    _, ended = conduct(potential, [snapshot], [settings], asked, together=False)
    ((final, run),) = ended.results
    assert final is not None and run is not None
    return final, run


def simulate_replicas(
    potential: Potential,
    starts: Sequence[System | Snapshot] | System | Snapshot,
    integrators: Sequence[Integrator] | Integrator,
    *,
    timestep_fs: float,
    steps: int,
    seeds: Seeds | None = None,
    exchange: TemperatureExchange | None = None,
    to: str | PathLike[str] | None = None,
    initial_temperature_K: float | None = None,
    thermalise_ps: float = 0.0,
    recording: Recording | None = None,
    monitor: Monitor | None = None,
    committee: Sequence[Potential] = (),
    resume: bool = False,
    overwrite: bool = False,
    wall_time_s: float | None = None,
    report: Callable[[Report], None] | None = None,
) -> Replicas:
    """Run many replicas of one structure at once: other starts, temperatures, pressures, seeds.

    All of them are one compiled program, which works on all their atoms together. A replica is what `simulate` would
    make of the same start and seed, but for rounding: sums run in another order. One that the monitor ends, while it
    is thermalised too, or whose neighbour list cannot be made large enough, is reported and does not stop the others.

    Args:
        potential: energy and forces.
        starts: one for each replica, or one for all; all have the same atoms.
        integrators: one for each replica, or one for all; all of one kind.
        timestep_fs: fs.
        steps: total number of steps, those before a resume included.
        seeds: of velocities and noise, one for each; 0, 1, 2, … if not given.
        exchange: exchange of temperatures between neighbouring replicas (Langevin, CSVR). Starts in a periodic cell are
            moved by whole cell vectors, so that the bonds of the first one join the same images in all of them.
        to: run.h5 stands for run_000.h5, run_001.h5, …; the checkpoint of all is beside them.
        initial_temperature_K: of all velocities drawn at the start; that of each thermostat if not given.
        thermalise_ps: as in `simulate`.
        recording: what is stored.
        monitor: when to stop a replica.
        committee: other potentials, as in `simulate`.
        resume: go on from the checkpoint; from the beginning if there is neither that nor a trajectory.
        overwrite: replace an existing run; not together with `resume`.
        wall_time_s: end in time, so that the run can be resumed.
        report: called after each chunk, which is being written then.

    Returns:
        The replicas in order; those that ended early say why.

    Raises:
        InputError: for arguments that make no sense, or replicas that are no replicas of each other.
        FileError, RunUnfinished, RunInterrupted: as `simulate`; the last two hold all replicas.
        RunStopped: if the monitor refuses the starts of all replicas, or ends all of them while thermalising.
    """
    deadline = Deadline() if wall_time_s is None else Deadline(wall_time_s)
    steps = _whole(steps, "steps")
    stored = recording or Recording()
    snapshots, settings = replica_settings(
        potential,
        starts,
        integrators,
        timestep_fs=timestep_fs,
        steps=steps,
        seeds=seeds,
        exchange=exchange,
        initial_temperature_K=initial_temperature_K,
        thermalise_ps=thermalise_ps,
        recording=stored,
        monitor=monitor or Monitor(),
    )
    path = None if to is None else Path(to)
    asked = Conduct(path, resume, overwrite, stored.open_intervals, deadline, committee, None, report)
    tracks, ended = conduct(potential, snapshots, settings, asked, together=True, exchange=exchange)
    return ended.replicas(tracks)


def replica_settings(
    potential: Potential,
    starts: Sequence[System | Snapshot] | System | Snapshot,
    integrators: Sequence[Integrator] | Integrator,
    *,
    timestep_fs: float,
    steps: int,
    seeds: Seeds | None,
    exchange: TemperatureExchange | None,
    initial_temperature_K: float | None,
    thermalise_ps: float,
    recording: Recording,
    monitor: Monitor,
) -> tuple[list[Snapshot], list[Settings]]:
    """Start and settings of each replica, from the arguments of `simulate_replicas`.

    Raises:
        InputError: for arguments that make no sense, or replicas that are no replicas of each other.
    """
    snapshots, ensembles, numbers = _aligned(starts, integrators, seeds)
    check_alike(snapshots, ensembles)
    if exchange is not None:
        check_ladder(ensembles)
        check_starts(snapshots)
        bonds = watched_bonds(monitor, snapshots[0].system)
        snapshots = [replace(each, system=with_images_of(bonds, each.system)) for each in snapshots]
        exchange.steps(timestep_fs)
    settings = []
    for number, (snapshot, integrator, seed) in enumerate(zip(snapshots, ensembles, numbers, strict=True)):
        try:
            potential.check(snapshot.system)
            each = make_settings(
                potential,
                snapshot,
                integrator,
                monitor,
                timestep_fs=timestep_fs,
                steps=steps,
                recording=recording,
                seed=seed,
                initial_temperature_K=initial_temperature_K,
                thermalise_ps=thermalise_ps,
            )
        except InputError as error:
            raise InputError(f"replica {number}: {error}") from error
        settings.append(each)
    return snapshots, settings


def recording_of(recording: Recording | None, save_every_fs: float | None, save_forces: bool) -> Recording:
    """What is stored, from either way to say it."""
    if recording is None:
        return Recording.parse({"every_fs": save_every_fs, "forces": save_forces}, "recording")
    if save_every_fs is not None or save_forces:
        raise InputError("save_every_fs and save_forces are part of the recording; give them there alone.")
    return recording


def _whole(number: object, name: str) -> int:
    """Numbers of NumPy and 1e6 are taken; a part of a step would be lost without a word."""
    if isinstance(number, float | np.floating) and float(number).is_integer():
        return int(number)
    try:
        return index(number)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"{name} is {number!r}; it must be a whole number.") from error


def _aligned(
    starts: Sequence[System | Snapshot] | System | Snapshot,
    integrators: Sequence[Integrator] | Integrator,
    seeds: Seeds | None,
) -> tuple[list[Snapshot], list[Integrator], list[int]]:
    """One of each for every replica; what is given once serves all."""
    own = None
    if seeds is not None:
        try:
            own = [index(seed) for seed in seeds]
        except TypeError as error:
            raise InputError(f"seeds are whole numbers; received {list(seeds)}.") from error
    many = [each for each in (starts, integrators, own) if isinstance(each, Sequence)]
    count = max(map(len, many), default=1)
    given = [starts] * count if isinstance(starts, System | Snapshot) else list(starts)
    snapshots = [each if isinstance(each, Snapshot) else Snapshot(each) for each in given]
    ensembles = list(integrators) if isinstance(integrators, Sequence) else [integrators] * count
    numbers = list(range(count)) if own is None else own
    if not len(snapshots) == len(ensembles) == len(numbers):
        raise InputError(
            f"{len(snapshots)} starts, {len(ensembles)} ensembles and {len(numbers)} seeds are given; give one of each "
            "for every replica, or one start or ensemble for all."
        )
    return snapshots, ensembles, numbers
