"""Ramps and lists of atoms in a word: 0:100,20:300 and 0-9,15."""

import re
from math import isfinite

from so3krates._errors import InputError
from so3krates.md.ensembles.schedule import Ramp

_RANGE = re.compile(r"(?P<first>\d+)(?:-(?P<last>\d+))?")

TEMPERATURES = ("300", "0:100,20:300")
PRESSURES = ("0.1", "0:0.1,20:1")
"""A number and a ramp, as examples."""


def parse_ramp(text: str, name: str, examples: tuple[str, str] = TEMPERATURES) -> float | Ramp:
    """A number, or a ramp as points TIME_PS:VALUE with commas between them.

    Args:
        text: such as 300 or 0:100,20:300.
        name: what it is, for the error.
        examples: a number and a ramp, for the error.

    Raises:
        InputError: for anything else, for numbers that are not finite, and for a ramp whose times do not increase.
    """
    points = [point.split(":") for point in text.split(",")]
    try:
        if len(points) == 1 and len(points[0]) == 1:
            return _finite(text)
        pairs = [(_finite(time), _finite(value)) for time, value in points]
    except ValueError as error:
        raise InputError(
            f"{name} is '{text}'; write a number such as {examples[0]}, or a ramp as TIME_PS:VALUE,TIME_PS:VALUE such "
            f"as {examples[1]}."
        ) from error
    times, values = zip(*pairs, strict=True)
    return Ramp.parse({"time_ps": times, "value": values}, source=name)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


def parse_atoms(text: str) -> tuple[range, ...]:
    """Numbers of atoms, from 0 on, and ranges of them with both ends: 0-9,15. They stay ranges, which take no room
    however far a mistake reaches.

    Raises:
        InputError: for anything else.
    """
    found: list[range] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first = -1 if match is None else int(match["first"])
        last = first if match is None or match["last"] is None else int(match["last"])
        if first < 0 or last < first:
            raise InputError(
                f"'{text}' is no list of atoms; write their numbers, counted from 0, and ranges such as 0-9,15."
            )
        found.append(range(first, last + 1))
    return tuple(found)
