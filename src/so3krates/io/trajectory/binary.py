"""DCD and XTC, the compact formats of programs that look at and analyse dynamics; written by mdtraj.

DCD holds float32 in Å and one interval for the whole file, which mdtraj leaves at a value of its own: the header is
corrected here. XTC holds whole hundredths of an Å (float32 for fewer than ten atoms), and step and time of each frame.
"""

import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase.geometry import cell_to_cellpar

from so3krates._errors import FileError, InputError
from so3krates._typing import Float
from so3krates.io.trajectory.frames import Frames
from so3krates.io.trajectory.reading import Trajectory
from so3krates.units import FEMTOSECOND, KCAL_PER_MOL

AKMA_FS = 1.0 / (KCAL_PER_MOL**0.5 * FEMTOSECOND)
"""Unit of time in DCD, √(u Å² mol/kcal), in fs."""
ANGSTROM_PER_NM = 10.0
EVEN = 1e-6
"""Relative; how much intervals may differ and still count as one."""
DCD_HEAD = 276
"""Bytes before the first frame."""
DCD_TITLE = 80


def check_library() -> None:
    """Refuse to begin without the library.

    Raises:
        InputError: that says how to install it.
    """
    if find_spec("mdtraj") is None:
        raise InputError(
            'DCD and XTC are written by mdtraj, which is not installed: pip install "so3krates[formats]", or convert '
            "to .extxyz."
        )


def check_even(trajectory: Trajectory, rows: range) -> None:
    """Refuse frames for DCD whose times one interval cannot say.

    Raises:
        InputError: naming the first frame that is out of step.
    """
    step, time_fs = (values[rows.start : rows.stop : rows.step] for values in trajectory.clock())
    start, stride, timestep_fs = dcd_clock(trajectory, rows)
    told = timestep_fs * (start + stride * np.arange(len(step)))
    wrong = np.abs(told - time_fs) > EVEN * max(stride * timestep_fs, 1e-3)
    if len(step) > 1 and wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{trajectory.path}: frame {rows[row]} is of {time_fs[row] * 1e-3:g} ps where even intervals would have "
            f"{told[row] * 1e-3:g} ps, and DCD knows one interval only; convert to .xtc, or a part with --start-ps and "
            "--stop-ps."
        )


def dcd_clock(trajectory: Trajectory, rows: range) -> tuple[int, int, float]:
    """First step, steps from frame to frame, and time step in fs."""
    step, time_fs = (values[rows.start : rows.stop : rows.step] for values in trajectory.clock())
    if len(step) > 1:
        stride = int(step[1] - step[0])
        return int(step[0]), stride, float(time_fs[1] - time_fs[0]) / stride
    told = float(trajectory.settings.get("timestep_fs", 0.0))
    return int(step[0]), 1, float(time_fs[0]) / int(step[0]) if step[0] else told


class Binary:
    """A DCD or XTC file being written.

    Raises:
        FileError: if the disk is full, or the file cannot be written.
    """

    def __init__(self, path: Path, target: Path) -> None:
        from mdtraj.formats import DCDTrajectoryFile, XTCTrajectoryFile

        self._target = target
        self._dcd = target.suffix.lower() == ".dcd"
        self._file = (DCDTrajectoryFile if self._dcd else XTCTrajectoryFile)(str(path), "w", force_overwrite=True)

    def add(
        self,
        frames: Frames,
        positions: Float[np.ndarray, "frames atoms 3"],
        cells: Float[np.ndarray, "frames 3 3"] | None,
    ) -> None:
        """Add frames; `positions` and `cells` (Å, a along x) replace theirs."""
        self._call(self._file.write, **(self._in_dcd if self._dcd else self._in_xtc)(frames, positions, cells))

    def close(self) -> None:
        """What is still in memory goes to the disk."""
        self._call(self._file.close)

    def _call(self, function: Callable[..., Any], **arguments: Any) -> None:
        try:
            function(**arguments)
        # The library fails in several ways where a disk is full, by a TypeError among them.
        except (OSError, RuntimeError, TypeError) as error:
            raise FileError(
                f"'{self._target}' cannot be written: mdtraj says '{error}'; the disk may be full. What was there "
                "before is unchanged."
            ) from error

    @staticmethod
    def _in_dcd(frames: Frames, positions: np.ndarray, cells: np.ndarray | None) -> dict[str, Any]:
        del frames
        found: dict[str, Any] = {"xyz": np.ascontiguousarray(positions, np.float32)}
        if cells is not None:
            parameters = np.array([cell_to_cellpar(cell) for cell in cells], np.float32)
            found |= {"cell_lengths": parameters[:, :3].copy(), "cell_angles": parameters[:, 3:].copy()}
        return found

    @staticmethod
    def _in_xtc(frames: Frames, positions: np.ndarray, cells: np.ndarray | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "xyz": (np.asarray(positions, np.float64) / ANGSTROM_PER_NM).astype(np.float32),
            "time": (frames.time_fs * 1e-3).astype(np.float32),
            "step": frames.step.astype(np.int32),
        }
        if cells is not None:
            found["box"] = (cells / ANGSTROM_PER_NM).astype(np.float32)
        return found


def finish_xtc(path: Path, rows: range) -> None:
    """Make sure that a closed XTC file is whole to its last frame.

    Raises:
        FileError: if it is not.
    """
    from mdtraj.formats import XTCTrajectoryFile

    try:
        with XTCTrajectoryFile(str(path)) as file:
            file.seek(len(rows) - 1)
            steps = file.read(2)[2]
            whole = len(file) == len(rows) and len(steps) == 1
    except (OSError, RuntimeError) as error:
        raise FileError(f"{path.name}: what mdtraj wrote cannot be read ({error}); the disk may be full.") from error
    if not whole:
        raise FileError(f"{path.name}: mdtraj wrote fewer than {len(rows)} frames; the disk may be full.")


def finish_dcd(path: Path, trajectory: Trajectory, rows: range) -> None:
    """Put step numbers, time step and titles into the header of a closed DCD file, and make sure that it is whole.

    Raises:
        FileError: if it is not what it must be.
    """
    start, stride, timestep_fs = dcd_clock(trajectory, rows)
    atoms, cell = len(trajectory.system), trajectory.system.cell is not None
    size = DCD_HEAD + len(rows) * (3 * (4 * atoms + 8) + 56 * cell)
    with open(path, "r+b") as file:
        head = file.read(DCD_HEAD)
        if path.stat().st_size != size or head[4:8] != b"CORD" or struct.unpack_from("<i", head, 8)[0] != len(rows):
            raise FileError(f"{path.name}: what mdtraj wrote is not the DCD file it should be; the disk may be full.")
        file.seek(12)
        file.write(struct.pack("<iii", start, stride, start + stride * (len(rows) - 1)))
        file.seek(44)
        file.write(struct.pack("<f", timestep_fs / AKMA_FS))
        for line, title in enumerate(("Written by so3krates.", f"From {trajectory.path.name}, in Angstrom.")):
            file.seek(100 + DCD_TITLE * line)
            file.write(title.encode("ascii", "replace")[:DCD_TITLE].ljust(DCD_TITLE))
