"""The host's side of one trajectory: from rows of a record to frames, to what the monitor says, to files."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from so3krates._errors import FileError
from so3krates._typing import Float
from so3krates.io.trajectory import OBSERVABLES, WIDE, Frames
from so3krates.md.engine.loop import Outcome
from so3krates.md.monitoring.inspection import Inspector, Stop
from so3krates.md.monitoring.monitor import Status
from so3krates.md.monitoring.sentences import sentence
from so3krates.md.monitoring.watch import Watch
from so3krates.md.records.checkpoint import Progress
from so3krates.md.records.output import Output, stopped_path
from so3krates.md.records.run import Run, RunStopped
from so3krates.md.records.run_file import says_complete, write_summary
from so3krates.md.records.settings import Settings
from so3krates.md.records.summary import summarize
from so3krates.md.records.wording import has_ramp
from so3krates.md.state import Snapshot, State, origin_of, snapshot_of
from so3krates.units import FEMTOSECOND, GPA

CROWDED = "too_crowded"
"""Reason code of a replica whose neighbour list cannot be made large enough; the others are those of the monitor."""


class Seen(NamedTuple):
    """Of a chunk and one replica, what was recorded and what the inspector says of it."""

    outcome: Outcome
    """On the host."""
    frames: Frames
    scalars: dict[str, np.ndarray]
    """Those between frames too."""
    stop: Stop | None


@dataclass(eq=False)
class Track:
    """One replica as people see it; it moves on with each chunk that is committed."""

    settings: Settings
    start: Snapshot
    inspector: Inspector
    output: Output
    number: int | None = None
    """Of the replica; None for a run on its own."""
    devices: int = 1
    """Among which it and the other replicas are shared."""
    origin: Float[np.ndarray, " 3"] = field(init=False)
    frames: int = 0
    reference: float = float("nan")
    """The conserved quantity at the start of the run, eV."""
    stopped: RunStopped | None = None
    """What ended this replica in this call."""
    ended: str | None = None
    """Why it goes on no further, also if it ended before this call."""
    told: bool = False
    """Whether people were told that it ended."""

    def __post_init__(self) -> None:
        self.origin = origin_of(self.start.system)

    @property
    def progress(self) -> Progress:
        """For a checkpoint."""
        return Progress(self.origin, self.frames, self.reference, self.inspector.findings, self.ended)

    def before(self, settings: Settings, start: Snapshot, output: Output) -> "Track":
        """A track for a run that comes before this one, of which the monitor has seen nothing."""
        return Track(settings, start, self.inspector.fresh(settings.frame_fs), output, self.number)

    def remember(self, progress: Progress, step: int) -> None:
        """Go on from a checkpoint, whose trajectory is cut off behind it."""
        self.origin, self.frames, self.reference = progress.origin, progress.frames, progress.reference
        self.ended = progress.ended
        self.inspector.remember(progress.findings)
        self.output.cut(step, progress.frames)

    def look(self, outcome: Outcome) -> Seen:
        """Show the inspector the frames of a chunk: of this replica alone, on the host."""
        frames, scalars = self.read(outcome)
        if np.isnan(self.reference) and len(frames):
            self.reference = float(frames.conserved[0])
        return Seen(outcome, frames, scalars, self.inspector.look(frames))

    def commit(
        self, seen: Seen, behind: Callable[[], State], watch: Watch, retries: int, speed: float, made: int
    ) -> None:
        """Keep the frames of a chunk, and what ended the replica, if anything did.

        A frame that ends the run is none to go on from, nor are those behind it: they are not kept.

        Args:
            seen: of the chunk.
            behind: the state of this replica behind the chunk; to cut it out of those of many takes long, and it is
                needed only where something ended.
            watch: limits of the monitor.
            retries: of the run so far.
            speed: steps per second so far.
            made: steps of this call.
        """
        outcome, frames, scalars, stop = seen
        kept = frames if self.settings.recording.forces else replace(frames, forces=None)
        if stop is not None:
            kept = kept[: stop.row]
            early = scalars["step"] < stop.event.step
            scalars = {name: values[early] for name, values in scalars.items()}
        self.output.add(kept, scalars if self.settings.own_scalars else None)
        self.frames += len(kept)
        status = Status(int(outcome.status))
        if stop is None and status is Status.RUNNING:
            return
        state = behind()
        if stop is not None:
            failed = frames[slice(stop.row, stop.row + 1)]
            what = f"{stop.event.sentence}, seen at a saved frame"
            step = stop.event.step
            self.end(self._stopped(stop.event.kind, what, step, failed, state, retries, speed, made))
        else:
            failed = self.read(outcome, failed=True)[0]
            what = sentence(status, watch, state, float(failed.conserved[0]), self.reference, self.start.system)
            step = int(state.step)
            self.end(self._stopped(status.reason, what, step, failed, state, retries, speed, made))

    def give_up(self, error: str, state: State, retries: int, speed: float, made: int) -> None:
        """End the replica at a state that is valid, but from which no further step can be computed.

        Args:
            error: why not.
            state: of this replica.
            retries: of the run so far.
            speed: steps per second so far.
            made: steps of this call.
        """
        what = f"in the steps behind it {error.rstrip('.')}"
        self.end(self._stopped(CROWDED, what, int(state.step), None, state, retries, speed, made))

    def end(self, stopped: RunStopped) -> None:
        """It goes on no further."""
        self.stopped, self.ended = stopped, str(stopped)

    def told_now(self) -> bool:
        """Whether that it ended is told now, and not before."""
        told, self.told = self.told, True
        return not told

    def read(self, outcome: Outcome, *, failed: bool = False) -> tuple[Frames, dict[str, np.ndarray]]:
        """Rows of a record in outside units: frames, and the scalars between them too."""
        counts = int(outcome.rows), int(outcome.frames)
        of_scalars, of_frames = (slice(n, n + 1) if failed else slice(0, n) for n in counts)
        scalars = self._scalars(outcome, of_scalars)
        saved = np.ones(1, bool) if failed else scalars["step"] % self.settings.save_every == 0
        particles = outcome.particles
        far = float(np.abs(self.start.system.positions).max()) > WIDE
        dtype = np.dtype(self.settings.recording.dtype(self.settings.dtype))
        positions = np.asarray(particles.positions[of_frames], np.float64) + self.origin
        velocities = particles.velocities[of_frames] * particles.velocities.dtype.type(FEMTOSECOND)
        cells = None if particles.cells is None else np.asarray(particles.cells[of_frames], np.float64)
        forces = None if particles.forces is None else np.asarray(particles.forces[of_frames], dtype)
        frames = Frames(
            positions=positions.astype(np.float64 if far else dtype),
            velocities=velocities.astype(dtype) if self.settings.recording.velocities or failed else None,
            forces=forces,
            cells=cells,
            **{name: values[saved] for name, values in scalars.items()},
        )
        return frames, scalars

    def _scalars(self, outcome: Outcome, rows: slice) -> dict[str, np.ndarray]:
        record = outcome.scalars
        step = np.asarray(record.step[rows], np.int64)
        found = {"step": step, "time_fs": step * self.settings.timestep_fs}
        found |= {name: np.asarray(getattr(record, name)[rows], np.float64) for name in OBSERVABLES}
        if record.pressure is not None:
            found["pressure"] = np.asarray(record.pressure[rows], np.float64) / GPA
        if record.volume is not None:
            found["volume"] = np.asarray(record.volume[rows], np.float64)
        if record.walker is not None:
            found["walker"] = np.asarray(record.walker[rows], np.int64)
        return found

    def snapshot(self, state: State) -> Snapshot:
        """Structure and velocities of its state."""
        return snapshot_of(state, self.start.system, self.origin)

    def result(self, step: int, state: State, retries: int, speed: float, made: int, *, stopped: bool = False) -> Run:
        """The run up to here; there must be a frame. One that the monitor stopped was not in equilibrium."""
        summary = summarize(
            self.output.series(),
            steps=step,
            frames=self.frames,
            atoms=len(self.start.system),
            degrees_of_freedom=int(state.freedom),
            steps_per_second=speed,
            timestep_fs=self.settings.timestep_fs,
            retries=retries,
            mass=float(self.start.system.masses.sum()),
            in_equilibrium=not (stopped or has_ramp(self.settings.as_dict()["ensemble"])),
            disagreement=self.inspector.findings.disagreement,
        )
        return Run(summary, self.output.path, self.output.frames(), made, self.inspector.findings)

    def summarised(self, run: Run, ended: BaseException | None) -> None:
        """Write the page about the run beside its trajectory."""
        write_summary(run, self.start.system, self.settings, ended, self.devices)

    def completed(self, run: Run) -> None:
        """Leave behind what belongs to a complete run: also to one that was killed before it could, and not what an
        earlier stop left."""
        if run.path is None:
            return
        if run.made or not says_complete(run.path, run.summary.steps):
            self.summarised(run, None)
        stopped_path(run.path).unlink(missing_ok=True)

    def _stopped(self, reason: str, what: str, step: int, failed: Frames | None, *rest: Any) -> RunStopped:
        """Dump the frame that failed, if there is one, and say what happened."""
        dumped = None if failed is None else self.output.dump(failed)
        where = "" if dumped is None else f"; the last good frames and this one are in '{dumped}'"
        who = self.start.system.formula if self.number is None else f"replica {self.number}"
        time_fs = step * self.settings.timestep_fs
        run = self.result(step, *rest, stopped=True) if self.frames else None
        message = f"{who} at step {step} ({time_fs * 1e-3:.4f} ps): {what}{where}."
        stopped = RunStopped(message, reason, step, time_fs, run)
        if run is not None:
            with suppress(FileError):  # why the run stopped must be said all the same
                self.summarised(run, stopped)
        return stopped


def first_stop(seen: Iterable[Seen]) -> int | None:
    """The step of the first frame that ends any of these replicas."""
    return min((each.stop.event.step for each in seen if each.stop is not None), default=None)
