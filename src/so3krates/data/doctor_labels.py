"""Doctor: labels that are missing or NaN, isolated atoms, outliers, forces that do not sum to zero."""

from collections.abc import Iterator, Sequence

import numpy as np
from ase.data import chemical_symbols

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.data.doctor_report import Finding, counted
from so3krates.data.doctor_table import Block, FrameTable
from so3krates.data.labels import check_labels
from so3krates.data.sample import Sample

OUTLIER_SIGMAS = 20.0
OUTLIER_ENERGY_PER_ATOM = 0.2
"""eV; an energy must also stand out by this much."""
MIN_FRAMES = 20
"""Frames of one composition below which an energy is not called an outlier."""
LARGE_FORCE = 50.0
"""eV/Å; a largest force must also exceed this to be an outlier."""
NET_FORCE = 0.05
"""Share of the root-sum-square force that the sum of forces may reach."""
SHOWN_KEYS = 12


def check_all_labels(table: FrameTable) -> Iterator[Finding]:
    """All findings about labels alone."""
    yield from _unreadable(table)
    yield from _untrainable(table)
    yield from _missing(table)
    yield from _partly_nan(table)
    yield from _isolated_atoms(table)
    yield from _energy_outliers(table)
    yield from _force_outliers(table)
    yield from _net_forces(table)


def _unreadable(table: FrameTable) -> Iterator[Finding]:
    if table.unreadable:
        frames = tuple(name for name, _ in table.unreadable)
        first = table.unreadable[0][1]
        more = f" (first of {len(frames)})" if len(frames) > 1 else ""
        yield Finding("error", "unreadable", f"{first}{more}", "correct or remove these frames.", frames)


def _untrainable(table: FrameTable) -> Iterator[Finding]:
    """Parts of the data without any energy and without any forces."""
    for part, keys in table.keys.items():
        alone = len(table.keys) == 1
        samples = table.samples if alone else [table.samples[row] for row in table.splits[part]]
        if not samples or not all(map(_unlabelled, samples)):
            continue
        nan = [label for label in ("energy", "forces") if any(label in sample.nan_labels for sample in samples)]
        as_nan = f" ({' and '.join(nan)} given as NaN)" if nan else ""
        place = "" if alone else f"{part}: "
        message = f"{place}no frame of {len(samples)} has an energy or forces{as_nan}: nothing can be trained on them."
        yield Finding("error", "missing-labels", message, _where_labels_may_be(keys))


def _unlabelled(sample: Sample) -> bool:
    return sample.energy is None and sample.forces is None


def _where_labels_may_be(keys: Sequence[str]) -> str:
    if not keys:
        return "nothing in the file may be a label; label the structures first (so3krates label)."
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return f"name the right keys with --energy-key and --forces-key; the file has {', '.join(keys[:SHOWN_KEYS])}{more}."


def _missing(table: FrameTable) -> Iterator[Finding]:
    total = len(table.samples)
    if all(map(_unlabelled, table.samples)):
        return
    periodic = sum(sample.system.periodic for sample in table.samples)
    for label in ("energy", "forces", "stress"):
        applies = [r for r, s in enumerate(table.samples) if label != "stress" or s.system.periodic]
        if label == "forces":
            applies = [row for row in applies if not table.samples[row].isolated_atom]
        missing = [row for row in applies if getattr(table.samples[row], label) is None]
        nan = [row for row in missing if label in table.samples[row].nan_labels]
        if not missing:
            continue
        as_nan = f", {len(nan)} of them given as NaN" if nan else ""
        if len(missing) < len(applies):
            yield Finding(
                "warning",
                "missing-labels",
                f"{len(missing)} of {len(applies)} frames have no {label}{as_nan}; the others do.",
                f"training leaves these frames out of the {label} loss.",
                table.named(missing),
            )
        elif label == "stress":
            message = f"no stress{as_nan} in {periodic} periodic frames: a stress loss is out of reach."
            yield Finding("info", "missing-labels", message)
        else:
            message = f"no frame of {total} has {label}{as_nan}."
            remedy = f"training refuses a loss on {label} with these data; check the key or name it, --{label}-key KEY."
            yield Finding("warning", "missing-labels", message, remedy)


def _partly_nan(table: FrameTable) -> Iterator[Finding]:
    bad, messages = [], []
    for row, sample in enumerate(table.samples):
        try:
            check_labels(sample)
        except InputError as error:
            bad.append(row)
            messages.append(str(error))
    if bad:
        yield Finding("error", "partly-nan", messages[0], "no loss can use such forces.", table.named(bad))


def _isolated_atoms(table: FrameTable) -> Iterator[Finding]:
    elements = {int(z) for block in table.blocks for z in block.numbers}
    atoms = {int(s.system.numbers[0]) for s in table.samples if s.isolated_atom and s.energy is not None}
    symbols = ", ".join(chemical_symbols[z] for z in sorted(atoms))
    if elements <= atoms:
        yield Finding("info", "isolated-atoms", f"isolated-atom energies for every element: {symbols}.")
    elif atoms:
        lacking = ", ".join(chemical_symbols[z] for z in sorted(elements - atoms))
        message = f"isolated-atom energies for {symbols} but not for {lacking}."
        yield Finding("warning", "isolated-atoms", message, "element shifts from isolated atoms need all of them.")
    else:
        yield Finding("info", "isolated-atoms", "no isolated-atom energies; element shifts come from least squares.")


def _energy_outliers(table: FrameTable) -> Iterator[Finding]:
    rows: list[int] = []
    for block in table.blocks:
        energy = block.energy / len(block.numbers)
        if np.isfinite(energy).sum() < MIN_FRAMES:
            continue
        offset = np.abs(energy - np.nanmedian(energy))
        limit = max(OUTLIER_SIGMAS * robust_sigma(energy), OUTLIER_ENERGY_PER_ATOM)
        rows += block.rows[offset > limit].tolist()
    if rows:
        message = f"{counted(rows)} with energies far from others of the same composition."
        remedy = "look at them: broken structures, failed calculations, or another zero of energy."
        yield Finding("warning", "outliers", message, remedy, table.named(sorted(rows)))


def _force_outliers(table: FrameTable) -> Iterator[Finding]:
    largest = np.full(len(table.samples), np.nan)
    for block in table.blocks:
        largest[block.rows] = np.linalg.norm(block.forces, axis=-1).max(axis=1)
    if not np.isfinite(largest).any():
        return
    limit = max(LARGE_FORCE, 10 * float(np.nanmedian(largest)))
    rows = np.flatnonzero(largest > limit)
    if len(rows):
        message = f"{counted(rows)} with forces above {limit:.3g} eV/Å (largest {np.nanmax(largest):.4g})."
        yield Finding("warning", "outliers", message, "check these structures and calculations.", table.named(rows))


def _net_forces(table: FrameTable) -> Iterator[Finding]:
    """Forces that are a gradient of an isolated structure's energy sum to zero, and so do their torques."""
    shares = {"net force": np.zeros(len(table.samples)), "net torque": np.zeros(len(table.samples))}
    for block in table.blocks:
        if len(block.numbers) < 2:
            continue
        shares["net force"][block.rows] = _share(block.forces.sum(axis=1), block.forces)
        if not block.periodic:
            torques = np.cross(block.positions - block.positions.mean(axis=1, keepdims=True), block.forces)
            shares["net torque"][block.rows] = _share(torques.sum(axis=1), torques)
    for name, share in shares.items():
        rows = np.flatnonzero(np.nan_to_num(share) > NET_FORCE)
        if len(rows) > max(0.05 * len(share), 1):
            message = f"{counted(rows)} with a {name} of {np.median(share[rows]):.0%} of the forces (median)."
            remedy = "positions and forces of different frames or orientations, an external field, or coarse grids."
            severity = "error" if np.median(share[rows]) > 0.5 and len(rows) > 0.5 * len(share) else "warning"
            yield Finding(severity, "net-force", message, remedy, table.named(rows))


def _share(
    total: Float[np.ndarray, "frames 3"], parts: Float[np.ndarray, "frames atoms 3"]
) -> Float[np.ndarray, " frames"]:
    """|Σ v| / √(Σ |v|²), zero where the parts are below 1e-2."""
    size = np.sqrt((parts**2).sum(axis=(1, 2)))
    return np.where(size > 1e-2, np.linalg.norm(total, axis=-1) / np.maximum(size, 1e-12), 0.0)


def robust_sigma(values: Float[np.ndarray, " values"]) -> float:
    """1.4826 times the median absolute deviation: σ for normally distributed values, deaf to outliers."""
    return 1.4826 * float(np.nanmedian(np.abs(values - np.nanmedian(values))))


def isolated_rows(table: FrameTable) -> list[int]:
    return [row for row, sample in enumerate(table.samples) if sample.isolated_atom]


def bonded_blocks(table: FrameTable) -> list[Block]:
    """Blocks of more than one atom."""
    return [block for block in table.blocks if len(block.numbers) > 1]
