"""What a run records: intervals that fit each other, and the size of the file before there is one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so3krates._errors import ConfigError, InputError
from so3krates.io.trajectory import Frames, Trajectory, append_frames, create_trajectory
from so3krates.md.records.recording import Recording, estimated_bytes
from so3krates.system import System


@pytest.mark.parametrize(
    ("every_fs", "scalars_every_fs", "timestep_fs", "steps", "expected"),
    [
        (None, None, 0.5, 1000, (20, 20)),  # 10 fs
        (None, None, 0.5, 7, (7, 7)),
        (None, None, 20.0, 1000, (1, 1)),
        (25.0, None, 0.5, 1000, (50, 50)),
        (25.0, 2.5, 0.5, 1000, (50, 5)),
        (None, 2.5, 0.5, 1000, (20, 5)),
        (None, 4.5, 0.5, 1000, (18, 9)),
        (None, 100.0, 0.5, 1000, (200, 200)),
        (0.9, 0.3, 0.1, 1000, (9, 3)),
    ],
)
def test_intervals(
    every_fs: float | None, scalars_every_fs: float | None, timestep_fs: float, steps: int, expected: tuple[int, int]
) -> None:
    recording = Recording(every_fs=every_fs, scalars_every_fs=scalars_every_fs)
    every, scalars = recording.intervals(timestep_fs, steps)
    assert (every, scalars) == expected and every % scalars == 0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"every_fs": 10.0, "scalars_every_fs": 4.0}, "every_fs is 10, which is not a multiple of scalars_every_fs"),
        ({"every_fs": 5.0, "scalars_every_fs": 10.0}, "not a multiple of scalars_every_fs"),
        ({"every_fs": 0.0}, "every_fs"),
        ({"every_fs": float("inf")}, "every_fs"),
        ({"precision": "float16"}, "precision"),
        ({"compression": "zip"}, "compression"),
        ({"forcs": True}, "unknown key 'forcs'"),
    ],
)
def test_impossible_recordings(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Recording.parse(values, "recording")


def test_intervals_that_are_not_whole_steps() -> None:
    with pytest.raises(InputError, match=r"every_fs is 0.7; it must be a multiple of the time step, such as 0.5 fs"):
        Recording(every_fs=0.7).intervals(0.5, 100)
    with pytest.raises(InputError, match=r"scalars_every_fs is 0.2; it must be a multiple of the time step"):
        Recording(scalars_every_fs=0.2).intervals(0.5, 100)


def test_precision_is_that_of_the_arithmetic_unless_said() -> None:
    assert Recording().dtype("float32") == "float32" and Recording().dtype("float64") == "float64"
    assert Recording(precision="float32").dtype("float64") == "float32"


@pytest.mark.parametrize(
    ("atoms", "frames", "scalar_rows", "recording", "moving_cell"),
    [
        (9, 3000, 3000, Recording(), False),
        (200, 300, 3000, Recording(forces=True, precision="float64"), True),
        (64, 900, 900, Recording(velocities=False), True),
        (2000, 20, 20, Recording(), False),
    ],
)
def test_the_size_is_known_before(
    tmp_path: Path, atoms: int, frames: int, scalar_rows: int, recording: Recording, moving_cell: bool
) -> None:
    system = System(
        np.zeros((atoms, 3)), np.ones(atoms, int), 20.0 * np.eye(3) if moving_cell else None, (moving_cell,) * 3
    )
    extras = ("pressure", "volume") if moving_cell else ()
    stored = recording.stored("float32", moving_cell=moving_cell, extras=extras, own_scalars=scalar_rows > frames)
    path = tmp_path / "run.h5"
    create_trajectory(
        path,
        system,
        {},
        forces=stored.forces,
        dtype=stored.dtype,
        velocities=stored.velocities,
        moving_cell=moving_cell,
        extras=stored.extras,
        own_scalars=stored.own_scalars,
    )
    ratio = scalar_rows // frames
    names = ("potential_energy", "kinetic_energy", "temperature", "conserved", "closest", *extras)
    step = np.arange(scalar_rows)
    scalars = {"step": step, "time_fs": 0.5 * step} | {name: np.zeros(scalar_rows) for name in names}
    vectors = np.zeros((frames, atoms, 3))
    rows = Frames(
        **{name: values[::ratio] for name, values in scalars.items()},
        positions=vectors,
        velocities=vectors,
        forces=vectors,
        cells=np.broadcast_to(np.eye(3), (frames, 3, 3)) if moving_cell else None,
    )
    part = frames // 10
    for first in range(0, frames, part):
        some = slice(first * ratio, (first + part) * ratio)
        own = {name: values[some] for name, values in scalars.items()} if stored.own_scalars else None
        append_frames(path, rows[first : first + part], own)
    assert len(Trajectory(path)) == frames
    told = estimated_bytes(
        atoms, frames, scalar_rows, recording, "float32", moving_cell, cell=moving_cell, extras=extras
    )
    assert told == pytest.approx(path.stat().st_size, rel=0.03)


def test_each_frame_has_scalars() -> None:
    with pytest.raises(InputError, match="3 rows of scalars for 5 frames"):
        estimated_bytes(9, 5, 3, Recording(), "float32", False)
