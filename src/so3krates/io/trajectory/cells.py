"""Cells of frames: atoms brought into them, and turned so that the first vector lies along x."""

from dataclasses import replace

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Bool, Float
from so3krates.io.trajectory.frames import Frames
from so3krates.system import System

UPRIGHT = 1e-10
"""Of the length of a vector: what its components above the diagonal may be without a cell being turned."""


def cells_of(frames: Frames, system: System) -> Float[np.ndarray, "frames 3 3"] | None:
    """The cell of each frame, Å, vectors in rows; None for a structure without."""
    if frames.cells is not None:
        return np.asarray(frames.cells, np.float64)
    if system.cell is None:
        return None
    return np.broadcast_to(system.cell, (len(frames), 3, 3))


def wrapped(frames: Frames, system: System) -> Frames:
    """With each atom brought into the cell along the periodic axes; molecules may be cut by that.

    Raises:
        InputError: for a structure without a cell.
    """
    cells = cells_of(frames, system)
    if cells is None:
        raise InputError(f"{system.formula} has no cell to bring atoms into; leave out --wrap (wrap=False).")
    positions = np.asarray(frames.positions, np.float64)
    images = np.floor(positions @ np.linalg.inv(cells)) * np.array(system.pbc)
    return replace(frames, positions=positions - images @ cells)


def upright(
    positions: Float[np.ndarray, "frames atoms 3"], cells: Float[np.ndarray, "frames 3 3"]
) -> tuple[Float[np.ndarray, "frames atoms 3"], Float[np.ndarray, "frames 3 3"], Bool[np.ndarray, " frames"]]:
    """Turn each frame so that its cell has a along x, b in the xy plane and positive components on the diagonal.

    A left-handed cell has the same lattice as the right-handed one with −c, which is taken, since a mirror image would
    be another molecule.

    Returns:
        Positions, cells, and which frames were turned; those that need not be are left as they are to the last digit.
    """
    lengths = np.linalg.norm(cells, axis=2, keepdims=True)
    lower = (np.abs(np.triu(cells, 1)) <= UPRIGHT * lengths).all(axis=(1, 2))
    turn = ~(lower & (np.diagonal(cells, axis1=1, axis2=2) > 0).all(axis=1))
    if not turn.any():
        return positions, cells, turn
    right = np.array(cells[turn])
    right[np.linalg.det(right) < 0, 2] *= -1.0
    q, r = np.linalg.qr(np.swapaxes(right, 1, 2))
    signs = np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    rotations, new_cells = q * signs, np.swapaxes(r, 1, 2) * signs
    moved, turned = np.array(positions, np.float64), np.array(cells)
    moved[turn], turned[turn] = moved[turn] @ rotations, np.tril(new_cells)
    return moved, turned, turn
