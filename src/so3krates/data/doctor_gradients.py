"""Doctor: are the forces the gradient of the energies? Work against energy difference for pairs of close frames.

For two frames a and b of the same atoms, the trapezoid rule gives
ΔE ≈ −½ (F_a + F_b)·Δx + ½ V (σ_a + σ_b) : ε, with an error of third order in the displacement. The slope of ΔE against
the work is 1; a unit of energy or force that is not what it is taken for shows as its conversion factor.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from so3krates._typing import Bool, Float, Int
from so3krates.data.doctor_labels import bonded_blocks
from so3krates.data.doctor_report import Finding, counted
from so3krates.data.doctor_table import Block, FrameTable
from so3krates.units import BOHR, GPA, HARTREE, KBAR, KCAL_PER_MOL, KJ_PER_MOL

CLOSE = 0.4
"""Å; pairs of frames in which any atom moved more are not compared."""
EQUAL = 1e-3
"""Å; pairs of frames in which no atom moved so far are one structure twice, and tell nothing about slopes."""
NEAREST = 16
"""Neighbours among which the nearest that is another structure is searched in large sets."""
NO_STRAIN = 1e-9
"""Largest strain that is rounding; such pairs of frames have one cell."""
MAX_STRAIN = 0.05
MIN_PAIRS = 8
BEST_PAIRS = 2000
RANDOM_DIRECTIONS = 32
FEW_FRAMES = 300
"""Up to so many frames all pairs are compared; beyond, a tree search along principal directions."""
MIN_WORK = 1e-4
"""eV; root mean square energy difference below which nothing can be said."""
NAMED_SLOPES = {
    -1.0: "the forces are gradients with the wrong sign",
    1 / KCAL_PER_MOL: "energies in kcal/mol with forces in eV/Å",
    KCAL_PER_MOL: "forces in kcal/mol/Å with energies in eV",
    1 / KJ_PER_MOL: "energies in kJ/mol with forces in eV/Å",
    KJ_PER_MOL: "forces in kJ/mol/Å with energies in eV",
    1 / HARTREE: "energies in Hartree with forces in eV/Å",
    HARTREE: "forces in Hartree/Å with energies in eV",
    HARTREE / BOHR: "forces in Hartree/Bohr with energies in eV",
    1 / BOHR: "energies and forces in the same unit of energy, forces per Bohr and positions in Å",
    BOHR: "positions in Bohr with forces per Å",
    0.5 * HARTREE: "forces in Ry/Å with energies in eV",
    0.5 * HARTREE / BOHR: "forces in Ry/Bohr with energies in eV",
    2 / HARTREE: "energies in Ry with forces in eV/Å",
}
NAMED_STRESS_SLOPES = {
    -1.0: "the stress has the sign of VASP; declare --stress-unit or negate it",
    GPA: "the stress is in GPa; declare --stress-unit GPa",
    KBAR: "the stress is in kbar; declare --stress-unit kbar",
    -KBAR: "the stress is in kbar with VASP's sign; declare --stress-unit vasp-kbar",
    -GPA: "the stress is in GPa with VASP's sign; negate it and declare --stress-unit GPa",
}


class Work(NamedTuple):
    """Work and energy difference for pairs of close frames."""

    rows: Int[np.ndarray, "pairs 2"]
    displacement: Float[np.ndarray, " pairs"]
    """Largest displacement of an atom, Å."""
    energy: Float[np.ndarray, " pairs"]
    """E_b − E_a, eV."""
    by_forces: Float[np.ndarray, " pairs"]
    """−½ (F_a + F_b)·Δx, eV."""
    by_stress: Float[np.ndarray, " pairs"]
    """½ V (σ_a + σ_b) : ε, eV; zero where the cell does not change."""
    spread: Float[np.ndarray, " pairs"]
    """Σ_atoms ½ |(F_b − F_a)·Δx|, the scale of what the trapezoid rule corrects, eV."""
    strain: Float[np.ndarray, " pairs"]

    def chosen(self, mask: np.ndarray) -> "Work":
        return Work(*(values[mask] for values in self))


class Line(NamedTuple):
    slope: float
    correlation: float


def check_gradients(table: FrameTable) -> Iterator[Finding]:
    """Findings about forces and stress against energy differences."""
    parts = [work_between(block, frame_pairs(block, table)) for block in bonded_blocks(table)]
    parts = [part for part in parts if len(part.rows)]
    if not parts:
        yield _nothing_to_compare("no two frames of the same atoms have energies and forces and are close")
        return
    work = Work(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    yield from _forces(work.chosen(work.strain < NO_STRAIN), table)
    yield from _stress(work.chosen((work.strain >= NO_STRAIN) & np.isfinite(work.by_stress)))


def frame_pairs(block: Block, table: FrameTable) -> Int[np.ndarray, "pairs 2"]:
    """Consecutive frames, and for molecules each frame with the most similar one; indices into the block."""
    sequence = table.sequence[block.rows]
    consecutive = np.flatnonzero(np.diff(sequence) == 1)
    pairs = np.stack([consecutive, consecutive + 1], axis=1)
    if not block.periodic and len(block.rows) >= 4:
        pairs = np.concatenate([pairs, _similar(block)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    usable = np.isfinite(block.energy) & np.isfinite(block.forces).all(axis=(1, 2))
    return pairs[usable[pairs].all(axis=1)]


def work_between(block: Block, pairs: Int[np.ndarray, "pairs 2"]) -> Work:
    """Work along straight lines between different structures; molecules are superimposed first."""
    a, b = pairs[:, 0], pairs[:, 1]
    forces_a, forces_b = block.forces[a], block.forces[b]
    by_stress = strain = np.zeros(len(pairs))
    if block.periodic:
        moved, strain, by_stress = _periodic_change(block, a, b)
    else:
        start, end, turn = superposed(block.positions[a], block.positions[b])
        moved, forces_b = end - start, forces_b @ turn
    displacement = np.linalg.norm(moved, axis=-1).max(axis=1, initial=0.0)
    work = Work(
        rows=block.rows[pairs],
        displacement=displacement,
        energy=block.energy[b] - block.energy[a],
        by_forces=-0.5 * ((forces_a + forces_b) * moved).sum(axis=(1, 2)),
        by_stress=by_stress,
        spread=0.5 * np.abs(((forces_b - forces_a) * moved).sum(axis=-1)).sum(axis=-1),
        strain=strain,
    )
    different = (displacement >= EQUAL) | (strain >= NO_STRAIN)
    return work.chosen(different & (displacement < CLOSE) & (strain < MAX_STRAIN))


def superposed(
    a: Float[np.ndarray, "pairs atoms 3"], b: Float[np.ndarray, "pairs atoms 3"]
) -> tuple[Float[np.ndarray, "pairs atoms 3"], Float[np.ndarray, "pairs atoms 3"], Float[np.ndarray, "pairs 3 3"]]:
    """Both centred, b turned onto a (Kabsch 1976), and the rotation that acts on rows from the right."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    left, _, right = np.linalg.svd(np.einsum("pai,paj->pij", b, a))
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    turn = left @ right
    return a, b @ turn, turn


def fitted_line(x: np.ndarray, y: np.ndarray, spread: np.ndarray) -> Line:
    """Slope through the origin and correlation; pairs weigh as the inverse square of their expected error."""
    weight = 1.0 / (spread**2 + (0.05 * np.sqrt(np.mean(spread**2)) + 1e-6) ** 2)
    xx, xy, yy = (float((weight * product).sum()) for product in (x * x, x * y, y * y))
    return Line(xy / max(xx, 1e-300), xy / max(np.sqrt(xx * yy), 1e-300))


def _forces(work: Work, table: FrameTable) -> Iterator[Finding]:
    order = np.argsort(work.displacement)[:BEST_PAIRS]
    work = work.chosen(order)
    if len(work.rows) < MIN_PAIRS or np.sqrt(np.mean(work.energy**2)) < MIN_WORK:
        yield _nothing_to_compare(f"only {len(work.rows)} pairs of frames are close (every atom within {CLOSE} Å)")
        return
    line = fitted_line(work.by_forces, work.energy, work.spread)
    typical = float(np.median(work.displacement))
    known = f"{len(work.rows)} pairs of close frames (median largest displacement {typical:.2f} Å)"
    fit = f"slope {line.slope:.4g}, correlation {line.correlation:.3f}"
    name = named_slope(line, NAMED_SLOPES)
    if name and abs(line.correlation) > 0.7:
        yield Finding(
            "error",
            "units",
            f"energies and forces do not belong together: over {known}, ΔE against −F·Δx has {fit}: {name}.",
            "declare the right units (--energy-unit, --force-unit, --length-unit) or correct the file.",
        )
    elif line.correlation < 0.7 or abs(line.slope - 1) > (0.1 if typical < 0.15 else 0.25):
        bad = np.abs(work.energy - work.by_forces) > 5 * (work.spread + 1e-3)
        yield Finding(
            "error" if typical < 0.25 else "warning",
            "gradients",
            f"the forces are not the gradient of the energies: over {known}, ΔE against −F·Δx has {fit}.",
            "labels of different frames, levels of theory or units; dispersion in one of both only; free energies.",
            table.named(np.unique(work.rows[bad]).tolist()),
        )
    else:
        yield Finding("info", "gradients", f"forces are the gradient of the energies: over {known}, {fit}.")
        yield from _inconsistent_frames(work, table)


def _inconsistent_frames(work: Work, table: FrameTable) -> Iterator[Finding]:
    """Single frames whose labels disagree with all close neighbours."""
    bad = np.abs(work.energy - work.by_forces) > 1.0 * work.spread + 0.05
    seen = np.bincount(work.rows.ravel(), minlength=len(table.samples))
    wrong = np.bincount(work.rows[bad].ravel(), minlength=len(table.samples))
    rows = np.flatnonzero((seen >= 2) & (wrong == seen))
    if len(rows):
        message = f"{counted(rows)} with an energy or forces that disagree with all frames close to them."
        yield Finding("warning", "gradients", message, "look at their labels.", table.named(rows))


def _stress(work: Work) -> Iterator[Finding]:
    if len(work.rows) < 4 or np.sqrt(np.mean(work.energy**2)) < MIN_WORK:
        return
    remaining = work.energy - work.by_forces
    line = fitted_line(work.by_stress, remaining, np.zeros(len(remaining)))
    fit = (
        f"over {len(work.rows)} strained pairs, ΔE against V σ:ε has slope {line.slope:.4g}, "
        f"correlation {line.correlation:.3f}"
    )
    name = named_slope(line, NAMED_STRESS_SLOPES)
    if name and abs(line.correlation) > 0.7:
        yield Finding("error", "stress", f"{fit}: {name}.", "the sign here is tension positive, the unit eV/Å³.")
    elif line.correlation > 0.7 and abs(line.slope - 1) < 0.25:
        yield Finding("info", "stress", f"the stress is the strain derivative of the energies: {fit}.")
    else:
        yield Finding("warning", "stress", f"the stress is not the strain derivative of the energies: {fit}.")


def named_slope(line: Line, names: dict[float, str]) -> str | None:
    """The unit mistake whose factor lies within 12 % of the slope, the nearest if several do."""
    errors = {factor: abs(line.slope / factor - 1) for factor in names}
    best = min(errors, key=errors.__getitem__)
    return names[best] if errors[best] < 0.12 else None


def _similar(block: Block) -> Int[np.ndarray, "pairs 2"]:
    """Each frame with the one whose distances between the same atoms are most alike, of 4000 frames at most.

    Copies of a frame are passed over; a frame that has nothing but copies near is paired with itself.
    """
    frames = np.linspace(0, len(block.rows) - 1, min(len(block.rows), 4000)).astype(np.int64)
    atoms = np.linspace(0, len(block.numbers) - 1, min(len(block.numbers), 30)).astype(np.int64)
    i, j = np.triu_indices(len(atoms), 1)
    points = block.positions[frames][:, atoms]
    distances = np.linalg.norm(points[:, i] - points[:, j], axis=-1)
    if len(frames) <= FEW_FRAMES:
        table = cdist(distances, distances)
        table[cdist(distances, distances, "chebyshev") < EQUAL] = np.inf
        return np.stack([frames, frames[table.argmin(axis=1)]], axis=1)
    places = principal(distances)
    neighbors = np.asarray(KDTree(places).query(places, k=NEAREST)[1])
    another = np.stack([_differ(distances, distances[column]) for column in neighbors.T], axis=1)
    every = np.arange(len(frames))
    best = np.where(another.any(axis=1), neighbors[every, another.argmax(axis=1)], every)
    return np.stack([frames, frames[best]], axis=1)


def _differ(
    a: Float[np.ndarray, "frames distances"], b: Float[np.ndarray, "frames distances"]
) -> Bool[np.ndarray, " frames"]:
    return np.abs(a - b).max(axis=1, initial=0.0) >= EQUAL


def principal(features: Float[np.ndarray, "frames features"], keep: int = 8) -> Float[np.ndarray, "frames kept"]:
    """A few directions of large variance, so that a tree search is fast; distances can only shrink.

    More than 32 features are first projected onto 32 fixed random orthonormal directions.
    """
    centred = features - features.mean(axis=0)
    if centred.shape[1] > RANDOM_DIRECTIONS:
        random = np.random.default_rng(0).normal(size=(centred.shape[1], RANDOM_DIRECTIONS))
        centred = centred @ np.linalg.qr(random)[0]
    _, directions = np.linalg.eigh(centred.T @ centred)
    return centred @ directions[:, -keep:]


def _periodic_change(block: Block, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Displacements at fixed cell by the shortest image, strain, and work of the stress."""
    fractional = block.positions @ np.linalg.inv(block.cell)
    moved = fractional[b] - fractional[a]
    moved -= np.round(moved) * np.array(block.pbc)
    mean_cell = 0.5 * (block.cell[a] + block.cell[b])
    moved = moved @ mean_cell
    moved -= moved.mean(axis=1, keepdims=True)
    strain = np.linalg.inv(mean_cell) @ (block.cell[b] - block.cell[a])
    strain = 0.5 * (strain + np.swapaxes(strain, 1, 2))
    volume = np.abs(np.linalg.det(mean_cell))
    by_stress = 0.5 * volume * ((block.stress[a] + block.stress[b]) * strain).sum(axis=(1, 2))
    largest = np.abs(strain).max(axis=(1, 2))
    return moved, largest, np.where(largest < NO_STRAIN, 0.0, by_stress)


def _nothing_to_compare(reason: str) -> Finding:
    return Finding("info", "gradients", f"whether forces are gradients of the energies could not be tested: {reason}.")
