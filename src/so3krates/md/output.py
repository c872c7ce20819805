"""Where frames and checkpoints go: into memory or into files. A commit is one chunk, whole."""

import io
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import ase
import ase.io
import numpy as np

from so3krates._errors import FileError
from so3krates.io.atomic import write_atomically
from so3krates.io.trajectory import (
    Frames,
    Trajectory,
    append_frames,
    create_trajectory,
    frames_to_ase,
    truncate_frames,
)
from so3krates.md.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from so3krates.md.run_file import picture_path, summary_path
from so3krates.md.settings import CHANGEABLE, Settings
from so3krates.md.state import State
from so3krates.neighbors.lists import Neighbors
from so3krates.system import System

DUMPED = 5
"""Good frames written before the one that failed."""


@runtime_checkable
class Output(Protocol):
    """Receives frames."""

    path: Path | None

    def add(self, frames: Frames) -> None:
        """Keep frames."""
        ...

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep the state behind all frames added so far."""
        ...

    def series(self) -> dict[str, np.ndarray]:
        """Scalars of all frames."""
        ...

    def frames(self) -> Frames | None:
        """All frames, if they are in memory."""
        ...

    def dump(self, failed: Frames) -> Path | None:
        """Write the last good frames and the one that failed where people can look at them."""
        ...


class MemoryOutput:
    """Frames in memory; no checkpoints."""

    path: Path | None = None

    def __init__(self) -> None:
        self._parts: list[Frames] = []

    def add(self, frames: Frames) -> None:
        self._parts.append(frames)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        del checkpoint

    def series(self) -> dict[str, np.ndarray]:
        return self.frames().series()

    def frames(self) -> Frames:
        self._parts = [Frames.join(self._parts)]
        return self._parts[0]

    def dump(self, failed: Frames) -> Path | None:
        del failed
        return None


class FileOutput:
    """A trajectory, and a checkpoint beside it."""

    path: Path | None

    def __init__(self, path: Path, system: System, settings: Settings) -> None:
        self.path = self._trajectory = path
        self._system = system
        self._settings = json.loads(json.dumps(settings.as_dict()))
        self._hash = settings.hash()
        self._reference = settings.reference_energy

    @classmethod
    def create(cls, path: Path, system: System, settings: Settings, *, overwrite: bool) -> "FileOutput":
        """Start a trajectory without frames.

        Raises:
            FileError: if the file exists and may not be overwritten, or cannot be written.
        """
        if path.exists() and not overwrite:
            raise FileError(
                f"'{path}' exists; resume the run (resume=True, --resume), overwrite it (overwrite=True, --overwrite), "
                "or choose another name."
            )
        # What an older run of this name left would be taken for that of the new one.
        for old in (checkpoint_path(path), path.with_name(path.name + ".journal"), summary_path(path)):
            old.unlink(missing_ok=True)
        picture_path(path).unlink(missing_ok=True)
        stopped_path(path).unlink(missing_ok=True)
        create_trajectory(
            path,
            system,
            settings.as_dict(),
            forces=settings.save_forces,
            dtype=settings.dtype,
            reference_energy=settings.reference_energy,
        )
        return cls(path, system, settings)

    def restore(self, template: State, neighbors: Neighbors) -> Checkpoint:
        """The last checkpoint, with the trajectory cut off behind it.

        Raises:
            FileError: if checkpoint or trajectory are damaged or belong to another run.
        """
        self._refuse_other_settings()
        checkpoint = load_checkpoint(checkpoint_path(self._trajectory), template, neighbors, self._hash)
        if len(Trajectory(self._trajectory)) != checkpoint.frames:
            truncate_frames(self._trajectory, checkpoint.frames)
        return checkpoint

    def _refuse_other_settings(self) -> None:
        before, now = Trajectory(self._trajectory).settings, self._settings
        other = sorted(name for name in now if name not in CHANGEABLE and before.get(name) != now[name])
        if other:
            raise FileError(
                f"{self._trajectory} belongs to a run with another model, start structure or settings "
                f"({', '.join(other)}); resume with the same ones, or start anew with --overwrite."
            )

    def add(self, frames: Frames) -> None:
        if len(frames):
            append_frames(self._trajectory, frames)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        save_checkpoint(checkpoint_path(self._trajectory), checkpoint, self._hash)

    def series(self) -> dict[str, np.ndarray]:
        return Trajectory(self._trajectory).series()

    def frames(self) -> None:
        return None

    def dump(self, failed: Frames) -> Path | None:
        trajectory = Trajectory(self._trajectory)
        good = trajectory.read(max(0, len(trajectory) - DUMPED))
        target = stopped_path(self._trajectory)
        frames = [*frames_to_ase(good, self._system, self._reference), *self._failed_atoms(failed)]
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
            return frames_to_ase(failed, self._system, self._reference)
        atoms = self._system.to_ase()
        atoms.positions = np.nan_to_num(np.asarray(failed.positions[0], np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        atoms.info |= {"time_fs": float(failed.time_fs[0]), "step": int(failed.step[0]), "not_finite": True}
        return [atoms]


def stopped_path(trajectory: Path) -> Path:
    """run.h5 → run_stopped.extxyz."""
    return trajectory.with_name(trajectory.stem + "_stopped.extxyz")


def resumable(path: Path) -> bool:
    """Whether there is something to resume; False if the run has to begin.

    Raises:
        FileError: for a trajectory with frames but without a checkpoint.
    """
    if checkpoint_path(path).exists() and path.exists():
        return True
    # A run that was killed before its first checkpoint left at most the frame of the start.
    if path.exists() and len(Trajectory(path)) > 1:
        raise FileError(f"'{path}' has no checkpoint {checkpoint_path(path).name}, so it cannot be resumed.")
    return False
