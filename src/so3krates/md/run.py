"""What a run leaves behind."""

from dataclasses import dataclass, field
from pathlib import Path

from so3krates._errors import SimulationStopped, SimulationUnfinished
from so3krates.io.trajectory import Frames, Trajectory
from so3krates.md.findings import Disagreement, Event, Findings
from so3krates.md.state import Snapshot
from so3krates.md.summary import Summary


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its summary and its frames, in memory or in a file.

    Attributes:
        summary: temperature, drift, speed.
        path: trajectory file; None for a run in memory.
        kept: frames of a run in memory.
        made: steps of this call; 0 where the run was complete when it was resumed.
        findings: what the monitor noticed in the frames.
    """

    summary: Summary
    path: Path | None
    kept: Frames | None
    made: int
    findings: Findings = field(default_factory=Findings.none)

    @property
    def events(self) -> tuple[Event, ...]:
        """Bonds broken or formed and the like, in the order in which they were seen."""
        return self.findings.events

    @property
    def disagreement(self) -> Disagreement:
        """Of the committee about forces, frame by frame; empty without one."""
        return self.findings.disagreement

    @property
    def frames(self) -> Frames:
        """All saved frames; read from the file each time, so prefer `trajectory` for parts of long runs."""
        if self.kept is not None:
            return self.kept
        return self.trajectory.read()

    @property
    def trajectory(self) -> Trajectory:
        """The file, read on demand.

        Raises:
            FileError: for a run in memory, or if the file has gone.
        """
        return Trajectory(self.path or "(in memory)")


class RunStopped(SimulationStopped):
    """The monitor ended a run; carries reason, step, time and the run up to there."""

    def __init__(self, message: str, reason: str, step: int, time_fs: float, run: Run | None) -> None:
        super().__init__(message, reason, step)
        self.time_fs = time_fs
        self.run = run
        """None if the run failed while it was being thermalised."""


class RunUnfinished(SimulationUnfinished):
    """A run that ended at its wall time or because the process was told to terminate; everything before is kept.

    Attributes:
        reason: "wall_time" or "terminated".
        step: the last one.
        final: structure and velocities at that step; None if the run was still being thermalised.
        run: up to there; None if the run was still being thermalised.
    """

    def __init__(self, message: str, reason: str, step: int, final: Snapshot | None, run: Run | None) -> None:
        super().__init__(message)
        self.reason, self.step = reason, step
        self.final, self.run = final, run
