"""How many frames and rows of scalars the record of a chunk has room for, on the device."""

import numpy as np

from so3krates.md.engine.loop import Room
from so3krates.md.records.settings import Settings

RECORD_BYTES = 8 * 2**20
"""Upper limit for the frames a chunk holds on the device."""
MOST_ROWS = 16384
"""Of scalars, likewise."""
SCALARS = 8
"""Numbers in a row, about."""


def record_room(settings: Settings, replicas: int, vectors: int) -> Room:
    """Room for at least eight frames and the rows of scalars between them.

    Args:
        settings: of each replica.
        replicas: their number.
        vectors: in a frame of each: positions, velocities and, where they are recorded, forces.
    """
    frames = int(np.clip(RECORD_BYTES // _bytes(settings, replicas, vectors, 1, 1), 8, MOST_ROWS))
    ratio = settings.save_every // settings.scalars_every
    return Room(int(np.clip(frames * ratio, frames, max(frames, MOST_ROWS))), frames)


def record_bytes(settings: Settings, replicas: int, vectors: int) -> int:
    """Of such a record, about."""
    room = record_room(settings, replicas, vectors)
    return _bytes(settings, replicas, vectors, room.rows, room.frames)


def _bytes(settings: Settings, replicas: int, vectors: int, rows: int, frames: int) -> int:
    numbers = frames * vectors * 3 + rows * SCALARS
    return numbers * replicas * np.dtype(settings.dtype).itemsize
