"""Errors of a model on a data set, from the same compiled evaluation as the loss."""

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np

from so3krates.data.batching import Batch
from so3krates.potential import Term
from so3krates.training.config import LossConfig
from so3krates.training.loss import Errors, LossSums, batch_errors, loss_sums


class Metrics(NamedTuple):
    """Mean absolute and root-mean-square errors, eV, eV/Å, eV/Å³; NaN where no label was seen."""

    loss: float
    energy_mae: float
    energy_rmse: float
    energy_per_atom_mae: float
    forces_mae: float
    forces_rmse: float
    stress_mae: float
    stress_rmse: float

    def finite(self) -> dict[str, float]:
        """The entries that have a value, by name."""
        return {name: value for name, value in self._asdict().items() if np.isfinite(value)}


class _Sums(NamedTuple):
    absolute: np.ndarray
    squared: np.ndarray
    counts: np.ndarray


def measure(model: Term, batches: Iterable[Batch], config: LossConfig) -> Metrics:
    """Errors over all batches together, every labelled entry counted once."""
    absolute, squared, counts = np.zeros(4), np.zeros(4), np.zeros(4)
    sums, entries = np.zeros(3), np.zeros(3)
    for batch in batches:
        errors, total = jax.device_get(_evaluated(model, batch, config))
        part = _sums(errors, batch)
        absolute, squared, counts = absolute + part.absolute, squared + part.squared, counts + part.counts
        sums, entries = sums + total.sums, entries + total.counts
    with np.errstate(invalid="ignore", divide="ignore"):
        mae, rmse = absolute / counts, np.sqrt(squared / counts)
    weights = np.array([config.energy, config.forces, config.stress])
    loss = float(np.sum(weights * sums / np.maximum(entries, 1.0)))
    return Metrics(loss, mae[0], rmse[0], mae[1], mae[2], rmse[2], mae[3], rmse[3])


@eqx.filter_jit
def _evaluated(model: Term, batch: Batch, config: LossConfig) -> tuple[Errors, LossSums]:
    errors = batch_errors(model, batch)
    return errors, loss_sums(errors, batch, config)


def _sums(errors: Errors, batch: Batch) -> _Sums:
    energy = np.asarray(errors.energy, np.float64)
    parts = [
        (energy, np.sum(batch.energy_mask)),
        (energy / np.asarray(batch.atoms_per_structure, np.float64), np.sum(batch.energy_mask)),
        (np.asarray(errors.forces, np.float64), 3 * np.sum(batch.forces_mask)),
        (np.asarray(errors.stress, np.float64), 9 * np.sum(batch.stress_mask)),
    ]
    return _Sums(
        np.array([np.abs(error).sum() for error, _ in parts]),
        np.array([np.square(error).sum() for error, _ in parts]),
        np.array([float(count) for _, count in parts]),
    )
