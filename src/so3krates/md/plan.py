"""What a run would do, without doing it: frames, bytes and time, from a few steps in memory."""

from dataclasses import dataclass, replace
from time import perf_counter

from so3krates._interrupts import Interrupts
from so3krates._precision import precision_scope
from so3krates.md.engine import Engine
from so3krates.md.output import MemoryOutput
from so3krates.md.progress import Report
from so3krates.md.run import RunUnfinished
from so3krates.md.settings import Settings
from so3krates.md.state import Snapshot
from so3krates.md.writer import WAITING
from so3krates.potential import Potential

TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Plan:
    """A run in numbers."""

    degrees_of_freedom: int
    steps: int
    thermalise_steps: int
    frames: int
    file_bytes: int
    """Of the frames as they are, before any compression."""
    chunk_bytes: int
    """Of the records on the device: of the chunk that is computed, and of those being written or waiting for it."""
    steps_per_second: float

    @property
    def seconds(self) -> float:
        """From the first step to the last, thermalisation included."""
        return (self.steps + self.thermalise_steps) / self.steps_per_second


def plan(potential: Potential, start: Snapshot, settings: Settings) -> Plan:
    """Time some steps from the start, thermalisation left out; nothing is written.

    Raises:
        RunStopped: if the monitor objects within these steps already.
    """
    interrupts, memory = Interrupts(), MemoryOutput()
    marks: list[tuple[float, int]] = []

    def enough(report: Report) -> None:
        marks.append((perf_counter(), report.step))
        if marks[-1][0] - marks[0][0] > TIMED_SECONDS:
            interrupts.requested = interrupts.terminated = True

    with precision_scope(potential.dtype):
        timed = replace(settings, thermalise_steps=0)
        engine = Engine.of(potential, start.system, timed, None, interrupts, enough)
        checkpoint = engine.begin(start, memory)
        try:
            _, run = engine.run(checkpoint, memory)
        except RunUnfinished as ended:
            assert ended.run is not None
            run = ended.run
    frames = memory.frames()
    row = sum(values.nbytes for values in frames.present().values()) // len(frames)
    count = settings.steps // settings.save_every + 1
    # The last chunk is the longest; the first ones are mostly the way to and from compiled code.
    speed = run.summary.steps_per_second
    if len(marks) > 1:
        (before, first), (after, last) = marks[-2:]
        speed = (last - first) / (after - before)
    return Plan(
        degrees_of_freedom=engine.settings.integrator.degrees_of_freedom(start),
        steps=settings.steps,
        thermalise_steps=settings.thermalise_steps,
        frames=count,
        file_bytes=row * count,
        chunk_bytes=row * engine.capacity * (2 + WAITING),
        steps_per_second=speed,
    )
