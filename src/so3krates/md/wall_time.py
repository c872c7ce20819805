"""Wall time: as batch systems write it, and how much of it is left."""

import re
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from so3krates._errors import InputError

MARGIN = 0.01
"""Share of the wall time that is kept for the last frames and the checkpoint, within the two limits below."""
LEAST_MARGIN_S = 2.0
MOST_MARGIN_S = 30.0
WRITES = 3.0
"""As many times the slowest writing so far are kept at least."""

_FORMS = re.compile(r"(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d\d)")


def parse_wall_time(text: str) -> float:
    """Seconds of a wall time as SLURM writes it: MM:SS, H:MM:SS or D-HH:MM:SS.

    Raises:
        InputError: for anything else, and for no time at all.
    """
    found = _FORMS.fullmatch(text.strip())
    days, hours, minutes, seconds = (
        (0, 0, 0, 0) if found is None else (int(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
    )
    complete = found is not None and (found["days"] is None or found["hours"] is not None)
    # Only the first part may exceed what the clock shows.
    inside = seconds < 60 and (found is None or found["hours"] is None or minutes < 60) and (not days or hours < 24)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not complete or not inside or total == 0:
        raise InputError(
            f"the wall time is '{text}'; write it as H:MM:SS such as 23:50:00, as D-HH:MM:SS such as 2-11:30:00, or as "
            "MM:SS such as 45:00."
        )
    return float(total)


@dataclass(frozen=True)
class Deadline:
    """When a run has to be over, its last writing included; the clock runs from the creation of the object."""

    wall_time_s: float = inf
    began: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        if not self.wall_time_s > 0:
            raise InputError(f"wall_time_s is {self.wall_time_s}; it must be positive.")

    def room(self, slowest_write_s: float) -> float:
        """Seconds left for computing; infinite without a wall time."""
        margin = min(max(MARGIN * self.wall_time_s, LEAST_MARGIN_S), MOST_MARGIN_S)
        return self.began + self.wall_time_s - monotonic() - max(margin, WRITES * slowest_write_s)
