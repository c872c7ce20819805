"""What the checks share: reference results of a structure and the scales of deviations."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.graph import Sizes, bucket
from so3krates.potential import Potential
from so3krates.prediction import Prediction
from so3krates.system import System

TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
"""Relative, by precision of the arithmetic."""
DISPLACEMENT_A = 0.05
"""Å; of the copies that serve as a second, less symmetric structure."""


def room(potential: Potential, systems: Sequence[System]) -> Sizes:
    """Padded sizes in which every check on any of the structures fits: two copies and some spare pairs."""
    atoms = max(len(system) for system in systems)
    counts = [potential.find_pairs(system).counts for system in systems]
    near, far = (max(kind) for kind in zip(*counts, strict=True))
    # Two molecules apart have more far pairs than twice those of one.
    long_range = bucket(ceil(4.4 * far) + 4 * atoms) if far else 0
    # A finer mesh than any needs, so that it stays the same where cells are strained.
    mesh = (ceil(1.2 * max(points)) for points in zip(*(potential.mesh(system) for system in systems), strict=True))
    return Sizes(2, bucket(2 * atoms), bucket(ceil(2.2 * near) + 4 * atoms), long_range, *mesh)


def displaced(system: System, seed: int = 0, by_A: float = DISPLACEMENT_A) -> System:
    """A copy whose atoms are moved at random by normal deviates of `by_A` (Å)."""
    noise = np.random.default_rng(seed).normal(scale=by_A, size=system.positions.shape)
    return system.moved(system.positions + noise)


class Probe(NamedTuple):
    """A structure's reference results, and the scales its deviations are measured by."""

    potential: Potential
    system: System
    sizes: Sizes
    tolerance: float
    prediction: Prediction
    energy_scale: float
    force_scale: float
    stress_scale: float

    @classmethod
    def of(cls, potential: Potential, system: System, tolerance: float | None, sizes: Sizes | None) -> "Probe":
        sizes = sizes or room(potential, [system])
        # Without reference energies: they are constants, and their rounding would hide that of what is tested.
        potential = replace(potential, elements=None)
        here, near = (potential.predict([s], sizes)[0] for s in (system, displaced(system)))
        for name, values in (("energies", here.energies), ("forces", here.forces)):
            finite(system, name, values)
        forces = float(max(np.abs(p.forces).max(initial=0.0) for p in (here, near)))
        if len(system) > 1 and forces == 0.0:
            raise InputError(f"{system.formula}: all forces are zero, so nothing is checked; let its atoms interact.")
        stresses = [np.abs(p.stress).max() for p in (here, near) if p.stress is not None]
        return cls(
            potential,
            system,
            sizes,
            TOLERANCES[potential.dtype.name] if tolerance is None else tolerance,
            here,
            float(np.abs(here.energies).sum()),
            forces,
            float(max(stresses, default=0.0)),
        )

    def small(
        self, quantity: str, what: str, deviation: float | Float[np.ndarray, "..."], tolerance: float | None = None
    ) -> None:
        scale = {"energy": self.energy_scale, "forces": self.force_scale, "stress": self.stress_scale}[quantity]
        found = float(np.abs(deviation).max(initial=0.0)) if np.ndim(deviation) else abs(float(deviation))
        within(
            f"{self.system.formula}: deviation of the {quantity} {what}", found, (tolerance or self.tolerance) * scale
        )

    def compare(
        self,
        what: str,
        other: System,
        *,
        energies: Callable[[np.ndarray], np.ndarray] = lambda e: e,
        forces: Callable[[np.ndarray], np.ndarray] = lambda f: f,
        stress: Callable[[np.ndarray], np.ndarray] = lambda s: s,
    ) -> None:
        """Predict `other`, transform its results back and compare."""
        result = self.potential.predict([other], self.sizes)[0]
        back = None if result.stress is None else stress(result.stress)
        self.compare_predictions(
            what, Prediction(result.energy, energies(result.energies), forces(result.forces), back)
        )

    def compare_predictions(self, what: str, result: Prediction) -> None:
        self.small("energy", what, result.energy - self.prediction.energy)
        self.small("energy", f"per atom {what}", result.energies - self.prediction.energies)
        self.small("forces", what, result.forces - self.prediction.forces)
        if self.prediction.stress is not None:
            assert result.stress is not None
            self.small("stress", what, result.stress - self.prediction.stress)

    def compare_repeated(self, axis: int) -> None:
        """A cell repeated along an axis. A total charge is repeated with it."""
        system, cell = self.system, self.system.cell
        assert cell is not None
        scaling = np.ones(3)
        scaling[axis] = 2.0
        twice = replace(
            system,
            positions=np.concatenate([system.positions, system.positions + cell[axis]]),
            numbers=np.tile(system.numbers, 2),
            cell=cell * scaling[:, None],
            isotope_masses=None,
            charge=2.0 * system.charge,
            unpaired=2.0 * system.unpaired,
        )
        result = self.potential.predict([twice], self.sizes)[0]
        what = f"in a cell repeated along axis {axis}"
        n = len(system)
        half = Prediction(0.5 * result.energy, result.energies[:n], result.forces[:n], result.stress)
        self.compare_predictions(what, half)
        self.compare_predictions(what, half._replace(energies=result.energies[n:], forces=result.forces[n:]))


def finite(system: System, name: str, values: np.ndarray) -> None:
    if not np.isfinite(np.asarray(values)).all():
        raise AssertionError(f"{system.formula}: {name} not finite.")


def within(what: str, found: float, allowed: float) -> None:
    # Negated, so that NaN fails.
    if not found <= allowed:
        raise AssertionError(f"{what}: {found:.3g}, allowed {allowed:.3g}.")
