"""Numbers a model wants to know of its training data: element shifts, scales, mean number of neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.data.sample import LABELS, Dataset, Sample
from so3krates.neighbors import find_pairs

ShiftSource = Literal["least_squares", "isolated_atoms"]
NEIGHBOR_FRAMES = 500
"""Frames, evenly spread, over which the number of neighbours is averaged."""


@dataclass(frozen=True)
class ElementShifts:
    """A reference energy for each element, eV.

    Attributes:
        energies: atomic number to energy, eV.
        source: how they were found.
        unique: whether the data determine them; if not, the least-squares solution of smallest norm was taken: sums
            over the compositions at hand are right, single values mean nothing for other compositions.
        rms_residual: root mean square of what the shifts leave of the energies, eV per atom.
    """

    energies: Mapping[int, float]
    source: ShiftSource
    unique: bool
    rms_residual: float

    @property
    def note(self) -> str:
        """One sentence for the log."""
        values = ", ".join(f"{chemical_symbols[z]} {energy:.4f}" for z, energy in self.energies.items())
        warning = "" if self.unique else "; the compositions do not determine single elements (minimum-norm solution)"
        return f"element shifts by {self.source.replace('_', ' ')}, eV: {values}{warning}"


@dataclass(frozen=True)
class DatasetStatistics:
    """Statistics of a training set.

    Attributes:
        frames: number of frames.
        shifts: reference energies; None without energies.
        energy_mean: mean total energy, eV; None without energies.
        force_rms: root mean square force component, eV/Å; None without forces.
        mean_neighbors: mean number of neighbours of an atom within the cutoff.
        elements: atomic numbers that occur, ascending.
        counts: how many frames have each label.
    """

    frames: int
    shifts: ElementShifts | None
    energy_mean: float | None
    force_rms: float | None
    mean_neighbors: float
    elements: tuple[int, ...]
    counts: Mapping[str, int]


def dataset_statistics(
    dataset: Dataset, cutoff: float, shift_source: ShiftSource = "least_squares"
) -> DatasetStatistics:
    """One pass over a data set.

    Args:
        dataset: the training set.
        cutoff: Å, for the number of neighbours.
        shift_source: how to find the element shifts.

    Raises:
        InputError: for an empty set, or isolated atoms asked for but missing.
    """
    if not len(dataset):
        raise InputError("statistics of an empty data set.")
    energies, squares, components = [], 0.0, 0
    rows: list[_EnergyRow] = []
    elements: set[int] = set()
    counts: dict[str, int] = {label: 0 for label in LABELS}
    for sample in dataset:
        elements.update(np.unique(sample.system.numbers).tolist())
        for label in counts:
            counts[label] += getattr(sample, label) is not None
        if sample.energy is not None:
            rows.append(_energy_row(sample))
            energies += [] if sample.isolated_atom else [sample.energy]
        if sample.forces is not None and not sample.isolated_atom:
            squares += float((sample.forces**2).sum())
            components += sample.forces.size
    ordered = tuple(sorted(elements))
    return DatasetStatistics(
        frames=len(dataset),
        shifts=_shifts(rows, ordered, shift_source) if rows else None,
        energy_mean=float(np.mean(energies)) if energies else None,
        force_rms=float(np.sqrt(squares / components)) if components else None,
        mean_neighbors=mean_neighbors(dataset, cutoff),
        elements=ordered,
        counts=counts,
    )


def element_shifts(dataset: Dataset, source: ShiftSource = "least_squares") -> ElementShifts:
    """Reference energies e_Z with E ≈ Σ_atoms e_Z, by least squares on energies per atom, or from isolated atoms.

    Isolated atoms do not enter the least squares unless there is nothing else. Where the compositions do not determine
    every element (one molecule only, for example) the solution of smallest norm is taken and `unique` is False.

    Raises:
        InputError: if no frame has an energy, or isolated atoms are asked for and an element has none.
    """
    rows = [_energy_row(sample) for sample in dataset if sample.energy is not None]
    if not rows:
        raise InputError("element shifts need energies, but no frame has one.")
    elements = sorted({z for row in rows for z in row.counts} | {int(z) for s in dataset for z in s.system.numbers})
    return _shifts(rows, tuple(elements), source)


def mean_neighbors(dataset: Dataset, cutoff: float, max_frames: int = NEIGHBOR_FRAMES) -> float:
    """Mean number of atoms, images included, within `cutoff` (Å) of an atom, over at most `max_frames` frames."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), max_frames)).astype(int))
    systems = [dataset[int(index)].system for index in chosen]
    pairs = sum(len(find_pairs(system, cutoff).centers) for system in systems)
    return 2.0 * pairs / max(sum(map(len, systems)), 1)


@dataclass(frozen=True)
class _EnergyRow:
    counts: Mapping[int, int]
    energy: float
    isolated: bool


def _energy_row(sample: Sample) -> _EnergyRow:
    numbers, counts = np.unique(sample.system.numbers, return_counts=True)
    counted = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    return _EnergyRow(counted, float(sample.energy or 0.0), sample.isolated_atom)


def _shifts(rows: Sequence[_EnergyRow], elements: tuple[int, ...], source: ShiftSource) -> ElementShifts:
    molecules = [row for row in rows if not row.isolated] or list(rows)
    counts = np.array([[row.counts.get(z, 0) for z in elements] for row in molecules], dtype=np.float64)
    energy = np.array([row.energy for row in molecules])
    if source == "isolated_atoms":
        shifts, unique = _from_isolated_atoms(rows, elements), True
    else:
        shifts, unique = _least_squares(counts, energy)
    residual = (energy - counts @ shifts) / counts.sum(axis=1)
    named = dict(zip(elements, shifts.tolist(), strict=True))
    return ElementShifts(named, source, unique, float(np.sqrt(np.mean(residual**2))))


def _least_squares(
    counts: Float[np.ndarray, "frames elements"], energy: Float[np.ndarray, " frames"]
) -> tuple[Float[np.ndarray, " elements"], bool]:
    """Per atom, so that large structures do not outweigh small ones."""
    atoms = counts.sum(axis=1)
    shifts, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], energy / atoms, rcond=1e-9)
    return shifts, int(rank) == counts.shape[1]


def _from_isolated_atoms(rows: Sequence[_EnergyRow], elements: tuple[int, ...]) -> Float[np.ndarray, " elements"]:
    found = {next(iter(row.counts)): row.energy for row in rows if row.isolated}
    lacking = [chemical_symbols[z] for z in elements if z not in found]
    if lacking:
        raise InputError(
            f"no isolated-atom energy for {', '.join(lacking)}; add such frames (config_type=IsolatedAtom) or take the "
            "shifts from least squares."
        )
    return np.array([found[z] for z in elements])
