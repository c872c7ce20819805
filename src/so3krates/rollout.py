"""Running compiled chunks that depend on a neighbour list: commit all of a chunk or nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from so3krates._errors import CapacityError
from so3krates._programs import forget_if_too_many
from so3krates._typing import Array, Int

State = TypeVar("State")
Neighbors = TypeVar("Neighbors")
Record = TypeVar("Record")

MAX_ATTEMPTS = 12
"""Room grows by half each time: a hundredfold in all, for a gas that a barostat makes a liquid within a chunk."""


@dataclass(frozen=True, eq=False)
class Committed(Generic[State, Neighbors, Record]):
    """The outcome of a chunk during which the neighbour list never overflowed."""

    state: State
    record: Record
    neighbors: Neighbors
    retries: int
    """How often the chunk was thrown away and run again with a larger list."""


def run_chunk(
    chunk: Callable[[State, Neighbors], tuple[State, Record, Int[Array, ""]]],
    state: State,
    neighbors: Neighbors,
    enlarge: Callable[[State, Neighbors, int], Neighbors],
) -> Committed[State, Neighbors, Record]:
    """Run `chunk(state, neighbors) -> (state, record, overflow)`; on overflow discard everything and rerun.

    `enlarge(state, neighbors, overflow)` makes a larger list from the state **before** the chunk; what an overflowed
    chunk computed is invalid, its final state included, and is never looked at. `overflow` is zero for a chunk that
    is valid, and otherwise says what was short (`neighbors/overflow.py`). It is for `enlarge` to tell the user.

    Raises:
        CapacityError: if the list still overflows after several enlargements (the structure is collapsing).
    """
    for retries in range(MAX_ATTEMPTS):
        new_state, record, overflow = chunk(state, neighbors)
        if not int(overflow):
            return Committed(new_state, record, neighbors, retries)
        del new_state, record  # large, and invalid
        forget_if_too_many()  # of smaller lists, which nobody needs again
        neighbors = enlarge(state, neighbors, int(overflow))
    raise CapacityError(
        f"the neighbour list overflowed {MAX_ATTEMPTS} times in a row although it was enlarged each time; "
        "atoms are collapsing onto each other, or the cell changes without bound; check the structure, the potential "
        "and the barostat."
    )
