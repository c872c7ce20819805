"""Where frames go: into memory or into files. A commit is one chunk, whole."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import ase
import ase.io
import numpy as np

from so3krates._errors import FileError
from so3krates.io.atomic import write_atomically
from so3krates.io.journal import journal_path
from so3krates.io.trajectory import (
    Frames,
    Trajectory,
    append_frames,
    change_settings,
    create_trajectory,
    frames_to_ase,
    truncate_after,
)
from so3krates.md.records.checkpoint import counted, glance
from so3krates.md.records.run_file import picture_path, summary_path
from so3krates.md.records.settings import CHANGEABLE, Settings, differences
from so3krates.md.state import Snapshot
from so3krates.system import System

DUMPED = 5
"""Good frames written before the one that failed."""


@runtime_checkable
class Output(Protocol):
    """Receives frames."""

    path: Path | None

    def add(self, frames: Frames, scalars: dict[str, np.ndarray] | None) -> None:
        """Keep frames, and scalars where these have an interval of their own."""
        ...

    def cut(self, step: int, frames: int) -> None:
        """Forget what lies behind a step; so many frames must be left."""
        ...

    def series(self) -> dict[str, np.ndarray]:
        """Scalars of all frames, and those between them."""
        ...

    def frames(self) -> Frames | None:
        """All frames, if they are in memory."""
        ...

    def dump(self, failed: Frames) -> Path | None:
        """Write the last good frames and the one that failed where people can look at them."""
        ...


class MemoryOutput:
    """Frames in memory."""

    path: Path | None = None

    def __init__(self) -> None:
        self._parts: list[Frames] = []
        self._scalars: list[dict[str, np.ndarray]] = []

    def add(self, frames: Frames, scalars: dict[str, np.ndarray] | None) -> None:
        self._parts.append(frames)
        if scalars is not None:
            self._scalars.append(scalars)

    def cut(self, step: int, frames: int) -> None:
        raise FileError(f"a run in memory cannot be resumed from step {step}, frame {frames}; write it to a file.")

    def series(self) -> dict[str, np.ndarray]:
        if not self._scalars:
            return self.frames().series()
        names = self._scalars[0]
        return {name: np.concatenate([part[name] for part in self._scalars]) for name in names}

    def frames(self) -> Frames:
        self._parts = [Frames.join(self._parts)]
        return self._parts[0]

    def dump(self, failed: Frames) -> Path | None:
        del failed
        return None


class FileOutput:
    """A trajectory."""

    path: Path | None

    def __init__(self, path: Path, start: Snapshot, settings: Settings, exchanged: bool = False) -> None:
        self.path = self._trajectory = path
        self._system = start.system
        self._settings = settings
        self._exchanged = exchanged

    def create(self) -> None:
        """Start a trajectory without frames, in the place of any other.

        Raises:
            FileError: if it cannot be written; what an older run left is then still there.
        """
        path, settings = self._trajectory, self._settings
        recording = settings.recording
        create_trajectory(
            path,
            self._system,
            settings.as_dict(),
            forces=recording.forces,
            dtype=recording.dtype(settings.dtype),
            reference_energy=settings.reference_energy,
            velocities=recording.velocities,
            moving_cell=settings.integrator.moves_cell,
            extras=extras(self._system, settings, exchanged=self._exchanged),
            own_scalars=settings.own_scalars,
            compression=recording.compression,
        )
        # What an older run of this name left would be taken for that of the new one.
        for old in companions(path):
            old.unlink(missing_ok=True)

    def refuse_other_settings(self) -> None:
        """Raise FileError unless the trajectory belongs to a run with these settings."""
        before, now = Trajectory(self._trajectory).settings, json.loads(json.dumps(self._settings.as_dict()))
        before, now = ({name: each[name] for name in each if name not in CHANGEABLE} for each in (before, now))
        other = differences(before, now)
        if other:
            raise FileError(
                f"'{self._trajectory}' belongs to a run with another model, start structure or settings "
                f"({'; '.join(other)}); resume with the same ones, or start anew with --overwrite."
            )

    def note_changes(self) -> None:
        """Store what of the settings may be another when a run resumes, and is."""
        now = self._settings.as_dict()
        change_settings(
            self._trajectory, Trajectory(self._trajectory).settings | {name: now[name] for name in CHANGEABLE}
        )

    def cut(self, step: int, frames: int) -> None:
        truncate_after(self._trajectory, step, frames)

    def add(self, frames: Frames, scalars: dict[str, np.ndarray] | None) -> None:
        if len(frames) or (scalars is not None and len(scalars["step"])):
            append_frames(self._trajectory, frames, scalars)

    def series(self) -> dict[str, np.ndarray]:
        return Trajectory(self._trajectory).series()

    def frames(self) -> None:
        return None

    def dump(self, failed: Frames) -> Path | None:
        trajectory = Trajectory(self._trajectory)
        good = trajectory.read(max(0, len(trajectory) - DUMPED))
        target = stopped_path(self._trajectory)
        frames = [*frames_to_ase(good, self._system, self._settings.reference_energy), *self._failed_atoms(failed)]
        text = io.StringIO()
        ase.io.write(text, frames, format="extxyz")
        try:
            write_atomically(target, text.getvalue().encode())
        except FileError:
            return None  # why the run stopped must still be said
        return target

    def _failed_atoms(self, failed: Frames) -> list[ase.Atoms]:
        """The failed frame; without energy and velocities where these are not numbers a reader would accept."""
        vectors = [values for values in (failed.positions, failed.velocities, failed.cells) if values is not None]
        if all(np.isfinite(values).all() for values in (*vectors, failed.potential_energy)):
            return frames_to_ase(failed, self._system, self._settings.reference_energy)
        atoms = self._system.to_ase()
        atoms.positions = np.nan_to_num(np.asarray(failed.positions[0], np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        atoms.info |= {"time_fs": float(failed.time_fs[0]), "step": int(failed.step[0]), "not_finite": True}
        return [atoms]


def stopped_path(trajectory: Path) -> Path:
    """run.h5 → run_stopped.extxyz."""
    return trajectory.with_name(trajectory.stem + "_stopped.extxyz")


def companions(trajectory: Path) -> tuple[Path, ...]:
    """What a run has beside its trajectory, but for the checkpoint, which may be that of many."""
    return (
        journal_path(trajectory),
        summary_path(trajectory),
        picture_path(trajectory),
        stopped_path(trajectory),
    )


def extras(system: System, settings: Settings, *, exchanged: bool) -> tuple[str, ...]:
    """Scalars that not all runs have."""
    has = {
        "pressure": all(system.pbc) and not settings.isolated,
        "volume": settings.integrator.moves_cell,
        "walker": exchanged,
    }
    return tuple(name for name, present in has.items() if present)


def refuse_existing(trajectories: Sequence[Path], checkpoint: Path) -> None:
    """Raise FileError for the first file that would be lost; a checkpoint may be that of a run with other trajectories:
    run.h5 and replicas of that name share it."""
    how = "resume the run (resume=True, --resume), overwrite it (overwrite=True, --overwrite), or choose another name."
    for path in trajectories:
        if path.exists():
            raise FileError(f"'{path}' exists; {how}")
    if checkpoint.exists():
        raise FileError(f"'{checkpoint}' exists, the checkpoint of {counted(glance(checkpoint).replicas)}; {how}")


def resumable(checkpoint: Path, trajectories: Sequence[Path], replicas: int | None) -> bool:
    """Whether there is something to resume; False if the run has to begin.

    Args:
        checkpoint: of the run.
        trajectories: of the run, or of all replicas.
        replicas: as many as asked for; None for a run on its own.

    Raises:
        FileError: for a checkpoint of another number of replicas, and where either a trajectory or the checkpoint is
            missing.
    """
    if checkpoint.exists():
        found = glance(checkpoint).replicas
        if found != replicas:
            raise FileError(
                f"'{checkpoint}' is the checkpoint of {counted(found)}, and {counted(replicas)} cannot go on from it; "
                f"resume {counted(found)}, or choose another name."
            )
        missing = [path for path in trajectories if not path.exists()]
        if missing:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            raise FileError(
                f"'{checkpoint}' exists, but its trajectory '{missing[0]}'{more} missing; put them back, or start anew "
                "with overwrite=True or --overwrite in place of resume."
            )
        return True
    for path in trajectories:
        # A run that was killed before its first checkpoint left at most the frame of the start.
        if path.exists() and len(Trajectory(path)) > 1:
            raise FileError(
                f"'{path}' has no checkpoint {checkpoint.name}, so it cannot be resumed; put it back, or start anew "
                "with overwrite=True or --overwrite in place of resume."
            )
    return False
