"""What a run writes down: which quantities, how often, how precisely, and how large the file becomes."""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from so3krates._errors import InputError
from so3krates.config import Config
from so3krates.io.trajectory import Stored, stored_bytes

DEFAULT_EVERY_FS = 10.0
"""Interval of positions, about, if none is asked for."""
WHOLE = 1e-6
"""Relative; how far an interval may be from a multiple of the time step."""


class Recording(Config):
    """What is recorded. The first frame, at step 0, always is."""

    every_fs: float | None = Field(
        default=None,
        gt=0,
        description="interval of positions, velocities, forces and cells, fs; about 10 fs, or the whole run if that is "
        "shorter, if not given",
    )
    scalars_every_fs: float | None = Field(
        default=None,
        gt=0,
        description="interval of energies, temperature, pressure and the like, fs; that of the positions, which must "
        "be a multiple of it, if not given",
    )
    velocities: bool = Field(default=True, description="store velocities")
    forces: bool = Field(default=False, description="store forces")
    precision: Literal["float32", "float64"] | None = Field(
        default=None,
        description="of positions, velocities and forces in the file; that of the arithmetic if not given; positions "
        "farther than 128 Å from the origin take float64 in any case",
    )
    compression: Literal["none", "gzip"] = Field(
        default="none", description="gzip makes files about an eighth smaller, and writing several times slower"
    )

    @model_validator(mode="after")
    def _checked(self) -> "Recording":
        if self.every_fs is not None and self.scalars_every_fs is not None:
            if not _is_multiple(self.every_fs, self.scalars_every_fs):
                raise ValueError(
                    f"every_fs is {self.every_fs:g}, which is not a multiple of scalars_every_fs "
                    f"({self.scalars_every_fs:g}); positions need scalars of the same steps."
                )
        return self

    def intervals(self, timestep_fs: float, steps: int) -> tuple[int, int]:
        """Steps from frame to frame, and from scalars to scalars.

        Args:
            timestep_fs: fs.
            steps: of the whole run, which the interval does not exceed if it is not given.

        Raises:
            InputError: for intervals that are not multiples of the time step, or of each other.
        """
        scalars = None
        if self.scalars_every_fs is not None:
            scalars = _steps(self.scalars_every_fs, timestep_fs, "scalars_every_fs")
        if self.every_fs is not None:
            every = _steps(self.every_fs, timestep_fs, "every_fs")
            return every, scalars or every
        every = max(1, min(round(DEFAULT_EVERY_FS / timestep_fs), steps))
        if scalars is not None:
            every = max(1, round(every / scalars)) * scalars
        return every, scalars or every

    @property
    def open_intervals(self) -> tuple[str, ...]:
        """Which of `save_every` and `scalars_every` nobody asked for."""
        if self.scalars_every_fs is not None:
            return () if self.every_fs is not None else ("save_every",)
        return () if self.every_fs is not None else ("save_every", "scalars_every")

    def dtype(self, arithmetic: str) -> str:
        """Precision in the file of what was computed in `arithmetic`."""
        return self.precision or arithmetic

    def stored(self, arithmetic: str, *, moving_cell: bool, extras: tuple[str, ...], own_scalars: bool) -> Stored:
        """What a trajectory file needs room for."""
        return Stored(
            dtype=self.dtype(arithmetic),
            velocities=self.velocities,
            forces=self.forces,
            moving_cell=moving_cell,
            extras=extras,
            own_scalars=own_scalars,
            compression=self.compression,
        )


def estimated_bytes(
    atoms: int,
    frames: int,
    scalar_rows: int,
    recording: Recording,
    dtype: str | np.dtype,
    moving_cell: bool,
    cell: bool = True,
    extras: tuple[str, ...] = (),
) -> int:
    """Size of a trajectory file, for a dry run; what compression saves is not counted.

    Args:
        atoms: their number; near the origin, else positions take float64.
        frames: rows of positions.
        scalar_rows: rows of scalars; as many as frames if they have no interval of their own.
        recording: what is recorded.
        dtype: of the arithmetic.
        moving_cell: whether the cell moves.
        cell: whether there is one.
        extras: scalars that only some runs have.

    Raises:
        InputError: for fewer scalars than frames.
    """
    if scalar_rows < frames:
        raise InputError(f"there are {scalar_rows} rows of scalars for {frames} frames; each frame has one.")
    own = scalar_rows > frames
    stored = recording.stored(np.dtype(dtype).name, moving_cell=moving_cell, extras=extras, own_scalars=own)
    return stored_bytes(atoms, frames, scalar_rows if own else 0, stored, cell)


def _is_multiple(interval: float, part: float) -> bool:
    count = round(interval / part)
    return count >= 1 and abs(count * part - interval) <= WHOLE * interval


def _steps(interval_fs: float, timestep_fs: float, name: str) -> int:
    if not _is_multiple(interval_fs, timestep_fs):
        near = max(1, round(interval_fs / timestep_fs)) * timestep_fs
        raise InputError(f"{name} is {interval_fs:g}; it must be a multiple of the time step, such as {near:g} fs.")
    return round(interval_fs / timestep_fs)
