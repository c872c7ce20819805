"""Two zeros of energy: how the energies of a data set lie to those of a model, element by element."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols

from so3krates._errors import InputError, So3kratesError
from so3krates._typing import Float, Int
from so3krates.data.doctor_report import Finding
from so3krates.data.frames import About, Frames, about
from so3krates.data.sample import Dataset, Sample
from so3krates.graph import PairLists, Sizes
from so3krates.potential import Potential

NOTEWORTHY = 1e-3
"""eV per atom; a smaller deviation is no matter of the zero of energy."""
MAX_FRAMES = 500
"""Evenly spread; the zero of energy is known long before."""
BATCH = 20
SAME_ZERO = 0.05
"""eV per atom; what two zeros may differ by and still be called one."""
FAR_OFF = 0.1
"""eV per atom; what remains between labels and a model that has anything to do with them is less."""


@dataclass(frozen=True)
class ZeroOfEnergy:
    """What must be added to the reference energies of a model to meet a data set.

    Attributes:
        shifts: eV by atomic number; of the solutions of least squares the smallest.
        unique: whether the compositions determine every element.
        before: root mean square of label − prediction, eV per atom.
        after: the same with these shifts.
        frames: number of frames looked at.
    """

    shifts: Mapping[int, float]
    unique: bool
    before: float
    after: float
    frames: int

    @property
    def explains_most(self) -> bool:
        """Whether the deviation is worth a word and more than half of it is gone with these shifts."""
        return self.before > NOTEWORTHY and self.after < 0.5 * self.before

    @property
    def note(self) -> str:
        """One sentence for the log."""
        values = ", ".join(f"{chemical_symbols[z]} {energy:+.4f}" for z, energy in self.shifts.items())
        warning = "" if self.unique else "; the compositions do not determine single elements (minimum-norm solution)"
        return (
            f"zero of energy: shifts of {values} eV take the deviation from {self.before:.4g} to {self.after:.4g} eV "
            f"per atom ({self.frames} frames){warning}"
        )


def zero_of_energy(potential: Potential, dataset: Dataset, max_frames: int = MAX_FRAMES) -> ZeroOfEnergy | None:
    """Fit a shift per element to label − prediction; None for a data set without energies.

    Looks at `max_frames` structures, and at more until every element of the data is among them; at isolated atoms only
    where nothing else holds their element.

    Raises:
        InputError: for an element the model does not know.
    """
    samples = _covering(dataset, max_frames)
    if not samples:
        return None
    residual = np.concatenate(list(_residuals(potential, samples)))
    return fitted_zero([sample.system.numbers for sample in samples], residual)


def fitted_zero(numbers: Sequence[Int[np.ndarray, " _atoms"]], residual: Float[np.ndarray, " frames"]) -> ZeroOfEnergy:
    """A shift per element by least squares on label − prediction (eV) per atom, for frames of these elements."""
    elements = sorted({int(z) for frame in numbers for z in frame})
    counts = np.array([[np.sum(frame == z) for z in elements] for frame in numbers], np.float64)
    atoms = counts.sum(axis=1)
    # Per atom, so that large structures do not outweigh small ones.
    shifts, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], residual / atoms, rcond=1e-9)

    def rms(values: Float[np.ndarray, " frames"]) -> float:
        return float(np.sqrt(np.mean((values / atoms) ** 2)))

    return ZeroOfEnergy(
        dict(zip(elements, shifts.tolist(), strict=True)),
        int(rank) == len(elements),
        rms(residual),
        rms(residual - counts @ shifts),
        len(numbers),
    )


def _covering(dataset: Dataset, max_frames: int) -> list[Sample]:
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), max_frames)).astype(int)).tolist()
    rest = sorted(set(range(len(dataset))) - set(chosen))
    samples: list[Sample] = []
    atoms: list[Sample] = []
    covered: set[int] = set()
    for n in [*chosen, *rest]:
        sample = dataset[n]
        if sample.energy is None:
            continue
        elements = set(sample.system.numbers.tolist())
        if sample.isolated_atom:
            atoms.append(sample)
        elif len(samples) < len(chosen) or not elements <= covered:
            samples.append(sample)
            covered |= elements
    return samples + [atom for atom in atoms if not set(atom.system.numbers.tolist()) <= covered]


def check_zero_of_energy(potential: Potential, dataset: Dataset) -> Iterator[Finding]:
    """The doctor's findings for data that are to be used with a model: do the element shifts fit?"""
    try:
        found = zero_of_energy(potential, dataset)
    except So3kratesError as error:
        yield Finding(
            "error",
            "zero-of-energy",
            f"the model cannot be evaluated on these data: {error}",
            "leave such frames out, or choose a model that was made for them.",
        )
        return
    if found is None:
        return
    if found.before <= found.after + SAME_ZERO:
        yield Finding("info", "zero-of-energy", f"energies have the model's zero; {found.note}.")
    else:
        yield Finding(
            "warning",
            "zero-of-energy",
            f"energies have another zero than the model's; {found.note}.",
            "fine-tuning with start.model fits these shifts first; evaluate forces and energy differences only.",
        )
    if found.after > FAR_OFF:
        yield Finding(
            "warning",
            "far-from-model",
            f"whatever the zero, energies differ from the model's by {found.after:.3g} eV per atom (root mean square).",
            "look at units, total charges and multiplicities; a model this far off has little to give to a new one.",
        )


class ShiftedEnergies(Frames):
    """A data set whose energies are moved by a shift per element, eV."""

    def __init__(self, dataset: Dataset, shifts: Mapping[int, float]) -> None:
        self._dataset, self._shifts = dataset, dict(shifts)

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def about(self) -> About:
        return about(self._dataset)

    def read(self, index: int) -> Sample:
        sample = self._dataset[index]
        if sample.energy is None:
            return sample
        unknown = sorted(set(sample.system.numbers.tolist()) - self._shifts.keys())
        if unknown:
            raise InputError(f"{sample.origin}: no energy shift is known for {chemical_symbols[unknown[0]]}.")
        return replace(sample, energy=sample.energy + sum(self._shifts[z] for z in sample.system.numbers.tolist()))


def _residuals(potential: Potential, samples: list[Sample]) -> Iterator[Float[np.ndarray, " frames"]]:
    sizes = Sizes(0, 0, 0)
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        filled = batch + batch[-1:] * (BATCH - len(batch))
        systems = [sample.system for sample in filled]
        lists = [_pairs(potential, sample) for sample in filled]
        sizes = Sizes.of(systems, lists).grown(sizes)
        energies = [prediction.energy for prediction in potential.predict(systems, sizes, lists)]
        yield np.array([float(sample.energy or 0.0) - e for sample, e in zip(batch, energies, strict=False)])


def _pairs(potential: Potential, sample: Sample) -> PairLists:
    try:
        return potential.find_pairs(sample.system)
    except InputError as error:
        raise InputError(f"{sample.origin}: {error}") from error
