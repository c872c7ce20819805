"""What a run leaves behind: of one structure or of many replicas, complete or not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from so3krates._errors import SimulationStopped, SimulationUnfinished
from so3krates._typing import Int
from so3krates.io.trajectory import Frames, Trajectory
from so3krates.md.ensembles.exchange import Exchanged
from so3krates.md.monitoring.findings import Disagreement, Event, Findings
from so3krates.md.records.summary import Summary
from so3krates.md.state import Snapshot


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its summary and its frames, in memory or in a file.

    Attributes:
        summary: temperature, drift, speed.
        path: trajectory file; None for a run in memory.
        kept: frames of a run in memory.
        made: steps of this call; 0 where the run was complete when it was resumed.
        findings: what the monitor noticed in the saved frames.
    """

    summary: Summary
    path: Path | None
    kept: Frames | None
    made: int
    findings: Findings = field(default_factory=Findings.none)

    @property
    def events(self) -> tuple[Event, ...]:
        """Bonds broken and formed, parts that have gone, disagreement of a committee: each when it was first seen."""
        return self.findings.events

    @property
    def disagreement(self) -> Disagreement:
        """Of the committee, frame by frame; without any rows if there was none."""
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
    """The monitor ended a run, or a replica that could not be computed further; carries reason, step, time and the run
    up to there."""

    def __init__(self, message: str, reason: str, step: int, time_fs: float, run: Run | None) -> None:
        super().__init__(message, reason, step)
        self.time_fs = time_fs
        self.run = run
        """None if the run failed while it was being thermalised."""


@dataclass(frozen=True, eq=False)
class Replica:
    """How one of many replicas ended."""

    final: Snapshot | None
    """Its last structure with velocities; None if it ended early."""
    run: Run | None
    """None without a frame, and for one that ended before the run was resumed."""
    ended: str | None
    """Why it ended early; None if it made all steps, or as many as the others."""
    stopped: RunStopped | None
    """The same with reason code and step, if that was in this call."""


@dataclass(frozen=True, eq=False)
class Exchanges:
    """What a temperature exchange did, from the start of the run on."""

    attempted: Int[np.ndarray, " neighbours"]
    """Between each replica and the next."""
    accepted: Int[np.ndarray, " neighbours"]
    walker: Int[np.ndarray, " replicas"]
    """The start whose configuration each replica ended with."""

    @property
    def acceptance(self) -> np.ndarray:
        """Of attempts, between neighbours; NaN where there were none. Ladders are made for 0.2 to 0.4."""
        return np.where(self.attempted > 0, self.accepted / np.maximum(self.attempted, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Replicas:
    """All replicas of a run, in the order of the starts."""

    replicas: tuple[Replica, ...]
    exchanges: Exchanges | None

    @classmethod
    def of(cls, replicas: Sequence[Replica], exchanged: Exchanged | None) -> "Replicas":
        """With what the state counts of exchanges, if there were any."""
        if exchanged is None:
            return cls(tuple(replicas), None)
        attempted, accepted = (np.asarray(each)[:-1] for each in (exchanged.attempted, exchanged.accepted))
        return cls(tuple(replicas), Exchanges(attempted, accepted, np.asarray(exchanged.walker)))

    def __len__(self) -> int:
        return len(self.replicas)

    def __getitem__(self, number: int) -> Replica:
        return self.replicas[number]

    @property
    def complete(self) -> tuple[Replica, ...]:
        """Those that did not end early."""
        return tuple(each for each in self.replicas if each.ended is None)


class RunUnfinished(SimulationUnfinished):
    """A run that ended at its wall time or because the process was told to terminate; everything before is kept.

    Attributes:
        reason: "wall_time" or "terminated".
        step: the last one.
        final: structure and velocities at that step; None of replicas, and if the run was still being thermalised.
        run: up to there; None likewise.
        replicas: all of them up to there, also those that had ended; None of one structure on its own, and if the run
            was still being thermalised.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        step: int,
        final: Snapshot | None,
        run: Run | None,
        replicas: Replicas | None = None,
    ) -> None:
        super().__init__(message)
        self.reason, self.step = reason, step
        self.final, self.run, self.replicas = final, run, replicas


class RunInterrupted(KeyboardInterrupt):
    """A run that ended at Ctrl-C, once the chunk was finished; everything before is kept.

    Attributes:
        step: as of `RunUnfinished`, and the others too.
        final: see there.
        run: see there.
        replicas: see there.
    """

    def __init__(
        self, message: str, step: int, final: Snapshot | None, run: Run | None, replicas: Replicas | None = None
    ) -> None:
        super().__init__(message)
        self.step, self.final, self.run, self.replicas = step, final, run, replicas
