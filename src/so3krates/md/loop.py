"""The compiled loop: many steps, saved frames and the monitor in one program that Python enters once per chunk."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float, Int
from so3krates.evaluation import Topology, evaluate
from so3krates.md.monitor import Watch
from so3krates.md.operators import kinetic_energy, refresh, temperature
from so3krates.md.state import Integrator, State
from so3krates.neighbors.lists import Neighbors
from so3krates.term import Term


class Record(NamedTuple):
    """Quantities of saved frames, one row each; internal units."""

    step: Int[Array, " frames"]
    positions: Float[Array, "frames atoms 3"]
    velocities: Float[Array, "frames atoms 3"]
    forces: Float[Array, "frames atoms 3"] | None
    potential_energy: Float[Array, " frames"]
    kinetic_energy: Float[Array, " frames"]
    temperature: Float[Array, " frames"]
    conserved: Float[Array, " frames"]
    closest: Float[Array, " frames"]


class Outcome(NamedTuple):
    """What a chunk returns beside the state."""

    record: Record
    """Rows up to `frames` are saved frames; if the monitor objected, the next row is the state that failed."""
    frames: Int[Array, ""]
    status: Int[Array, ""]
    """`monitor.Status`; if it is not RUNNING, the state is the one that failed."""


class Problem(NamedTuple):
    """What does not change during a run."""

    term: Term
    topology: Topology
    integrator: Integrator
    watch: Watch
    keep_forces: bool


@eqx.filter_jit
def first_forces(problem: Problem, state: State, neighbors: Neighbors) -> State:
    """The state with energy and forces at its positions."""
    return refresh(state, _forces(problem, neighbors))


@eqx.filter_jit
def advance(
    problem: Problem,
    state: State,
    neighbors: Neighbors,
    steps: Int[Array, ""],
    every: Int[Array, ""],
    capacity: int,
) -> tuple[State, Outcome, Int[Array, ""]]:
    """Make `steps` steps, saving a frame whenever the step number is a multiple of `every`.

    Both counts are data, so chunks of any length share one compilation. The loop ends early when the monitor objects
    or the neighbour list overflows.

    Args:
        problem: potential, integrator, monitor.
        state: where to start.
        neighbors: the list.
        steps: how many; together with `every` they must not ask for more than `capacity` frames.
        every: steps from frame to frame.
        capacity: rows of the record.
    """
    forces = _forces(problem, neighbors)
    integrator, watch = problem.integrator, problem.watch
    end = state.step + steps

    def healthy(state: State, status: Int[Array, ""]) -> Bool[Array, ""]:
        return (status == 0) & (state.overflow == 0)

    def one_step(carry: tuple[State, Int[Array, ""]]) -> tuple[State, Int[Array, ""]]:
        state = integrator.step(carry[0], forces)
        return state, watch.status(state)

    def until_frame(carry: tuple[State, Outcome]) -> tuple[State, Outcome]:
        state, outcome = carry
        target = jnp.minimum(end, (state.step // every + 1) * every)
        state, status = jax.lax.while_loop(
            lambda inner: (inner[0].step < target) & healthy(*inner), one_step, (state, outcome.status)
        )
        row = _frame(problem, state)
        record = jax.tree.map(lambda rows, value: rows.at[outcome.frames].set(value), outcome.record, row)
        saved = (state.step % every == 0) & healthy(state, status)
        return state, Outcome(record, outcome.frames + saved.astype(jnp.int32), status)

    shape = jax.eval_shape(lambda: _frame(problem, state))
    # One row more than frames: the end of a chunk between two frames writes there and is overwritten.
    empty = jax.tree.map(lambda leaf: jnp.zeros((capacity + 1, *leaf.shape), leaf.dtype), shape)
    start = Outcome(empty, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    state, outcome = jax.lax.while_loop(
        lambda carry: (carry[0].step < end) & healthy(carry[0], carry[1].status), until_frame, (state, start)
    )
    return state, outcome, state.overflow


@eqx.filter_jit
def first_frame(problem: Problem, state: State) -> Outcome:
    """The record of a single state, which counts as a frame if the monitor accepts it."""
    record = jax.tree.map(lambda value: value[None], _frame(problem, state))
    status = problem.watch.status(state)
    return Outcome(record, (status == 0).astype(jnp.int32), status)


def _forces(problem: Problem, neighbors: Neighbors) -> Any:
    def forces(positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None) -> Any:
        return evaluate(problem.term, problem.topology, neighbors, positions, cell)

    return forces


def _frame(problem: Problem, state: State) -> Record:
    return Record(
        step=state.step,
        positions=state.positions,
        velocities=state.velocities,
        forces=state.forces if problem.keep_forces else None,
        potential_energy=state.energy,
        kinetic_energy=kinetic_energy(state),
        temperature=temperature(state),
        conserved=problem.integrator.conserved(state),
        closest=state.closest,
    )
