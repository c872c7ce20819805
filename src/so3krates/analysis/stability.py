"""Whether a trajectory can be trusted: energy drift, and the time until a bond leaves its reference by 0.5 Å.

The arithmetic of the drift lives with the summary of a run, `so3krates.md.records.summary`, and is offered here too.
"""

from typing import NamedTuple

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.analysis.structure import Bonds, pair_distances
from so3krates.md.records.summary import Drift as Drift
from so3krates.md.records.summary import energy_drift as energy_drift

TOLERANCE = 0.5
"""Å; the criterion of Fu et al., "Forces are not enough" (arXiv:2210.07237)."""
BLOCK = 4096
"""Frames examined at a time."""


class Stability(NamedTuple):
    """How long every bond stayed near its reference."""

    stable_ps: float
    """Time from the first frame to the last one before the first violation; the whole run if there is none."""
    stable: bool
    """No violation in the whole run."""
    largest_deviation: float
    """max |r − r̄| over all bonds and frames, Å."""
    atoms: tuple[int, int] | None
    """The bond of the largest deviation; None without bonds."""


def bond_stability(
    time_fs: Float[np.ndarray, " times"],
    positions: Float[np.ndarray, "frames atoms 3"],
    reference: Bonds,
    cell: Float[np.ndarray, "*frames 3 3"] | None = None,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    *,
    tolerance: float = TOLERANCE,
) -> Stability:
    """Stable time: a run is unstable from the first frame in which |r_b − r̄_b| > tolerance for some bond b.

    Args:
        time_fs: of each frame, ascending.
        positions: Å; anything that can be sliced by frames, so that long runs are read in parts.
        reference: bonds with the means of their lengths in the reference data (`find_bonds`).
        cell: cell vectors in rows, Å, if periodic; one cell, or that of each frame.
        pbc: periodic axes, with a cell.
        tolerance: Å.

    Raises:
        InputError: without a frame, or times that are not one for each frame.
    """
    time = np.asarray(time_fs, np.float64)
    if not len(time) or len(time) != len(positions):
        raise InputError(f"{len(positions)} frames and {len(time)} times; expected as many of both, and at least one.")
    if not len(reference.atoms):
        return Stability(float(time[-1] - time[0]) * 1e-3, True, 0.0, None)
    worst, bond, first = 0.0, 0, len(time)
    for start in range(0, len(time), BLOCK):
        rows = slice(start, start + BLOCK)
        cells = cell[rows] if cell is not None and cell.ndim == 3 else cell
        lengths = pair_distances(positions[rows], reference.atoms, cells, pbc)
        off = np.abs(lengths - reference.lengths)
        # Written so that a position that is not a number counts as a violation.
        violated = np.flatnonzero(~(off <= tolerance).all(axis=1))
        if len(violated) and first == len(time):
            first = start + int(violated[0])
        off = np.where(np.isnan(off), np.inf, off)
        if off.max() > worst:
            worst, bond = float(off.max()), int(np.argmax(off.max(axis=0)))
    last = time[max(first - 1, 0)]
    i, j = (int(atom) for atom in reference.atoms[bond])
    return Stability(float(last - time[0]) * 1e-3, first == len(time), worst, (i, j))
