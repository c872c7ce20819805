"""Errors of predictions: mean absolute, root mean square, largest, and the mean signed error; also per element."""

from dataclasses import asdict, dataclass

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float, Int


@dataclass(frozen=True)
class ErrorStatistics:
    """Errors Δ = predicted − reference of one quantity, over all its components, in the unit of the quantity."""

    count: int
    """Number of values compared."""
    mae: float
    """⟨|Δ|⟩"""
    rmse: float
    """√⟨Δ²⟩"""
    largest: float
    """max |Δ|"""
    bias: float
    """⟨Δ⟩"""

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def error_statistics(reference: Float[np.ndarray, "..."], predicted: Float[np.ndarray, "..."]) -> ErrorStatistics:
    """Statistics of predicted − reference; places where the reference is NaN (no label) are left out.

    Raises:
        InputError: for arrays of different shapes, or without a single label.
    """
    reference, predicted = np.asarray(reference, np.float64), np.asarray(predicted, np.float64)
    if reference.shape != predicted.shape:
        raise InputError(f"reference has shape {reference.shape} and prediction {predicted.shape}; they must agree.")
    labelled = ~np.isnan(reference)
    if not labelled.any():
        raise InputError(f"none of the {reference.size} reference values is a number; there is nothing to compare.")
    error = predicted[labelled] - reference[labelled]
    return ErrorStatistics(
        count=int(error.size),
        mae=float(np.mean(np.abs(error))),
        rmse=float(np.sqrt(np.mean(error**2))),
        largest=float(np.max(np.abs(error))),
        bias=float(np.mean(error)),
    )


def errors_by_element(
    reference: Float[np.ndarray, "atoms *rest"],
    predicted: Float[np.ndarray, "atoms *rest"],
    numbers: Int[np.ndarray, " atoms"],
) -> dict[int, ErrorStatistics]:
    """Statistics of per-atom quantities such as forces, by atomic number; elements without a label are left out."""
    reference, predicted, numbers = np.asarray(reference), np.asarray(predicted), np.asarray(numbers)
    present = [int(z) for z in np.unique(numbers) if not np.isnan(reference[numbers == z]).all()]
    return {z: error_statistics(reference[numbers == z], predicted[numbers == z]) for z in present}
