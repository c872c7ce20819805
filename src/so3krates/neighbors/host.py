"""Neighbour pairs on the host by vesin: any cell, any number of images."""

import numpy as np
import vesin

from so3krates.graph import PairList, PairLists
from so3krates.system import System, heights

BOXES = 5e4
"""Half of those to which vesin keeps."""


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
    reach = _reach_that_vesin_survives(system, cutoff)
    search = vesin.NeighborList(cutoff=reach, full_list=False)
    cell = np.zeros((3, 3)) if system.cell is None else system.cell
    i, j, shifts, vectors = search.compute(
        points=system.positions, box=cell, periodic=np.array(system.pbc), quantities="ijSD"
    )
    i, j, shifts, vectors = i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64), np.asarray(vectors)
    if reach > cutoff:
        near = np.einsum("px,px->p", vectors, vectors) < cutoff**2
        i, j, shifts, vectors = i[near], j[near], shifts[near], vectors[near]
    return PairList(i, j, shifts, vectors)


def _reach_that_vesin_survives(system: System, cutoff: float) -> float:
    """The cutoff, or a longer one for structures that are far longer than thin.

    vesin 0.6 sorts atoms into boxes as long as the cutoff. Where these are too many it makes fewer by one factor for
    all axes, so that none is left along an axis that is short, and the process ends with a division by zero.
    """
    cell = np.eye(3) if system.cell is None else system.cell
    extent = np.ptp(system.positions @ np.linalg.inv(cell), axis=0)
    lengths = np.where(system.pbc, 1.0, extent) * heights(cell)
    boxes = np.maximum(lengths / cutoff, 1.0)
    if boxes.min() * (BOXES / np.prod(boxes)) ** (1.0 / 3.0) >= 2.0:
        return cutoff
    while np.prod(np.maximum(lengths / cutoff, 1.0)) > BOXES:
        cutoff *= 1.1
    return cutoff


def find_pair_lists(
    system: System, cutoff: float, far_cutoff: float | None = None, far_system: System | None = None
) -> PairLists:
    """The pairs within `cutoff`, and those within `far_cutoff` if it is given, of the structure as long-range terms see
    it (the same one if not given)."""
    near = find_pairs(system, cutoff)
    if far_cutoff is None:
        return PairLists(near)
    return PairLists(near, find_pairs(far_system or system, far_cutoff), far_cutoff)
