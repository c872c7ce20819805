"""Numbers of a summary as people read them: averages with their errors, counts, and what a ramp leaves of averages."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so3krates.md.records.averages import Average

NEGLIGIBLE = 1e-7
"""Errors below this share of the value are those of rounding: what was averaged is constant."""
OF_A_RAMP = "follows a ramp, so no average"


def average_text(average: Average, unit: str) -> str:
    """Mean ± standard error, both to the second digit of the error; in words where the error is only a lower bound."""
    value, error = rounded(average)
    if average.standard_error is None:
        return f"{value} {unit}, error unknown"
    if error is None:
        return f"{value} {unit}"
    return f"{value} ± {error} {unit}" if average.converged else f"{value} {unit}, error at least {error} {unit}"


def spread_text(average: Average, unit: str) -> str:
    """Behind the average: how far single frames are from the mean; nothing where there is one alone."""
    return f"; spread {plain(average.spread, 2)} {unit}" if average.spread else ""


def rounded(average: Average) -> tuple[str, str | None]:
    """Value and standard error to the same digit; no error where it is unknown or nothing."""
    mean, error = average.mean, average.standard_error
    if error is None or error <= NEGLIGIBLE * abs(mean):
        return plain(mean, 5), None
    place = _place(error, 2)
    return _at(mean, place), _at(error, place)


def plain(value: float, digits: int) -> str:
    """So many significant digits, and no exponent."""
    return _at(value, _place(value, digits)) if value else "0"


def many(count: int, noun: str, form: str = "") -> str:
    """1 step, 2 steps; 3000 steps, or 3,000 with "," for `form`."""
    return f"{count:{form}} {noun}" + ("" if count == 1 else "s")


def has_ramp(ensemble: Mapping[str, Any]) -> bool:
    """Whether a temperature or a pressure of it changes during the run, so that nothing is in equilibrium.

    Args:
        ensemble: its fields as JSON has them.
    """
    return any(isinstance(value, Mapping) for value in ensemble.values())


def follows_ramp(ensemble: Mapping[str, Any], name: str) -> bool:
    """Whether what is measured goes along with a ramp: all does that is not itself held at a constant value.

    Args:
        ensemble: its fields as JSON has them.
        name: what the field is called that would hold it, such as "temperature_K".
    """
    return has_ramp(ensemble) and not isinstance(ensemble.get(name), int | float)


def _place(value: float, digits: int) -> int:
    """The power of ten of the last of so many significant digits, after rounding to them."""
    return int(np.floor(np.log10(float(f"{abs(value):.{digits - 1}e}")))) - digits + 1


def _at(value: float, place: int) -> str:
    # Zero is added since rounding gives a negative zero too.
    return f"{round(value, -place) + 0.0:.{max(0, -place)}f}"
