"""Doctor: duplicates within a data set, leaks between splits, trajectories whose random splits would leak.

Structures are compared by a fingerprint that rotations, translations, reflections and exchanges of like atoms leave
unchanged: the sorted distances of each pair of elements for molecules, smeared histograms of distances for crystals.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from so3krates._typing import Float, Int
from so3krates.data.doctor_gradients import FEW_FRAMES, principal
from so3krates.data.doctor_labels import bonded_blocks
from so3krates.data.doctor_report import Finding, counted
from so3krates.data.doctor_structures import block_system, pair_distances
from so3krates.data.doctor_table import Block, FrameTable
from so3krates.neighbors import find_pairs

SAME = 1e-3
"""Largest difference of two fingerprints that count as one structure, Å for molecules."""
ALIKE = 0.1
"""Share of the typical distance between random frames below which two frames are nearly the same."""
CORRELATED = 0.3
"""Share of it below which consecutive frames count as a trajectory whose random splits leak."""
SAME_ENERGY = 2e-3
"""eV; duplicates whose energies differ by more contradict each other."""
MOST_RANKS = 200
"""Distances kept per pair of elements, evenly over the ranks, so that fingerprints of large molecules stay small."""
HISTOGRAM = np.linspace(1.0, 6.0, 41)
"""Å; centres of the smeared histogram for periodic structures."""
CANDIDATES = 6
_ROLE = re.compile(r"^(train|training|valid|validation|val|test|eval)(?=$|[^a-z])(.*)$")


class Fingerprints(NamedTuple):
    """Frames of one composition."""

    rows: Int[np.ndarray, " frames"]
    features: Float[np.ndarray, "frames features"]
    typical: float
    """Median root mean square difference between random frames."""


def check_duplicates(table: FrameTable) -> Iterator[Finding]:
    """All findings about frames that are the same or nearly so."""
    groups = [fingerprints(blocks) for blocks in _by_composition(table)]
    yield from _duplicates(groups, table)
    yield from _leaks(groups, table)
    yield from _trajectories(groups, table)


def fingerprints(blocks: list[Block]) -> Fingerprints:
    """Fingerprints of blocks that differ at most in the order of their atoms."""
    rows = np.concatenate([block.rows for block in blocks])
    parts = [_periodic_features(block) if block.periodic else _molecular_features(block) for block in blocks]
    features = np.concatenate(parts)
    random = np.random.default_rng(0).integers(len(rows), size=(2, 500))
    differences = _rms(features[random[0]] - features[random[1]])[random[0] != random[1]]
    return Fingerprints(rows, features, float(np.median(differences)) if len(differences) else 0.0)


def nearest(
    queries: Float[np.ndarray, "queries features"],
    pool: Float[np.ndarray, "pool features"],
    excluded: Int[np.ndarray, " queries"] | None = None,
) -> tuple[Int[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
    """Most similar member of the pool for each query, and the root mean square difference.

    Searched among the few nearest along the principal directions; exact for duplicates, and an upper bound otherwise.
    `excluded` is the position in the pool of each query itself.
    """
    if max(len(pool), len(queries)) <= FEW_FRAMES:
        table = cdist(queries, pool) / np.sqrt(pool.shape[1])
        if excluded is not None:
            table[np.arange(len(queries)), excluded] = np.inf
        return table.argmin(axis=1), table.min(axis=1)
    both = principal(np.concatenate([pool, queries]))
    count = min(CANDIDATES, len(pool))
    _, found = KDTree(both[: len(pool)]).query(both[len(pool) :], k=count)
    found = found.reshape(len(queries), count)
    differences = np.stack([_rms(pool[found[:, k]] - queries) for k in range(count)], axis=1)
    if excluded is not None:
        differences[found == excluded[:, None]] = np.inf
    best = differences.argmin(axis=1)
    every = np.arange(len(queries))
    return found[every, best], differences[every, best]


def split_pairs(names: list[str]) -> list[tuple[str, str]]:
    """Splits that must not share frames: different roles of the same fold, such as train_01 and test_01.

    Names without a role (all files given side by side, for example) are compared all with all.
    """
    roles = {name: _ROLE.match(name.lower()) for name in names}
    if not any(roles.values()):
        return list(combinations(names, 2))
    pairs = combinations([name for name in names if roles[name]], 2)
    return [(a, b) for a, b in pairs if roles[a][2] == roles[b][2] and roles[a][1] != roles[b][1]]  # type: ignore[index]


def _duplicates(groups: list[Fingerprints], table: FrameTable) -> Iterator[Finding]:
    same, contradicting = [], []
    energy = table.energy
    for group in groups:
        if len(group.rows) < 2:
            continue
        every = np.arange(len(group.rows))
        other, _ = nearest(group.features, group.features, excluded=every)
        equal = np.abs(group.features - group.features[other]).max(axis=1, initial=0.0) < SAME
        rows, partners = group.rows[equal], group.rows[other[equal]]
        same += rows[rows > partners].tolist()
        contradicting += rows[(np.abs(energy[rows] - energy[partners]) > SAME_ENERGY) & (rows > partners)].tolist()
    if contradicting:
        message = f"{counted(contradicting)} repeating a structure with another energy (by more than {SAME_ENERGY} eV)."
        remedy = "mixed levels of theory or spin states, wrong labels, or mirror images in a field; keep one of each."
        yield Finding("error", "duplicates", message, remedy, table.named(sorted(contradicting)))
    if same:
        message = f"{counted(same)} repeating another structure (rotation, reflection and order of atoms aside)."
        remedy = "remove repetitions before splitting."
        yield Finding("warning", "duplicates", message, remedy, table.named(sorted(same)))


def _leaks(groups: list[Fingerprints], table: FrameTable) -> Iterator[Finding]:
    for first, second in split_pairs(list(table.splits)):
        same: list[int] = []
        alike: list[int] = []
        for group in groups:
            pool = np.isin(group.rows, table.splits[first])
            query = np.isin(group.rows, table.splits[second])
            if not pool.any() or not query.any():
                continue
            found, distance = nearest(group.features[query], group.features[pool])
            largest = np.abs(group.features[query] - group.features[pool][found]).max(axis=1, initial=0.0)
            same += group.rows[query][largest < SAME].tolist()
            alike += group.rows[query][(largest >= SAME) & (distance < ALIKE * group.typical)].tolist()
        size = len(table.splits[second])
        if same:
            yield _shared(first, second, sorted(same), table)
        if len(alike) > 0.02 * size:
            message = f"{len(alike)} of {size} frames of '{second}' are nearly the same as one of '{first}'."
            remedy = "split trajectories by blocks of time, molecules by group."
            yield Finding("warning", "leak", message, remedy, table.named(sorted(alike)))


def _shared(first: str, second: str, rows: list[int], table: FrameTable) -> Finding:
    """An error, except for crystals that are equivalent by symmetry only, which published sets hold knowingly."""
    stored = {_as_stored(table, row) for row in table.splits[first].tolist()}
    copies = any(_as_stored(table, row) in stored for row in rows)
    molecules = any(not table.samples[row].system.periodic for row in rows)
    message = f"leak: {len(rows)} of {len(table.splits[second])} frames of '{second}' are also in '{first}'"
    symmetry = "" if copies else ", up to rotation, reflection and order of atoms"
    remedy = "errors measured on such a split are too good; remove them."
    severity = "error" if copies or molecules else "warning"
    return Finding(severity, "leak", f"{message}{symmetry}.", remedy, table.named(rows))


def _as_stored(table: FrameTable, row: int) -> tuple[bytes, bytes]:
    """Elements and positions relative to the first atom, rounded."""
    system = table.samples[row].system
    return system.numbers.tobytes(), (np.round(system.positions - system.positions[0], 3) + 0.0).tobytes()


def _trajectories(groups: list[Fingerprints], table: FrameTable) -> Iterator[Finding]:
    """Consecutive frames that are much more alike than random ones."""
    steps, close = 0, 0
    for group in groups:
        if len(group.rows) < 4 or group.typical < SAME:
            continue
        order = np.argsort(group.rows)
        sequence = table.sequence[group.rows[order]]
        features = group.features[order]
        step = np.diff(sequence) == 1
        steps += int(step.sum())
        close += int((_rms(np.diff(features, axis=0))[step] < CORRELATED * group.typical).sum())
    if steps >= 10 and close > 0.5 * steps:
        message = f"{close / steps:.0%} of consecutive frames are alike, as in a trajectory or in sets by molecule."
        remedy = "a random split would leak; split by blocks of time or by group."
        yield Finding("warning", "correlated", message, remedy)


def _by_composition(table: FrameTable) -> list[list[Block]]:
    groups: dict[tuple[object, ...], list[Block]] = defaultdict(list)
    for block in bonded_blocks(table):
        system = table.samples[int(block.rows[0])].system
        key = (np.sort(block.numbers).tobytes(), block.pbc, system.charge, system.unpaired)
        groups[key].append(block)
    return list(groups.values())


def _molecular_features(block: Block) -> Float[np.ndarray, "frames features"]:
    i, j = np.triu_indices(len(block.numbers), 1)
    columns = [_ranks(columns) for columns in _element_pairs(block.numbers, i, j).values()]
    pieces = [
        np.concatenate([np.sort(distances[:, all_], axis=1)[:, kept] for all_, kept in columns], axis=1)
        for distances in pair_distances(block.positions, i, j)
    ]
    return np.concatenate(pieces)


def _periodic_features(block: Block) -> Float[np.ndarray, "frames features"]:
    return np.stack([_histogram(block, index) for index in range(len(block.rows))])


def _histogram(block: Block, index: int) -> Float[np.ndarray, " features"]:
    """Neighbours per atom around each distance, for each pair of elements, and the volume per atom."""
    system = block_system(block, index)
    pairs = find_pairs(system, float(HISTOGRAM[-1]) + 0.5)
    distances = np.linalg.norm(pairs.vectors, axis=1)
    elements = np.unique(block.numbers)
    kinds = _element_pairs(block.numbers, pairs.centers, pairs.others)
    features = []
    for kind in [(a, b) for a in elements for b in elements if a <= b]:
        chosen = distances[kinds.get(kind, np.zeros(0, np.int64))]
        smeared = np.exp(-0.5 * ((chosen[:, None] - HISTOGRAM) / 0.1) ** 2).sum(axis=0)
        features.append(smeared / len(block.numbers))
    volume = abs(np.linalg.det(block.cell[index])) / len(block.numbers)
    return np.concatenate([*features, [np.cbrt(volume)]])


def _element_pairs(
    numbers: Int[np.ndarray, " atoms"], i: Int[np.ndarray, " pairs"], j: Int[np.ndarray, " pairs"]
) -> dict[tuple[int, int], Int[np.ndarray, " chosen"]]:
    """Positions of the pairs of each two elements, in an order that does not depend on that of the atoms."""
    low, high = np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])
    kinds = sorted(set(zip(low.tolist(), high.tolist(), strict=True)))
    return {kind: np.flatnonzero((low == kind[0]) & (high == kind[1])) for kind in kinds}


def _ranks(columns: Int[np.ndarray, " pairs"]) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " kept"]]:
    kept = np.linspace(0, len(columns) - 1, min(len(columns), MOST_RANKS)).astype(np.int64)
    return columns, kept


def _rms(differences: Float[np.ndarray, "frames features"]) -> Float[np.ndarray, " frames"]:
    return np.sqrt((differences**2).mean(axis=-1))
