"""Errors of a model on a data set, from the same compiled evaluation as the loss."""

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np

from so3krates.data.batching import Batch
from so3krates.data.sample import LABELS
from so3krates.term import Term
from so3krates.training.config import LossConfig
from so3krates.training.loss import Errors, LossSums, batch_errors, loss_sums


class Metrics(NamedTuple):
    """Mean absolute and root-mean-square errors, eV, eV/Å, eV/Å³, e·Å; NaN where no label was seen."""

    loss: float
    energy_mae: float
    energy_rmse: float
    energy_per_atom_mae: float
    forces_mae: float
    forces_rmse: float
    stress_mae: float
    stress_rmse: float
    dipole_mae: float
    dipole_rmse: float
    hirshfeld_ratios_mae: float
    hirshfeld_ratios_rmse: float

    def finite(self) -> dict[str, float]:
        """The entries that have a value, by name."""
        return {name: value for name, value in self._asdict().items() if np.isfinite(value)}


class _Sums(NamedTuple):
    absolute: np.ndarray
    squared: np.ndarray
    counts: np.ndarray


def measure(model: Term, batches: Iterable[Batch], config: LossConfig) -> Metrics:
    """Errors over all batches together, every labelled entry counted once."""
    absolute, squared, counts = np.zeros((3, len(LABELS) + 1))
    sums, entries = np.zeros((2, len(LABELS)))
    for batch in batches:
        errors, total = jax.device_get(_evaluated(model, batch, config))
        part = _sums(errors, batch)
        absolute, squared, counts = absolute + part.absolute, squared + part.squared, counts + part.counts
        sums, entries = sums + total.sums, entries + total.counts
    with np.errstate(invalid="ignore", divide="ignore"):
        mae, rmse = absolute / counts, np.sqrt(squared / counts)
    weights = np.array([getattr(config, name) for name in LABELS])
    loss = float(np.sum(weights * sums / np.maximum(entries, 1.0)))
    energy, per_atom, *others = zip(mae.tolist(), rmse.tolist(), strict=True)
    return Metrics(loss, *energy, per_atom[0], *(value for pair in others for value in pair))


@eqx.filter_jit
def _evaluated(model: Term, batch: Batch, config: LossConfig) -> tuple[Errors, LossSums]:
    errors = batch_errors(model, batch)
    return errors, loss_sums(errors, batch, config)


def _sums(errors: Errors, batch: Batch) -> _Sums:
    """Of the energy, the energy per atom, and the other labels in their order."""
    energy = np.asarray(errors.energy, np.float64)
    per_atom = energy / np.asarray(batch.atoms_per_structure, np.float64)
    labelled = [int(np.sum(mask)) for mask in batch.masks]
    parts = [(energy, labelled[0]), (per_atom, labelled[0])]
    for error, count in zip(errors[1:], labelled[1:], strict=True):
        parts.append((np.asarray(error, np.float64), count * int(np.prod(error.shape[1:]))))
    return _Sums(
        np.array([np.abs(error).sum() for error, _ in parts]),
        np.array([np.square(error).sum() for error, _ in parts]),
        np.array([float(count) for _, count in parts]),
    )
