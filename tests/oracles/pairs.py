"""Neighbour pairs by brute force: every image that can matter, no cleverness."""

from itertools import product

import numpy as np

from so3krates.system import System

Pair = tuple[int, int, tuple[int, int, int]]
"""i, j and the shift S of r_ij = r_j − r_i + S·H, with i < j, or i = j and S lexicographically positive."""


def brute_force(system: System, cutoff: float, margin: float = 1e-6) -> tuple[set[Pair], set[Pair]]:
    """Pairs that must be found (shorter than the cutoff) and pairs that may be (within `margin` of it)."""
    must, may = set(), set()
    cell = np.zeros((3, 3)) if system.cell is None else system.cell
    for shift in product(*(range(-n, n + 1) for n in _reach(system, cutoff))):
        for i in range(len(system)):
            vectors = system.positions[i:] - system.positions[i] + np.array(shift) @ cell
            for j, distance in enumerate(np.linalg.norm(vectors, axis=1), start=i):
                if (i == j and shift <= (0, 0, 0)) or distance > cutoff + margin:
                    continue
                (must if distance < cutoff - margin else may).add((i, j, shift))
    return must, may


def within(system: System, reach: float) -> dict[Pair, float]:
    """The same for many atoms: all pairs closer than `reach`, and their distances. Atoms are put into the cell first,
    so that the images to try do not depend on where they went."""
    cell = np.eye(3) if system.cell is None else system.cell
    pbc = np.array(system.pbc)
    turns = np.where(pbc, np.floor(system.positions @ np.linalg.inv(cell)), 0.0)
    inside = system.positions - turns @ cell
    heights = abs(np.linalg.det(cell)) / np.linalg.norm([np.cross(cell[k - 2], cell[k - 1]) for k in range(3)], axis=1)
    images = np.where(pbc, np.ceil(reach / heights) + 1, 0).astype(int)
    found = {}
    for shift in product(*(range(-n, n + 1) for n in images)):
        vectors = inside - inside[:, None, :] + np.array(shift) @ cell
        distances = np.sqrt(np.einsum("ijx,ijx->ij", vectors, vectors))
        once = np.triu(np.ones(distances.shape, bool), 0 if shift > (0, 0, 0) else 1)
        for i, j in np.argwhere(once & (distances < reach)):
            found[canonical(i, j, np.array(shift) - turns[j] + turns[i])] = float(distances[i, j])
    return found


def _reach(system: System, cutoff: float) -> list[int]:
    if system.cell is None:
        return [0, 0, 0]
    # Distance between opposite faces along axis k: volume over the area spanned by the other two vectors.
    reach = []
    fractional = np.linalg.solve(system.cell.T, system.positions.T) if len(system) else np.zeros((3, 1))
    for k in range(3):
        a, b = (system.cell[m] for m in range(3) if m != k)
        height = abs(np.linalg.det(system.cell)) / np.linalg.norm(np.cross(a, b))
        reach.append(int(np.ceil(cutoff / height + np.ptp(fractional[k]))) + 1 if system.pbc[k] else 0)
    return reach


def canonical(i: int, j: int, shift: np.ndarray) -> Pair:
    """The same pair seen from its first end."""
    s = tuple(int(n) for n in shift)
    if i > j or (i == j and s < (0, 0, 0)):
        i, j, s = j, i, tuple(-n for n in s)
    return int(i), int(j), s


def compare(system: System, cutoff: float, found: list[Pair]) -> str:
    """Empty if `found` is right; otherwise the missing, extra and repeated pairs."""
    must, may = brute_force(system, cutoff)
    once = set(found)
    missing, extra = sorted(must - once), sorted(once - must - may)
    repeated = sorted({pair for pair in once if found.count(pair) > 1})
    lines = [
        f"{name}: {pairs}" for name, pairs in (("missing", missing), ("extra", extra), ("repeated", repeated)) if pairs
    ]
    return "\n".join([f"{system} cutoff {cutoff}", *lines]) if lines else ""


KINDS = ("molecule", "ordinary", "tiny", "thin", "left-handed", "one axis", "two axes", "unwrapped")


def random_system(kind: str, atoms: int, seed: int) -> System:
    """A structure of the given kind; lengths are made for cutoffs of 1 to 3 Å."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, 10, size=atoms)
    if kind == "molecule":
        return System(rng.uniform(-3.0, 3.0, size=(atoms, 3)), numbers)
    lengths = {"tiny": (0.8, 1.6), "thin": (2.5, 5.0)}.get(kind, (2.5, 5.0))
    # Strongly triclinic, but not so skewed that the images to search explode.
    cell = np.diag(rng.uniform(*lengths, size=3)) + np.tril(rng.uniform(-1.0, 1.0, size=(3, 3)), -1) * lengths[0]
    if kind == "thin":
        cell[2] *= 0.9 / cell[2, 2]
    cell = cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if (np.linalg.det(cell) < 0) != (kind == "left-handed"):
        cell = -cell
    pbc = {"one axis": [True, False, False], "two axes": [True, True, False]}.get(kind, [True] * 3)
    span = 4.0 if kind == "unwrapped" else 1.0
    fractional = rng.uniform(-span, span, size=(atoms, 3)) if kind == "unwrapped" else rng.uniform(size=(atoms, 3))
    return System(fractional @ cell, numbers, cell, tuple(bool(p) for p in rng.permutation(pbc)))  # type: ignore[arg-type]
