"""Many replicas in one state: all its arrays have a leading axis, and one compiled step moves them together.

A replica that the monitor objects to stays as it is from then on; the others go on.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Array, Bool
from so3krates.md.batch import side_by_side
from so3krates.md.state import Integrator, Snapshot, State

Values = TypeVar("Values")


def stacked(states: Sequence[State]) -> State:
    """States of the same structure as one; integrators of one kind give states of the same shapes.

    Raises:
        InputError: for states whose variables differ in number or shape.
    """
    first = jax.tree.structure(states[0])
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(states[0])]
    for number, state in enumerate(states):
        if jax.tree.structure(state) != first or [jnp.shape(leaf) for leaf in jax.tree.leaves(state)] != shapes:
            raise InputError(
                f"replica {number} has other variables than replica 0; replicas of one run need the same ensemble, "
                "with ramps of as many points, and the same atoms free to move."
            )
    return side_by_side(states)


def replica(values: Values, number: int) -> Values:
    """Of one of them: its state, or anything else with such an axis."""
    return jax.tree.map(lambda leaf: leaf[number], values)


def chosen(those: Bool[Array, " replicas"], new: State, old: State) -> State:
    """Replica by replica, the new state or the old one."""

    def choose(after: Array, before: Array) -> Array:
        if jnp.issubdtype(after.dtype, jax.dtypes.prng_key):
            return before
        return jnp.where(those.reshape(-1, *(1,) * (after.ndim - 1)), after, before)

    return jax.tree.map(choose, new, old)


def check_alike(starts: Sequence[Snapshot], integrators: Sequence[Integrator]) -> None:
    """Replicas share one model, one list of atoms and one kind of ensemble; positions, cells, velocities, temperatures
    and pressures are their own.

    Raises:
        InputError: saying which replica differs from the first, and in what.
    """
    if not starts:
        raise InputError("no replica to run; give at least one start.")
    first = starts[0].system
    for number, (start, integrator) in enumerate(zip(starts, integrators, strict=True)):
        system = start.system
        differing = [
            name
            for name, same in (
                ("elements", np.array_equal(system.numbers, first.numbers)),
                ("masses", np.array_equal(system.masses, first.masses)),
                ("periodic axes", system.pbc == first.pbc),
                ("charge", system.charge == first.charge),
                ("spin", system.unpaired == first.unpaired),
                ("fixed atoms", start.fixed == starts[0].fixed),
                ("kind of ensemble", type(integrator) is type(integrators[0])),
                ("options of the ensemble", _options(integrator) == _options(integrators[0])),
            )
            if not same
        ]
        if differing:
            raise InputError(
                f"replica {number} differs from replica 0 in {', '.join(differing)}; that must be the same."
            )


def _options(integrator: Integrator) -> dict[str, object]:
    """What is no number of its own for each replica: flags, names, counts."""
    values = integrator.model_dump()  # type: ignore[attr-defined]
    return {name: value for name, value in values.items() if isinstance(value, (bool, str, int, type(None)))}
