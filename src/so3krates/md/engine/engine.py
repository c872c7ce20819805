"""The engine behind `simulate`: chunk after chunk, commit, stop; of one structure or of many replicas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import CapacityError, InputError
from so3krates._interrupts import Interrupts
from so3krates._precision import precision_scope
from so3krates._programs import forget_if_too_many
from so3krates._typing import Int
from so3krates.evaluation import Topology
from so3krates.md.engine.crowding import Crowded, allocated, first_overflow, larger, overflowed, with_room
from so3krates.md.engine.loop import Outcome, Problem, Room, advance
from so3krates.md.engine.pace import Pace
from so3krates.md.engine.record_room import record_room
from so3krates.md.engine.replicas import replica
from so3krates.md.engine.sharding import advance_shared, devices_for
from so3krates.md.engine.telling import Report, report_on
from so3krates.md.engine.track import Seen, Track, first_stop
from so3krates.md.ensembles.exchange import TemperatureExchange
from so3krates.md.monitoring.monitor import Status
from so3krates.md.monitoring.watch import Watch, make_watch, make_watches
from so3krates.md.records.checkpoint import Checkpoint
from so3krates.md.records.run import Replica, Replicas, Run, RunInterrupted, RunUnfinished
from so3krates.md.records.settings import Settings
from so3krates.md.records.writer import Writer
from so3krates.md.state import Snapshot, State
from so3krates.md.wall_time import Deadline
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import OF_THE_CELL
from so3krates.potential import Potential
from so3krates.rollout import run_chunk

CHUNK_SECONDS = 2.0
"""Aimed duration of a chunk: frames are written and interrupts heard this often."""
Values = TypeVar("Values")

REASONS = MappingProxyType({"wall_time": "the wall time is over", "terminated": "told to terminate"})
"""Of a run that is unfinished, in words."""
ON_DISK = "all is written, and resume=True (--resume) goes on from there"


@dataclass(frozen=True, eq=False)
class Chunk:
    """What the writer gets."""

    outcome: Outcome
    checkpoint: Checkpoint
    speed: float
    made: int
    seen: dict[int, Seen] | None = None
    """What the frames show, by replica, where they had to be looked at before."""


class Ended(NamedTuple):
    """What is left of a run."""

    results: list[tuple[Snapshot | None, Run | None]]
    """Of each replica the last structure, None for one that has ended, and the run, None for one without a frame."""
    state: State

    def replicas(self, tracks: Sequence[Track]) -> Replicas:
        """How each of them ended."""
        each = [
            Replica(*result, track.ended, track.stopped) for result, track in zip(self.results, tracks, strict=True)
        ]
        return Replicas.of(each, self.state.exchanged)


@dataclass(frozen=True, eq=False)
class Engine:
    """One run: what stays fixed, and the moves from chunk to chunk."""

    problem: Problem
    tracks: tuple[Track, ...]
    together: bool
    """Replicas, whose state has a leading axis; else one structure on its own."""
    neighbors: Neighbors
    interrupts: Interrupts
    report: Callable[[Report], None] | None
    deadline: Deadline
    store: Callable[[Checkpoint], None] | None = None
    """Keeps checkpoints; None for a run in memory."""
    thermalising: bool = False
    devices: int = 1
    """Among which replicas are shared."""
    changes: list[str] = field(default_factory=list)
    """What of the neighbour lists was enlarged since the last report."""

    @classmethod
    def of(
        cls,
        potential: Potential,
        tracks: Sequence[Track],
        *,
        together: bool = False,
        exchange: TemperatureExchange | None = None,
        neighbors: Neighbors | None = None,
        committee: bool = False,
        interrupts: Interrupts | None = None,
        report: Callable[[Report], None] | None = None,
        deadline: Deadline | None = None,
    ) -> "Engine":
        """Make ready to run.

        Args:
            potential: of all replicas.
            tracks: one for each.
            together: as replicas, also if there is only one.
            exchange: of temperatures.
            neighbors: to begin with; allocated for the roomiest start if not given.
            committee: whether the monitor needs forces of saved frames.
            interrupts: whether somebody asked to stop.
            report: called after each chunk.
            deadline: when to be over.
        """
        forget_if_too_many()  # a script may run one structure after another
        settings, system = tracks[0].settings, tracks[0].start.system
        problem = Problem(
            term=potential.fast,
            topology=Topology.of(system, potential.dtype),
            integrator=settings.integrator,
            watch=_watch(tracks, potential.dtype, together),
            keep_forces=settings.recording.forces or committee,
            reference=jnp.asarray(np.full(len(tracks) if together else (), np.nan), potential.dtype),
            exchange_every=None if exchange is None else jnp.asarray(exchange.steps(settings.timestep_fs), jnp.int32),
        )
        devices = devices_for(len(tracks)) if together and exchange is None else 1
        for track in tracks:
            track.devices = devices
        return cls(
            problem,
            tuple(tracks),
            together,
            neighbors or allocated(potential, [track.start.system for track in tracks], together),
            interrupts or Interrupts(),
            report,
            deadline or Deadline(),
            devices=devices,
        )

    @property
    def settings(self) -> Settings:
        """Of the first replica; all share lengths and intervals."""
        return self.tracks[0].settings

    def resume(self, checkpoint: Checkpoint) -> None:
        """Put the tracks where a checkpoint left them."""
        for track, progress in zip(self.tracks, checkpoint.progress, strict=True):
            track.remember(progress, checkpoint.step)

    def run(self, checkpoint: Checkpoint) -> Ended:
        """Chunk after chunk to the end; each is written while the next is computed."""
        settings, room = self.settings, self.room
        longest = min((room.frames - 1) * settings.save_every, (room.rows - 1) * settings.scalars_every)
        pace = Pace(CHUNK_SECONDS, longest)
        begin = step = checkpoint.step
        status = None
        if step < settings.steps:
            # No step: this compiles, so that the chunks show what a step takes.
            self._chunk(checkpoint, 0, None)
        pace.start()
        with Writer[Chunk](self.commit) as writer:
            while step < settings.steps and not self.interrupts.requested and not self._all_ended():
                count = pace.next(settings.steps - step, self.deadline.room(writer.slowest_s))
                if not count:
                    break
                # It begins with the state of the last chunk only once that is known to be valid.
                try:
                    outcome, checkpoint, seen = self._next(checkpoint, count, status, writer)
                except (CapacityError, InputError) as error:
                    writer.wait()  # a frame of the chunk before may have ended everything
                    if self._all_ended():
                        break
                    self._give_up(error, checkpoint, pace.steps_per_second, step - begin)
                    continue
                status = np.asarray(outcome.status)
                pace.computed(checkpoint.step - step)
                writer.put(Chunk(outcome, checkpoint.lean(), pace.steps_per_second, checkpoint.step - begin, seen))
                if seen is not None and first_stop(seen.values()) is not None:
                    writer.wait()  # the next chunk must know who has ended
                if np.all(status):
                    break
                self._tell(checkpoint, pace, step)
                step = checkpoint.step
        if any(track.inspector.untold for track in self.tracks):
            # Frames are looked at behind the computation, so what the last ones show comes after the last report.
            self._tell(checkpoint, pace, step)
        return self._results(checkpoint, pace.steps_per_second, checkpoint.step - begin)

    def _all_ended(self) -> bool:
        return all(track.ended is not None for track in self.tracks)

    def _give_up(self, error: CapacityError | InputError, checkpoint: Checkpoint, speed: float, made: int) -> None:
        """End the replicas that no list is large enough for at the start of their chunk, which the others make again.

        Raises:
            CapacityError, InputError: `error`, where it is of no replica in particular.
        """
        if not isinstance(error, Crowded) or not error.replicas:
            raise error
        for number in error.replicas:
            if self.tracks[number].ended is None:
                state = self._of(checkpoint.state, number)
                self.tracks[number].give_up(str(error), state, checkpoint.retries, speed, made)
        self._keep(checkpoint)

    def _results(self, checkpoint: Checkpoint, speed: float, made: int) -> Ended:
        if self._all_ended() and not self.together:
            assert self.tracks[0].stopped is not None
            raise self.tracks[0].stopped
        # Fetched once, and not leaf by leaf of each replica.
        states = jax.device_get(checkpoint.state) if self.together else checkpoint.state
        results: list[tuple[Snapshot | None, Run | None]] = []
        running: list[tuple[Track, Run]] = []
        for number, track in enumerate(self.tracks):
            state = self._of(states, number)
            if track.ended is not None:
                results.append((None, None if track.stopped is None else track.stopped.run))
                continue
            run = track.result(int(state.step), state, checkpoint.retries, speed, made)
            results.append((track.snapshot(state), run))
            running.append((track, run))
        ended = Ended(results, checkpoint.state)
        unfinished = None
        if running and running[0][1].summary.steps < self.settings.steps:
            unfinished = self._unfinished(ended, running[0][1])
        for track, run in running:
            if unfinished is None:
                track.completed(run)
            else:
                track.summarised(run, unfinished)
        if unfinished is not None:
            raise unfinished
        return ended

    def commit(self, chunk: Chunk) -> None:
        """Frames, then the state behind them; a state that failed is none to go on from. In the writer's thread."""
        with precision_scope(self.settings.dtype):  # which belongs to a thread
            seen = self._look(chunk.outcome) if chunk.seen is None else chunk.seen
            state, retries = chunk.checkpoint.state, chunk.checkpoint.retries
            for number, own in seen.items():
                behind, watch = partial(self._of, state, number), self._of(self.problem.watch, number)
                self.tracks[number].commit(own, behind, watch, retries, chunk.speed, chunk.made)
        if self.together or not self._all_ended():
            self._keep(chunk.checkpoint)

    def _keep(self, checkpoint: Checkpoint) -> None:
        """Store a state whose frames are committed."""
        if self.store is not None:
            self.store(checkpoint._replace(progress=tuple(track.progress for track in self.tracks)))

    def _look(self, outcome: Outcome) -> dict[int, Seen]:
        """What the frames of a chunk show, of each replica that had not ended."""
        outcome = jax.device_get(outcome)
        running = [number for number, track in enumerate(self.tracks) if track.ended is None]
        return {n: self.tracks[n].look(_of_replica(outcome, n) if self.together else outcome) for n in running}

    def _of(self, values: Values, number: int) -> Values:
        """What belongs to one replica of what has a leading axis for them."""
        return replica(values, number) if self.together else values

    def _chunk(
        self, checkpoint: Checkpoint, count: int, status: Int[np.ndarray, "*replicas"] | None
    ) -> tuple[Outcome, Checkpoint]:
        """So many steps; replicas that ended in the last chunk by its `status`, or before, stay as they are.

        Raises:
            Crowded: for replicas that no list is large enough for.
            CapacityError, InputError: for one structure on its own.
        """
        settings = self.settings
        references = [track.reference for track in self.tracks]
        reference = jnp.asarray(references if self.together else references[0], settings.dtype)
        problem = self.problem._replace(reference=reference)
        every, frames_every = (jnp.asarray(each, jnp.int32) for each in (settings.scalars_every, settings.save_every))
        reached: list[State] = []
        short: list[int] = []
        changes = len(self.changes)

        def compiled(state: State, neighbors: Neighbors) -> tuple:
            state, ended, steps = with_room(state, neighbors), None, jnp.asarray(count, jnp.int32)
            if self.together:
                # Asked again when the chunk is run again: frames of the chunk before may have been looked at since.
                before = [Status.RUNNING if track.ended is None else Status.ENDED for track in self.tracks]
                ended = jnp.asarray(before if status is None else np.maximum(before, status), jnp.int32)
            if self.devices > 1:
                assert ended is not None
                found = advance_shared(
                    self.devices, problem, state, neighbors, steps, every, frames_every, self.room, ended
                )
            else:
                found = advance(problem, state, neighbors, steps, every, frames_every, self.room, ended)
            reached[:] = [found[0]]
            return found

        def enlarged(state: State, neighbors: Neighbors, overflow: int) -> Neighbors:
            nonlocal count
            found = reached.pop()
            short[:] = overflowed(found)
            valid = first_overflow(found) - 1 - checkpoint.step
            if overflow & OF_THE_CELL and valid > 0:
                # Another grid rounds otherwise from where it comes in. That must be a step of the trajectory, whatever
                # the chunks are: go up to the step before, from where the next chunk finds the same.
                count = valid
                return neighbors
            return self.enlarged(state, neighbors, overflow)

        try:
            done = run_chunk(compiled, checkpoint.state, checkpoint.neighbors, enlarged)
        except (CapacityError, InputError) as error:
            del self.changes[changes:]  # of lists that nothing was computed with
            if not self.together or isinstance(error, Crowded):
                raise
            raise Crowded(str(error), short) from error
        retries = checkpoint.retries + done.retries
        return done.record, Checkpoint(done.state, done.neighbors, retries, ())

    def _next(
        self, checkpoint: Checkpoint, count: int, status: Int[np.ndarray, "*replicas"] | None, writer: Writer[Chunk]
    ) -> tuple[Outcome, Checkpoint, dict[int, Seen] | None]:
        """`_chunk`, and what its frames show where exchanges depend on that.

        A replica whose frame ends it takes no part in later exchanges. A chunk that went on to one is thrown away and
        run again up to the step before: that is rare, while a chunk for every exchange would cost much.
        """
        outcome, after = self._chunk(checkpoint, count, status)
        if self.problem.exchange_every is None or not any(track.inspector.may_end for track in self.tracks):
            return outcome, after, None
        writer.wait()  # what it stores of the inspectors belongs to the chunk before
        every = int(np.asarray(self.problem.exchange_every))
        before = [track.inspector.findings for track in self.tracks]
        while True:
            seen = self._look(outcome)
            stop = first_stop(seen.values())
            if stop is None or (last := (stop // every + 1) * every - 1) >= after.step:
                return outcome, after, seen
            for number in seen:
                track = self.tracks[number]
                track.inspector = track.inspector.back_at(before[number])
            again = checkpoint._replace(neighbors=after.neighbors, retries=after.retries)
            outcome, after = self._chunk(again, last - checkpoint.step, status)

    def enlarged(self, state: State, neighbors: Neighbors, overflow: int) -> Neighbors:
        """Lists with more of what was short, for all replicas that run."""
        alive = [number for number, track in enumerate(self.tracks) if track.ended is None] or range(len(self.tracks))
        systems = {number: self.tracks[number].snapshot(self._of(state, number)).system for number in alive}
        lists = larger(neighbors, systems, overflow, self.together)
        self.changes.append(neighbors.change(lists))
        return lists

    @property
    def room(self) -> Room:
        """Frames and rows of scalars that the record of a chunk has room for."""
        return record_room(self.settings, len(self.tracks), self.record_vectors)

    @property
    def record_vectors(self) -> int:
        """In a frame of each replica: positions, velocities, forces."""
        return len(self.tracks[0].start.system) * (3 if self.problem.keep_forces else 2)

    def _tell(self, checkpoint: Checkpoint, pace: Pace, since: int) -> None:
        # Asked once: the writer may end the last of them at any time.
        running = [number for number, track in enumerate(self.tracks) if track.ended is None]
        if self.report is None or not running:
            return
        changes, self.changes[:] = tuple(self.changes), []
        remarks = [
            f"neighbour list enlarged after step {since}, chunk run again from there: {each}" for each in changes
        ]
        speed = pace.steps_per_second
        state = checkpoint.lean().state
        self.report(report_on(self.tracks, running, state, remarks, speed, thermalising=self.thermalising))

    def _unfinished(self, ended: Ended, run: Run) -> RunInterrupted | RunUnfinished | InputError:
        """What ends a run, or this one and all other replicas, before the last step, and how it goes on."""
        step = run.summary.steps
        if not run.made and not self.interrupts.requested:
            # No reason to submit it again: it would end here again.
            return InputError("the wall time was over after start and compilation, before the first step; allow more.")
        kept = "its frames are in memory only" if run.path is None else ON_DISK
        where = f"after step {step} of {self.settings.steps} ({run.summary.time_ps:.4f} ps): {kept}."
        final, own, replicas = *ended.results[0], None
        if self.together:
            final, own, replicas = None, None, ended.replicas(self.tracks)
        if self.interrupts.requested and not self.interrupts.terminated:
            return RunInterrupted(where, step, final, own, replicas)
        reason = "terminated" if self.interrupts.requested else "wall_time"
        return RunUnfinished(f"{REASONS[reason]} {where}", reason, step, final, own, replicas)


def _of_replica(outcome: Outcome, number: int) -> Outcome:
    scalars, particles = jax.tree.map(lambda rows: rows[:, number], (outcome.scalars, outcome.particles))
    return Outcome(scalars, particles, outcome.rows[number], outcome.frames[number], outcome.status[number])


def _watch(tracks: Sequence[Track], dtype: object, together: bool) -> Watch:
    monitor, systems = tracks[0].settings.monitor, [track.start.system for track in tracks]
    return make_watches(monitor, systems, dtype) if together else make_watch(monitor, systems[0], dtype)
