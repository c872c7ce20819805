"""Doctor: units, by physics that does not depend on the labels agreeing with each other.

Three scales are known beforehand: bonds are about as long as the sum of covalent radii, X–H bonds have force constants
of 30 to 50 eV/Å², and all-electron total energies lie close to those of the free atoms.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from ase.data import chemical_symbols

from so3krates._typing import Float, Int
from so3krates.data.doctor_labels import bonded_blocks
from so3krates.data.doctor_report import Finding
from so3krates.data.doctor_structures import nearest_ratios
from so3krates.data.doctor_table import Block, FrameTable
from so3krates.units import BOHR, GPA, HARTREE, KCAL_PER_MOL, KJ_PER_MOL

ENERGY_FACTORS = {
    "kcal/mol": 1 / KCAL_PER_MOL,
    "kJ/mol": 1 / KJ_PER_MOL,
    "Hartree": 1 / HARTREE,
    "Ry": 2 / HARTREE,
    "meV": 1000.0,
}
FORCE_FACTORS = {
    "kcal/mol/Angstrom": 1 / KCAL_PER_MOL,
    "kJ/mol/Angstrom": 1 / KJ_PER_MOL,
    "Hartree/Bohr": BOHR / HARTREE,
    "Hartree/Angstrom": 1 / HARTREE,
    "Ry/Bohr": 2 * BOHR / HARTREE,
    "meV/Angstrom": 1000.0,
}
LENGTH_FACTORS = {"Bohr": 1 / BOHR, "nm": 0.1}
BOND_RATIO = (0.75, 1.3)
"""Smallest distance over the sum of covalent radii, in Å, median over frames; diatomics, often scans, do not count."""
BOND_STIFFNESS: Mapping[int, float] = {6: 31.0, 7: 40.0, 8: 47.0}
"""Force constants of C–H, N–H and O–H stretches, eV/Å² (5.0, 6.4 and 7.5 mdyn/Å, textbook values)."""
NATURAL = (0.3, 3.0)
"""Measured over expected force constant; slopes pooled over molecules come out low, 0.5 for QM7-X."""
LARGE_STRESS = 100 * GPA
NOBLE = (2, 10, 18, 36, 54, 86)


def check_units(table: FrameTable) -> Iterator[Finding]:
    """Findings about units of length, energy, force and stress."""
    lengths = list(_lengths(table))
    yield from lengths
    yield from _total_energies(table)
    yield from _jumps_of_energy(table)
    if not lengths:
        yield from _stiffness(table)
    yield from _stress_size(table)
    yield from _splits_differ(table)


def _lengths(table: FrameTable) -> Iterator[Finding]:
    blocks = [b for b in bonded_blocks(table) if len(b.numbers) > 2 and not np.isin(b.numbers, NOBLE).any()]
    if not blocks:
        return
    ratio = float(np.median(np.concatenate([nearest_ratios(block) for block in blocks])))
    if not BOND_RATIO[0] <= ratio <= BOND_RATIO[1]:
        message = f"nearest neighbours are {ratio:.2f} times as far apart as the sum of covalent radii (median)"
        unit = next((u for u, f in LENGTH_FACTORS.items() if BOND_RATIO[0] <= ratio / f <= BOND_RATIO[1]), None)
        if unit:
            yield Finding("error", "units", f"{message}: positions look like {unit}.", f"declare --length-unit {unit}.")
        elif ratio > BOND_RATIO[1]:
            yield Finding("info", "units", f"{message}: mostly unbound atoms, or a wrong unit of length.")
        else:
            yield Finding("warning", "units", f"{message}.", "check the unit of length.")


def free_atoms_energy(numbers: Int[np.ndarray, " atoms"]) -> float:
    """Sum of free-atom energies by the statistical atom, eV; from carbon on within about 1 % (without relativity).

    E = −0.768745 Z^{7/3} + Z²/2 − 0.269900 Z^{5/3} Hartree (Schwinger 1980/81, doi 10.1103/PhysRevA.22.1827).
    """
    z = numbers.astype(np.float64)
    return float((-0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)).sum()) * HARTREE


def _total_energies(table: FrameTable) -> Iterator[Finding]:
    """All-electron totals reveal their unit; pseudopotential totals and shifted energies say nothing here."""
    ratio = np.full(len(table.samples), np.nan)
    for block in bonded_blocks(table):
        ratio[block.rows] = block.energy / free_atoms_energy(block.numbers)
    known = np.isfinite(ratio)
    if not known.any():
        return
    units = {"eV": 1.0, **ENERGY_FACTORS}
    matches = {unit: np.abs(ratio / factor - 1) < 0.03 for unit, factor in units.items()}
    shares = {unit: float(match[known].mean()) for unit, match in matches.items()}
    present = [unit for unit, share in shares.items() if share > 0.0 and matches[unit].sum() >= 1]
    if len(present) > 1 and sum(shares.values()) > 0.95:
        least = min(present, key=shares.__getitem__)
        message = f"mixed units: total energies look like {' and '.join(present)} in different frames."
        rows = np.flatnonzero(matches[least])
        yield Finding("error", "units", message, "convert them to one unit.", table.named(rows))
    elif present and present[0] != "eV" and shares[present[0]] > 0.95:
        unit = present[0]
        factor = ENERGY_FACTORS[unit]
        message = f"total energies are {factor:.4g} times those of the free atoms in eV: they look like {unit}."
        yield Finding("error", "units", message, f"declare --energy-unit {unit} (and check the forces).")


def _jumps_of_energy(table: FrameTable) -> Iterator[Finding]:
    """Frames of one composition whose energies differ by the factor of a unit."""
    found: dict[str, list[int]] = defaultdict(list)
    for block in table.blocks:
        middle = np.nanmedian(block.energy) if np.isfinite(block.energy).any() else 0.0
        if len(block.rows) < 3 or abs(middle) < 1.0:
            continue
        for unit, factor in ENERGY_FACTORS.items():
            for value in (factor, 1 / factor):
                found[unit] += block.rows[np.abs(block.energy / middle / value - 1) < 0.02].tolist()
    for unit, rows in found.items():
        if rows and not any(np.isfinite(free_atoms_energy(b.numbers)) and _all_electron(b) for b in table.blocks):
            message = f"mixed units: {len(rows)} energies differ from others of the same atoms by the factor of {unit}."
            yield Finding("error", "units", message, "convert them to one unit.", table.named(sorted(rows)))


def _all_electron(block: Block) -> bool:
    """Whether the total energies already tell their unit, so that `_total_energies` speaks."""
    ratio = np.nanmedian(block.energy / free_atoms_energy(block.numbers)) if len(block.numbers) > 1 else np.nan
    return any(abs(ratio / factor - 1) < 0.03 for factor in (1.0, *ENERGY_FACTORS.values()))


def _stiffness(table: FrameTable) -> Iterator[Finding]:
    """Force on hydrogen along its bond against bond length: minus the force constant."""
    gathered: dict[int, list[np.ndarray]] = defaultdict(list)
    for block in bonded_blocks(table):
        if not block.periodic and np.isfinite(block.forces).any():
            for element, points in _hydrogen_bonds(block).items():
                gathered[element].append(points)
    measured = {}
    for element, parts in gathered.items():
        length, force = np.concatenate(parts).T
        if len(length) >= 30 and np.std(length) > 0.01 and np.corrcoef(length, force)[0, 1] < -0.7:
            measured[element] = -float(np.polyfit(length, force, 1)[0]) / BOND_STIFFNESS[element]
    if not measured:
        yield from _force_size(table)
        return
    ratio = float(np.exp(np.mean(np.log(list(measured.values())))))
    if NATURAL[0] < ratio < NATURAL[1]:
        return
    bonds = ", ".join(f"{chemical_symbols[z]}–H" for z in measured)
    unit = min(FORCE_FACTORS, key=lambda name: abs(np.log(ratio / FORCE_FACTORS[name])))
    message = f"{bonds} bonds are {ratio:.3g} times as stiff as they are in nature"
    if 0.4 < ratio / FORCE_FACTORS[unit] < 1.7:
        remedy = f"declare --force-unit {unit}, and --energy-unit if the energies share the mistake."
        yield Finding("error", "units", f"{message}: forces look like {unit}.", remedy)
    else:
        yield Finding("warning", "units", f"{message}.", "check the unit of the forces.")


def _hydrogen_bonds(block: Block) -> dict[int, Float[np.ndarray, "bonds 2"]]:
    """Length and force on H along the bond, for H with its nearest C, N or O within 0.9 to 1.4 Å."""
    hydrogens = np.flatnonzero(block.numbers == 1)
    heavy = np.flatnonzero(np.isin(block.numbers, list(BOND_STIFFNESS)))
    if not len(hydrogens) or not len(heavy):
        return {}
    frames = np.linspace(0, len(block.rows) - 1, min(len(block.rows), 1000)).astype(np.int64)
    points, forces = block.positions[frames], block.forces[frames][:, hydrogens]
    vectors = points[:, hydrogens, None] - points[:, None, heavy]
    distances = np.linalg.norm(vectors, axis=-1)
    nearest = distances.argmin(axis=2)
    length = np.take_along_axis(distances, nearest[..., None], axis=2)[..., 0]
    along = np.take_along_axis(vectors, nearest[..., None, None], axis=2)[:, :, 0] / np.maximum(length, 1e-9)[..., None]
    force = (forces * along).sum(axis=-1)
    element = block.numbers[heavy][nearest]
    usable = (length > 0.85) & (length < 1.4) & np.isfinite(force)
    chosen = {z: usable & (element == z) for z in BOND_STIFFNESS}
    return {z: np.stack([length[mask], force[mask]], axis=1) for z, mask in chosen.items() if mask.any()}


def _force_size(table: FrameTable) -> Iterator[Finding]:
    """A coarse look where no bond can be measured."""
    squares = [(block.forces[np.isfinite(block.forces)] ** 2) for block in bonded_blocks(table)]
    values = np.concatenate(squares) if squares else np.zeros(0)
    if not len(values):
        return
    size = float(np.sqrt(values.mean()))
    if size > 20:
        message = f"forces are large (rms {size:.3g} eV/Å), as if in kcal/mol/Å."
        yield Finding("warning", "units", message, "check the unit of the forces.")
    elif 0 < size < 0.03:
        message = f"forces are small (rms {size:.2g} eV/Å): structures close to minima, or forces in Hartree/Bohr."
        yield Finding("warning", "units", message, "check the unit of the forces.")


def _stress_size(table: FrameTable) -> Iterator[Finding]:
    stresses = [np.abs(s.stress).max() for s in table.samples if s.stress is not None]
    if not stresses:
        return
    middle = float(np.median(stresses))
    if middle > LARGE_STRESS:
        message = f"the stress is {middle / GPA:.4g} GPa in the middle of the data, if it is in eV/Å³: GPa or kbar?"
        yield Finding("error", "stress", message, "declare --stress-unit GPa, kbar or vasp-kbar.")


def _splits_differ(table: FrameTable) -> Iterator[Finding]:
    """Root mean square forces of two splits that differ by the factor of a unit."""
    sizes = {}
    for split, rows in table.splits.items():
        forces = [table.samples[row].forces for row in rows]
        squares = [np.nanmean(values**2) for values in forces if values is not None]
        if squares and np.mean(squares) > 0:
            sizes[split] = float(np.sqrt(np.mean(squares)))
    if len(sizes) < 2:
        return
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    ratio = sizes[large] / sizes[small]
    if ratio > 10:
        sizes_told = f"{sizes[large]:.3g} eV/Å in '{large}' and {sizes[small]:.3g} in '{small}'"
        message = f"mixed units? The rms force is {sizes_told}."
        yield Finding("warning", "units", message, "kcal/mol is a factor 23.1, Hartree 27.2, Hartree/Bohr 51.4.")
