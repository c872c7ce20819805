"""Means of correlated series, with the standard error by block averaging."""

from dataclasses import dataclass, replace

import numpy as np

from so3krates._typing import Float

FEWEST_BLOCKS = 16
"""Of fewer blocks the scatter says too little about the error."""


@dataclass(frozen=True)
class Average:
    """A mean in the unit of what is averaged."""

    mean: float
    spread: float | None
    """Standard deviation of single frames; None of one frame alone."""
    standard_error: float | None
    """Of the mean; None for a series too short to tell."""
    converged: bool | None
    """False if the series is short against its own memory, or that of a run out of equilibrium: the error is then a
    lower bound. None without an error."""


def block_average(series: Float[np.ndarray, " frames"]) -> Average:
    """Mean and its standard error from blocks of 1, 2, 4, … frames.

    With n blocks of B frames, s_B = σ(means of the blocks)/√n grows with B until blocks are independent (Flyvbjerg and
    Petersen, J. Chem. Phys. 91, 461 (1989)), and scatters more the fewer they are. The shortest blocks are taken with
    B³ > 2N (s_B/s_1)⁴ for N frames, which balances the two (Lee et al., Phys. Rev. E 83, 066706 (2011)).

    Args:
        series: of equally spaced frames, at least one.
    """
    values = np.asarray(series, np.float64)
    mean, spread = float(values.mean()), float(values.std()) if len(values) > 1 else None
    errors = _errors(values)
    if not errors:
        return Average(mean, spread, None, None)
    lengths = 2.0 ** np.arange(len(errors))
    correlated = [(error / errors[0]) ** 4 if errors[0] else 1.0 for error in errors]
    enough = np.flatnonzero(lengths**3 > 2.0 * len(values) * np.array(correlated))
    chosen = int(enough[0]) if len(enough) else -1
    return Average(mean, spread, float(errors[chosen]), bool(len(enough)))


def out_of_equilibrium(average: Average) -> Average:
    """The same of a run in which what is averaged changes for good, however long it is."""
    return average if average.standard_error is None else replace(average, converged=False)


def _errors(values: np.ndarray) -> list[float]:
    """s_B by length of the blocks."""
    errors = []
    while (count := len(values)) >= FEWEST_BLOCKS:
        errors.append(float(values.std(ddof=1) / np.sqrt(count)))
        values = values[: count // 2 * 2].reshape(-1, 2).mean(axis=1)
    return errors
