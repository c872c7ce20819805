"""evaluate: a potential against labelled data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from so3krates._errors import InputError
from so3krates._typing import Float, Int
from so3krates.analysis.errors import ErrorStatistics, error_statistics, errors_by_element
from so3krates.data.sample import LABELS, Dataset, Sample
from so3krates.data.zero_of_energy import ZeroOfEnergy, fitted_zero
from so3krates.graph import Sizes
from so3krates.potential import Potential
from so3krates.prediction import Prediction
from so3krates.system import System

UNITS = {
    "energy": "eV",
    "energy_shifted": "eV",
    "energy_per_atom": "eV/atom",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3",
    "dipole": "e*Angstrom",
    "hirshfeld_ratios": "1",
}


@dataclass(frozen=True)
class WorstFrame:
    """A frame by the size of its error."""

    origin: str
    formula: str
    forces_rmse: float | None
    """eV/Å; None without force labels."""
    energy_error: float | None
    """Predicted − reference, eV; None without an energy label."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Reference and prediction of every frame, NaN where there is no label (or no stress to predict).

    Energies in eV, forces in eV/Å, stresses in eV/Å³, dipoles in e·Å.
    """

    origins: tuple[str, ...]
    """File and frame."""
    formulas: tuple[str, ...]
    atoms_per_frame: Int[np.ndarray, " frames"]
    numbers: Int[np.ndarray, " atoms"]
    """Elements of all atoms of all frames."""
    energy_reference: Float[np.ndarray, " frames"]
    energy_predicted: Float[np.ndarray, " frames"]
    forces_reference: Float[np.ndarray, "atoms 3"]
    forces_predicted: Float[np.ndarray, "atoms 3"]
    stress_reference: Float[np.ndarray, "frames 3 3"]
    stress_predicted: Float[np.ndarray, "frames 3 3"]
    dipole_reference: Float[np.ndarray, "frames 3"]
    dipole_predicted: Float[np.ndarray, "frames 3"]
    ratios_reference: Float[np.ndarray, " atoms"]
    """Hirshfeld ratios."""
    ratios_predicted: Float[np.ndarray, " atoms"]
    remarks: tuple[str, ...] = ()
    """What was not treated as it is given, or as one would expect; a sentence for each kind of frames."""

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def statistics(self) -> dict[str, ErrorStatistics]:
        """By quantity: energy, energy_shifted, energy_per_atom, forces, stress, dipole, hirshfeld_ratios; only those
        with labels. Shifted are predictions by `zero_of_energy`."""
        zero = self.zero_of_energy
        shifts = {} if zero is None else zero.shifts
        moved = [sum(shifts.get(z, 0.0) for z in frame.tolist()) for frame in self._numbers_by_frame]
        pairs = {
            "energy": (self.energy_reference, self.energy_predicted),
            **({"energy_shifted": (self.energy_reference, self.energy_predicted + np.array(moved))} if zero else {}),
            "energy_per_atom": (
                self.energy_reference / self.atoms_per_frame,
                self.energy_predicted / self.atoms_per_frame,
            ),
            "forces": (self.forces_reference, self.forces_predicted),
            "stress": (self.stress_reference, self.stress_predicted),
            "dipole": (self.dipole_reference, self.dipole_predicted),
            "hirshfeld_ratios": (self.ratios_reference, self.ratios_predicted),
        }
        return {name: error_statistics(*pair) for name, pair in pairs.items() if not np.isnan(pair[0]).all()}

    @cached_property
    def zero_of_energy(self) -> ZeroOfEnergy | None:
        """The shift per element that brings predicted energies nearest to the labels; None where there are no more
        labels than elements, which shifts meet whatever the model says."""
        frames = [n for n in range(len(self)) if not np.isnan(self.energy_reference[n])]
        numbers = [self._numbers_by_frame[n] for n in frames]
        if len(frames) <= len({z for frame in numbers for z in frame.tolist()}):
            return None
        return fitted_zero(numbers, self.energy_reference[frames] - self.energy_predicted[frames])

    @property
    def energy_note(self) -> str | None:
        """A sentence where most of the energy error is only another zero of energy."""
        if self.zero_of_energy is None or not self.zero_of_energy.explains_most:
            return None
        return (
            "Most of the energy error is a zero of energy that data and model do not share, so look at the shifted "
            f"energies; {self.zero_of_energy.note}."
        )

    @property
    def _numbers_by_frame(self) -> list[Int[np.ndarray, " _atoms"]]:
        return np.split(self.numbers, np.cumsum(self.atoms_per_frame)[:-1])

    @property
    def forces_by_element(self) -> dict[str, ErrorStatistics]:
        """Force errors by chemical symbol."""
        found = errors_by_element(self.forces_reference, self.forces_predicted, self.numbers)
        return {chemical_symbols[z]: statistics for z, statistics in found.items()}

    def worst(self, count: int = 5) -> list[WorstFrame]:
        """The frames with the largest force error, or the largest energy error per atom where there are no forces."""
        forces = self._forces_rmse()
        energy = self.energy_predicted - self.energy_reference
        key = np.abs(energy) / self.atoms_per_frame if np.isnan(forces).all() else forces
        order = [int(n) for n in np.argsort(-np.nan_to_num(key, nan=-1.0), kind="stable")[:count]]
        return [
            WorstFrame(self.origins[n], self.formulas[n], _known(forces[n]), _known(energy[n]))
            for n in order
            if not np.isnan(key[n])
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is in the tables."""
        return {
            "frames": len(self),
            "units": UNITS,
            "errors": {name: statistics.as_dict() for name, statistics in self.statistics.items()},
            "forces_by_element": {symbol: found.as_dict() for symbol, found in self.forces_by_element.items()},
            "worst_frames": [vars(frame) for frame in self.worst()],
            "energy_shifts": self._named_shifts(),
            "energy_note": self.energy_note,
            "remarks": list(self.remarks),
        }

    def _named_shifts(self) -> dict[str, float] | None:
        """eV by chemical symbol."""
        zero = self.zero_of_energy
        return None if zero is None else {chemical_symbols[z]: shift for z, shift in zero.shifts.items()}

    def _forces_rmse(self) -> Float[np.ndarray, " frames"]:
        """Root mean square over the labelled components of each frame."""
        squared = (self.forces_predicted - self.forces_reference) ** 2
        frame = np.repeat(np.arange(len(self)), self.atoms_per_frame)
        labelled = ~np.isnan(squared)
        total = np.bincount(frame, np.where(labelled, squared, 0.0).sum(axis=1), len(self))
        count = np.bincount(frame, labelled.sum(axis=1), len(self))
        return np.sqrt(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def evaluate(
    potential: Potential,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
    keep: Callable[[System, Prediction], None] | None = None,
) -> Evaluation:
    """Predict every frame of a data set and set the results beside its labels.

    Args:
        potential: the model.
        dataset: frames with labels; read once, batch by batch.
        batch_size: frames evaluated together.
        progress: called with the frames done and their total after each batch.
        keep: called with every structure and what is predicted for it, in order.

    Raises:
        InputError: for an empty data set, one without any label that the potential predicts (unless predictions are
            kept), or a frame it cannot take (which one).
    """
    if not len(dataset):
        raise InputError("the data set to evaluate on holds no frames.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    rows: list[tuple[Sample, Prediction]] = []
    sizes = Sizes(0, 0, 0)
    for start in range(0, len(dataset), batch_size):
        batch = [dataset[n] for n in range(start, min(start + batch_size, len(dataset)))]
        # A short last batch is filled up, because a batch of another size would be compiled anew.
        filled = batch + batch[-1:] * (batch_size - len(batch) if start else 0)
        predictions, sizes = _predicted(potential, filled, sizes)
        rows += zip(batch, predictions, strict=False)
        if keep is not None:
            for sample, prediction in zip(batch, predictions, strict=False):
                keep(sample.system, prediction)
        if progress is not None:
            progress(len(rows), len(dataset))
    evaluation = _collected(rows, _remarks(potential, [sample.system for sample, _ in rows]))
    if keep is None and not evaluation.statistics:
        raise _nothing_to_compare([sample for sample, _ in rows])
    return evaluation


def _predicted(potential: Potential, batch: Sequence[Sample], sizes: Sizes) -> tuple[list[Prediction], Sizes]:
    """Predictions, padded at least to `sizes`, and the sizes they took; an error names the frame."""
    for sample in batch:
        try:
            potential.check(sample.system)
        except InputError as error:
            raise InputError(f"{sample.origin}: {error}" if sample.origin else str(error)) from error
    try:
        systems = [sample.system for sample in batch]
        lists = [potential.find_pairs(system) for system in systems]
        # Sizes only grow: a batch that needs a little less is not compiled anew.
        sizes = Sizes.of(systems, lists).grown(sizes)
        return potential.predict(systems, sizes, lists), sizes
    except InputError as error:
        raise InputError(f"between {batch[0].origin} and {batch[-1].origin}: {error}") from error


def _nothing_to_compare(samples: Sequence[Sample]) -> InputError:
    given = [name for name in LABELS if any(getattr(sample, name) is not None for sample in samples)]
    nan = sorted({name for sample in samples for name in sample.nan_labels})
    reason = "neither energy, forces nor stress are given"
    if nan:
        reason = f"{', '.join(nan)} are NaN throughout"
    if given:
        reason = f"there is {', '.join(given)}, of which the model predicts nothing"
    return InputError(
        f"{samples[0].origin or 'the data set'} and the {len(samples) - 1} frames after it hold no labels to compare "
        f"with ({reason})."
    )


def _remarks(potential: Potential, systems: Sequence[System]) -> tuple[str, ...]:
    """The first remark of every kind, and how many more there are of it."""
    kinds: dict[str, list[str]] = {}
    for system in systems:
        for kind, remark in potential.remarks(system).items():
            kinds.setdefault(kind, []).append(remark)
    return tuple(
        found[0] + (f" The same goes for {len(found) - 1:,} more of the {len(systems):,} frames." if found[1:] else "")
        for found in kinds.values()
    )


def _collected(rows: list[tuple[Sample, Prediction]], remarks: tuple[str, ...]) -> Evaluation:
    samples = [sample for sample, _ in rows]
    missing = np.full((3, 3), np.nan)
    return Evaluation(
        origins=tuple(sample.origin for sample in samples),
        formulas=tuple(sample.system.formula for sample in samples),
        atoms_per_frame=np.array([len(sample.system) for sample in samples]),
        numbers=np.concatenate([sample.system.numbers for sample in samples]),
        energy_reference=np.array([np.nan if s.energy is None else s.energy for s in samples], np.float64),
        energy_predicted=np.array([prediction.energy for _, prediction in rows], np.float64),
        forces_reference=np.concatenate(
            [np.full((len(s.system), 3), np.nan) if s.forces is None else np.asarray(s.forces) for s in samples]
        ).astype(np.float64),
        forces_predicted=np.concatenate([prediction.forces for _, prediction in rows]),
        stress_reference=np.stack(
            [s.stress if s.stress is not None and p.stress is not None else missing for s, p in rows]
        ).astype(np.float64),
        stress_predicted=np.stack([missing if p.stress is None else p.stress for _, p in rows]),
        remarks=remarks,
        **_property_pairs(rows),
    )


def _property_pairs(rows: list[tuple[Sample, Prediction]]) -> dict[str, np.ndarray]:
    """Dipoles and Hirshfeld ratios; a label without a prediction to compare it with counts as none."""

    def values(given: np.ndarray | None, other: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, np.nan) if given is None or other is None else np.asarray(given, np.float64)

    pairs = [((s.dipole, p.dipole), (3,)) for s, p in rows]
    ratios = [((s.hirshfeld_ratios, p.hirshfeld_ratios), (len(s.system),)) for s, p in rows]
    return {
        "dipole_reference": np.stack([values(label, found, shape) for (label, found), shape in pairs]),
        "dipole_predicted": np.stack([values(found, label, shape) for (label, found), shape in pairs]),
        "ratios_reference": np.concatenate([values(label, found, shape) for (label, found), shape in ratios]),
        "ratios_predicted": np.concatenate([values(found, label, shape) for (label, found), shape in ratios]),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
