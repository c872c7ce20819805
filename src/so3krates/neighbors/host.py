"""Neighbour pairs on the host by vesin: any cell, any number of images."""

import numpy as np
import vesin

from so3krates.graph import PairList, PairLists
from so3krates.system import System


def find_pairs(system: System, cutoff: float) -> PairList:
    """All pairs closer than `cutoff` (Å), each once, periodic images included.

    r_ij = r_j − r_i + S·H. Cells shorter than the cutoff, triclinic, left-handed and partly periodic ones are fine,
    and positions may lie outside the cell. A cutoff of 0 gives no pairs.
    """
    if len(system) == 0 or cutoff == 0.0:
        none = np.zeros(0, np.int64)
        return PairList(none, none, np.zeros((0, 3), np.int64), np.zeros((0, 3)))
    if not system.periodic:
        # Farther than the molecule is long there is nobody, but the search would take seconds for a cutoff of 1000 Å.
        cutoff = min(cutoff, float(np.linalg.norm(np.ptp(system.positions, axis=0))) + 1.0)
    search = vesin.NeighborList(cutoff=cutoff, full_list=False)
    cell = np.zeros((3, 3)) if system.cell is None else system.cell
    i, j, shifts, vectors = search.compute(
        points=system.positions, box=cell, periodic=np.array(system.pbc), quantities="ijSD"
    )
    return PairList(i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64), np.asarray(vectors))


def find_pair_lists(
    system: System, cutoff: float, far_cutoff: float | None = None, far_system: System | None = None
) -> PairLists:
    """The pairs within `cutoff`, and those within `far_cutoff` if it is given, of the structure as long-range terms see
    it (the same one if not given)."""
    near = find_pairs(system, cutoff)
    if far_cutoff is None:
        return PairLists(near)
    return PairLists(near, find_pairs(far_system or system, far_cutoff), far_cutoff)
