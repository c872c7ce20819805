"""How long the chunks of a run are, and how fast it is."""

from math import inf
from time import perf_counter

CAUTION = 0.5
"""Share of the time left that a chunk may be expected to take: the machine may slow down, and another one follows."""


class Pace:
    """Chooses how many steps the next chunk makes, and measures speed."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._next = max(1, min(16, most))
        self._rate = 0.0
        self._steps, self._time = 0, 0.0
        self._begin = self._mark = perf_counter()

    def start(self) -> None:
        """The clock of the whole run."""
        self._begin = perf_counter()

    def next(self, remaining: int, room: float) -> int:
        """Steps of the next chunk, which may take `room` seconds; 0 if there is no time for one."""
        self._mark = perf_counter()
        steps = min(self._next, remaining)
        if room == inf:
            return steps
        # Chunks of equal length differ; a first step tells how long they are at all.
        affordable = CAUTION * room * self._rate if self._rate else float(room > 0)
        return max(0, min(steps, int(affordable)))

    def computed(self, steps: int) -> None:
        """A chunk of so many steps is computed."""
        now = perf_counter()
        self._rate = steps / max(now - self._mark, 1e-9)
        self._next = max(1, min(int(self._seconds * self._rate), 8 * self._next, self._most))
        self._steps, self._time = self._steps + steps, now - self._begin

    @property
    def steps_per_second(self) -> float:
        """Of all chunks; 0 before the first is computed."""
        return self._steps / self._time if self._steps else 0.0
