"""From checked settings to results: files, locks, resume, the engine; of one structure or of many replicas."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from so3krates._errors import InputError
from so3krates._interrupts import deferred_interrupts
from so3krates._precision import precision_scope
from so3krates.io.atomic import remove_leftovers
from so3krates.io.run_lock import RunLock, lock_path
from so3krates.io.trajectory import Trajectory
from so3krates.md.engine.beginning import begin, template
from so3krates.md.engine.engine import Ended, Engine
from so3krates.md.engine.telling import Report
from so3krates.md.engine.track import Track
from so3krates.md.ensembles.exchange import TemperatureExchange
from so3krates.md.monitoring.committee import Committee
from so3krates.md.monitoring.inspection import Inspector
from so3krates.md.records.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from so3krates.md.records.output import FileOutput, MemoryOutput, companions, refuse_existing, resumable
from so3krates.md.records.run_file import picture_path
from so3krates.md.records.settings import Settings, joint_hash
from so3krates.md.state import Snapshot
from so3krates.md.wall_time import Deadline
from so3krates.neighbors.lists import Neighbors
from so3krates.potential import Potential


@dataclass(frozen=True, eq=False)
class Conduct:
    """What is asked for besides the physics."""

    to: Path | None
    resume: bool
    overwrite: bool
    kept: tuple[str, ...]
    """Intervals of the settings that stay on resume what they were, because nobody asked for others."""
    deadline: Deadline
    committee: Sequence[Potential] = ()
    neighbors: Neighbors | None = None
    report: Callable[[Report], None] | None = None

    def __post_init__(self) -> None:
        refuse_ignored(self.to, resume=self.resume, overwrite=self.overwrite)


def refuse_ignored(to: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Refuse what would have no effect.

    Raises:
        InputError: for both at once, and for either of them without a file.
    """
    if resume and overwrite:
        raise InputError(
            "resume and overwrite are both given; resume=True (--resume) goes on with a run, overwrite=True "
            "(--overwrite) starts it anew: give one of them."
        )
    if to is None and (resume or overwrite):
        raise InputError(f"{'resume' if resume else 'overwrite'}=True needs the file of the run: give to='run.h5'.")


def conduct(
    potential: Potential,
    starts: Sequence[Snapshot],
    settings: Sequence[Settings],
    asked: Conduct,
    *,
    together: bool,
    exchange: TemperatureExchange | None = None,
) -> tuple[list[Track], Ended]:
    """Run, or resume, to the end.

    Args:
        potential: of all.
        starts: of each replica.
        settings: of each replica, alike but for the ensemble's numbers, seed and start.
        asked: files and the like.
        together: as replicas.
        exchange: of temperatures.

    Returns:
        The tracks, which know what ended, and what is left.
    """
    if asked.to is None:
        return _run(potential, starts, settings, asked, None, together, exchange)
    paths = replica_paths(asked.to, len(starts)) if together else [asked.to]
    with ExitStack() as locks:
        # Also those of replicas, each of which may be the name of another run.
        for path in dict.fromkeys((asked.to, *paths)):
            locks.callback(RunLock(path).release)
        # A picture may be drawn by whoever wants to, without the lock.
        remove_leftovers(set(files_of(asked.to, paths)) - {picture_path(path) for path in paths})
        return _run(potential, starts, settings, asked, paths, together, exchange)


def replica_paths(path: Path, count: int) -> list[Path]:
    """run.h5 → run_000.h5, run_001.h5, …: the trajectory of each replica."""
    digits = max(3, len(str(count - 1)))
    return [path.with_name(f"{path.stem}_{number:0{digits}d}{path.suffix}") for number in range(count)]


def files_of(to: Path, trajectories: Sequence[Path]) -> list[Path]:
    """Everything that a run writes, replaces or deletes.

    Args:
        to: what the run is called.
        trajectories: `to`, or those of its replicas.
    """
    shared = [checkpoint_path(to), lock_path(to)]
    return shared + [each for path in trajectories for each in (path, lock_path(path), *companions(path))]


def _run(
    potential: Potential,
    starts: Sequence[Snapshot],
    settings: Sequence[Settings],
    asked: Conduct,
    paths: list[Path] | None,
    together: bool,
    exchange: TemperatureExchange | None,
) -> tuple[list[Track], Ended]:
    resuming = False
    if asked.to is not None and paths is not None:
        resuming = asked.resume and resumable(checkpoint_path(asked.to), paths, len(paths) if together else None)
        if resuming:
            settings = [_as_before(each, path, asked.kept) for each, path in zip(settings, paths, strict=True)]
    with precision_scope(potential.dtype), deferred_interrupts() as interrupts:
        committee = Committee.of(settings[0].model, asked.committee, starts[0].system, settings[0].monitor)
        tracks = []
        for number, (start, each) in enumerate(zip(starts, settings, strict=True)):
            inspector = Inspector(each.monitor, start.system, each.frame_fs, committee)
            output = MemoryOutput() if paths is None else FileOutput(paths[number], start, each, exchange is not None)
            tracks.append(Track(each, start, inspector, output, number if together else None))
            if exchange is not None:
                # Configurations go from replica to replica as they are counted in the state.
                tracks[-1].origin = tracks[0].origin
        engine = Engine.of(
            potential,
            tracks,
            together=together,
            exchange=exchange,
            neighbors=asked.neighbors,
            committee=committee is not None,
            interrupts=interrupts,
            report=asked.report,
            deadline=asked.deadline,
        )
        if asked.to is None or paths is None:
            return tracks, engine.run(begin(engine))
        target, joint = checkpoint_path(asked.to), joint_hash(settings, exchange)

        def store(checkpoint: Checkpoint) -> None:
            save_checkpoint(target, checkpoint, joint)

        engine = replace(engine, store=store)
        outputs = [track.output for track in tracks if isinstance(track.output, FileOutput)]
        if resuming:
            for output in outputs:
                output.refuse_other_settings()
            checkpoint = load_checkpoint(target, template(engine), engine.neighbors, joint)
            engine.resume(checkpoint)
            for track, output in zip(tracks, outputs, strict=True):
                # What has ended, or gone farther than is asked for, stays what it was.
                if track.ended is None and track.settings.steps >= checkpoint.step:
                    output.note_changes()
        else:
            if not (asked.overwrite or asked.resume):
                refuse_existing(paths, target)
            for output in outputs:
                output.create()
            target.unlink(missing_ok=True)
            checkpoint = begin(engine)
        return tracks, engine.run(checkpoint)


def _as_before(settings: Settings, path: Path, names: tuple[str, ...]) -> Settings:
    """A short run chose a short interval, and may be made longer."""
    before = Trajectory(path).settings
    return replace(settings, **{name: before.get(name, getattr(settings, name)) for name in names})
