"""Means of correlated series, with the standard error by block averaging."""

from dataclasses import dataclass

import numpy as np

from so3krates._typing import Float

FEWEST_BLOCKS = 16
"""Of fewer blocks the scatter says too little about the error."""


@dataclass(frozen=True)
class Average:
    """A mean in the unit of what is averaged."""

    mean: float
    spread: float
    """Standard deviation of single frames."""
    standard_error: float | None
    """Of the mean; None for a series too short to tell."""
    converged: bool | None
    """Whether longer blocks would give the same error: if not, the series is short against its own memory, and the
    error is a lower bound. None without an error."""


def block_average(series: Float[np.ndarray, " frames"]) -> Average:
    """Mean and its standard error from blocks of 1, 2, 4, … frames.

    With n blocks of a length, s = σ(means of the blocks)/√n estimates the error, itself uncertain by s/√(2n − 2); it
    grows with the length until blocks are independent. The shortest blocks are taken of which no longer ones give a
    larger s beyond its uncertainty (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989)).

    Args:
        series: of equally spaced frames, at least one.
    """
    values = np.asarray(series, np.float64)
    errors, doubts = _errors(values)
    mean, spread = float(values.mean()), float(values.std())
    if not len(errors):
        return Average(mean, spread, None, None)
    flat = [k for k in range(len(errors)) if (errors[k + 1 :] - doubts[k + 1 :] <= errors[k]).all()]
    # The longest blocks always qualify, since none are longer; alone they show no plateau.
    return Average(mean, spread, float(errors[flat[0]]), flat[0] < len(errors) - 1)


def _errors(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard error by block length, and its uncertainty."""
    errors, doubts = [], []
    while (count := len(values)) >= FEWEST_BLOCKS:
        errors.append(values.std(ddof=1) / np.sqrt(count))
        doubts.append(errors[-1] / np.sqrt(2.0 * (count - 1)))
        values = values[: count // 2 * 2].reshape(-1, 2).mean(axis=1)
    return np.array(errors), np.array(doubts)
