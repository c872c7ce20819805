"""What a run would do, without doing it: frames, bytes and time, from a few steps in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from so3krates._interrupts import Interrupts
from so3krates._precision import precision_scope
from so3krates.md.engine.beginning import begin
from so3krates.md.engine.engine import Engine
from so3krates.md.engine.record_room import record_bytes
from so3krates.md.engine.telling import Report
from so3krates.md.engine.track import Track
from so3krates.md.ensembles.exchange import TemperatureExchange
from so3krates.md.monitoring.committee import Committee
from so3krates.md.monitoring.inspection import Inspector
from so3krates.md.records.output import MemoryOutput, extras
from so3krates.md.records.recording import estimated_bytes
from so3krates.md.records.run import RunUnfinished
from so3krates.md.records.settings import Settings
from so3krates.md.records.writer import WAITING
from so3krates.md.state import Snapshot
from so3krates.potential import Potential

TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Plan:
    """A run in numbers; of many replicas, those of each where nothing else is said."""

    degrees_of_freedom: int
    steps: int
    thermalise_steps: int
    frames: int
    scalar_rows: int
    """As many as frames if scalars have no interval of their own."""
    file_bytes: int
    """Of a trajectory, before any compression."""
    chunk_bytes: int
    """Of the records on the device, of all replicas: of the chunk that is computed, and of those being written or
    waiting for it."""
    steps_per_second: float
    """With all replicas at once."""
    done: int
    """Steps made already, of a run that resumes."""
    start_seconds: float
    """Before the first step: lists and compilation."""

    @property
    def seconds(self) -> float:
        """From the first step that is left to the last, thermalisation included."""
        return (self.left + (0 if self.done else self.thermalise_steps)) / self.steps_per_second

    @property
    def left(self) -> int:
        """Steps to make."""
        return max(self.steps - self.done, 0)


def plan(
    potential: Potential,
    starts: Sequence[Snapshot],
    settings: Sequence[Settings],
    *,
    together: bool = False,
    exchange: TemperatureExchange | None = None,
    committee: Sequence[Potential] = (),
    done: int = 0,
) -> Plan:
    """Time some steps from the start, thermalisation left out; nothing is written.

    Args:
        potential: of all.
        starts: of each replica.
        settings: of each replica.
        together: as replicas, also if there is only one.
        exchange: of temperatures.
        committee: other potentials.
        done: steps made already, of a run that resumes.

    Raises:
        InputError: for a committee that is none.
        RunStopped: if the monitor objects within these steps already.
    """
    interrupts = Interrupts()
    marks: list[tuple[float, int]] = []

    def enough(report: Report) -> None:
        marks.append((perf_counter(), report.step))
        if marks[-1][0] - marks[0][0] > TIMED_SECONDS:
            interrupts.requested = interrupts.terminated = True

    first, began = settings[0], perf_counter()
    with precision_scope(potential.dtype):
        members = Committee.of(first.model, committee, starts[0].system, first.monitor)
        tracks = []
        for number, (start, each) in enumerate(zip(starts, settings, strict=True)):
            inspector = Inspector(each.monitor, start.system, each.frame_fs, members)
            timed = replace(each, thermalise_steps=0)
            tracks.append(Track(timed, start, inspector, MemoryOutput(), number if together else None))
        engine = Engine.of(
            potential,
            tracks,
            together=together,
            exchange=exchange,
            committee=members is not None,
            interrupts=interrupts,
            report=enough,
        )
        try:
            run = next((run for _, run in engine.run(begin(engine)).results if run is not None), None)
        except RunUnfinished as ended:
            each = () if ended.replicas is None else ended.replicas.replicas
            run = ended.run or next((one.run for one in each if one.run is not None), None)
    for track in tracks:
        if track.stopped is not None:
            raise track.stopped
    assert run is not None
    # The last chunk is the longest; the first ones are mostly the way to and from compiled code.
    speed = run.summary.steps_per_second
    if len(marks) > 1:
        (before, begun), (after, last) = marks[-2:]
        speed = (last - begun) / (after - before)
    starting = (marks[0][0] if marks else perf_counter()) - began
    if first.thermalise_steps and not done:
        starting *= 2.0  # a program of its own, which is about as long to compile
    rows, frames = first.steps // first.scalars_every + 1, first.steps // first.save_every + 1
    return Plan(
        degrees_of_freedom=first.integrator.degrees_of_freedom(starts[0]),
        steps=first.steps,
        thermalise_steps=first.thermalise_steps,
        frames=frames,
        scalar_rows=rows,
        file_bytes=_file_bytes(starts[0], first, frames, rows, exchanged=exchange is not None),
        chunk_bytes=record_bytes(first, len(engine.tracks), engine.record_vectors) * (2 + WAITING),
        steps_per_second=speed,
        done=done,
        start_seconds=starting,
    )


def _file_bytes(start: Snapshot, settings: Settings, frames: int, rows: int, *, exchanged: bool) -> int:
    return estimated_bytes(
        len(start.system),
        frames,
        rows,
        settings.recording,
        settings.dtype,
        settings.integrator.moves_cell,
        cell=start.system.cell is not None,
        extras=extras(start.system, settings, exchanged=exchanged),
    )
