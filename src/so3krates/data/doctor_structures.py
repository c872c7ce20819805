"""Doctor: geometry. Atoms on top of each other, atoms without neighbours, boxes around molecules."""

from collections.abc import Iterator

import numpy as np
from ase.data import covalent_radii

from so3krates._typing import Float, Int
from so3krates.data.doctor_labels import bonded_blocks
from so3krates.data.doctor_report import Finding, counted
from so3krates.data.doctor_table import Block, FrameTable
from so3krates.neighbors import find_pairs
from so3krates.system import System, heights

OVERLAP_RATIO = 0.4
"""Distance over the sum of covalent radii below which atoms lie on top of each other."""
SAME_PLACE = 0.1
CLOSE_RATIO = 0.6
LARGE_BOX = 60.0
"""Å; a periodic box this high of which the atoms fill less than a third is a molecule in vacuum."""
SEARCH_CUTOFFS = (4.0, 8.0)
"""Å; nearest neighbours in periodic structures are looked for within the first, then within the second."""
PAIRS_AT_ONCE = 4_000_000


def check_structures(table: FrameTable) -> Iterator[Finding]:
    """All findings about geometry."""
    overlapping, close = [], []
    closest = np.inf
    for block in bonded_blocks(table):
        ratios = nearest_ratios(block)
        overlapping += block.rows[ratios < OVERLAP_RATIO].tolist()
        close += block.rows[(ratios >= OVERLAP_RATIO) & (ratios < CLOSE_RATIO)].tolist()
        closest = min(closest, float(ratios.min()))
    if overlapping:
        message = (
            f"{counted(overlapping)} with overlapping atoms: closer than {OVERLAP_RATIO} times the sum of covalent "
            f"radii (closest {closest:.2f})."
        )
        share = len(overlapping) / max(len(table.samples), 1)
        remedy = "remove them unless they are meant, as in scans of short distances."
        severity = "error" if closest < SAME_PLACE or share > 0.5 else "warning"
        yield Finding(severity, "overlap", message, remedy, table.named(sorted(overlapping)))
    if close:
        message = f"{counted(close)} with atoms closer than {CLOSE_RATIO} times the sum of covalent radii."
        yield Finding("info", "overlap", message, frames=table.named(sorted(close)))
    yield from _boxes(table)


def nearest_ratios(block: Block) -> Float[np.ndarray, " frames"]:
    """Smallest distance over sum of covalent radii in each frame; infinite where no pair is within reach."""
    if block.periodic:
        return np.array([_periodic_ratio(block, index) for index in range(len(block.rows))])
    i, j = np.triu_indices(len(block.numbers), 1)
    radii = covalent_radii[block.numbers]
    ratios = [(distances / (radii[i] + radii[j])).min(axis=1) for distances in pair_distances(block.positions, i, j)]
    return np.concatenate(ratios)


def pair_distances(
    positions: Float[np.ndarray, "frames atoms 3"], i: Int[np.ndarray, " pairs"], j: Int[np.ndarray, " pairs"]
) -> Iterator[Float[np.ndarray, "some pairs"]]:
    """Distances of the given pairs, for as many frames at a time as memory should hold."""
    step = max(PAIRS_AT_ONCE // max(len(i), 1), 1)
    for start in range(0, len(positions), step):
        piece = positions[start : start + step]
        yield np.linalg.norm(piece[:, i] - piece[:, j], axis=-1)


def block_system(block: Block, index: int) -> System:
    """Frame `index` of a block as a structure."""
    cell = block.cell[index] if block.periodic else None
    return System(positions=block.positions[index], numbers=block.numbers, cell=cell, pbc=block.pbc)


def _periodic_ratio(block: Block, index: int) -> float:
    system, radii = block_system(block, index), covalent_radii[block.numbers]
    for cutoff in SEARCH_CUTOFFS:
        pairs = find_pairs(system, cutoff)
        if len(pairs.centers):
            distances = np.linalg.norm(pairs.vectors, axis=1)
            return float((distances / (radii[pairs.centers] + radii[pairs.others])).min())
    return np.inf


def _boxes(table: FrameTable) -> Iterator[Finding]:
    rows: list[int] = []
    largest = 0.0
    for block in table.blocks:
        if not all(block.pbc):
            continue
        extent = np.ptp(block.positions, axis=1).max(axis=1)
        height = np.array([heights(cell).min() for cell in block.cell])
        inside = (height > LARGE_BOX) & (extent < height / 3)
        rows += block.rows[inside].tolist()
        largest = max(largest, float(height[inside].max(initial=0.0)))
    if rows:
        message = f"{counted(rows)} of molecules in a periodic box of vacuum (up to {largest:.0f} Å)."
        remedy = "give them without periodicity (pbc F F F); a stress of such a box means nothing."
        yield Finding("warning", "vacuum-box", message, remedy, table.named(sorted(rows)))
