"""Neighbour lists of a run: made for all starts, enlarged for all that run, and whom no list is large enough for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from so3krates._errors import CapacityError, InputError
from so3krates.md.state import State
from so3krates.neighbors.lists import Neighbors, roomiest
from so3krates.neighbors.verlet import SKIN
from so3krates.potential import Potential
from so3krates.system import System


class Crowded(CapacityError):
    """No list is large enough for some of the replicas."""

    def __init__(self, message: str, replicas: Sequence[int]) -> None:
        super().__init__(message)
        self.replicas = tuple(replicas)


def allocated(potential: Potential, systems: Sequence[System], together: bool) -> Neighbors:
    """Lists for all starts; one structure on its own keeps candidates between steps."""
    lists = roomiest(potential.allocate(system) for system in systems)
    return lists if together else lists.with_skin(systems[0], SKIN)


def with_room(state: State, neighbors: Neighbors) -> State:
    """With room for the candidates of these lists."""
    return state if state.verlet is None else replace(state, verlet=state.verlet.with_room(neighbors.verlet_lists))


def larger(neighbors: Neighbors, systems: Mapping[int, System], overflow: int, together: bool) -> Neighbors:
    """Lists with more of what was short.

    Args:
        neighbors: the lists so far.
        systems: for which they are to hold, by number of the replica.
        overflow: what was short.
        together: whether these are replicas.

    Raises:
        InputError: for one structure on its own that no list can be made for.
        Crowded: for a replica that is so.
    """
    found = []
    for number, system in systems.items():
        try:
            found.append(neighbors.larger(system, overflow))
        except InputError as error:
            if not together:
                raise
            raise Crowded(str(error), (number,)) from error
    return roomiest(found)


def overflowed(state: State) -> list[int]:
    """Numbers of the replicas in whose last step a list overflowed; 0 for one structure on its own."""
    return np.flatnonzero(np.atleast_1d(np.asarray(state.overflow))).tolist()


def first_overflow(state: State) -> int:
    """Number of the step in which a list overflowed."""
    overflow, step = np.asarray(state.overflow), np.asarray(state.step)
    return int(np.min(step[overflow != 0]))
