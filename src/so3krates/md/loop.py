"""The compiled loop: many steps, saved frames and the monitor in one program that Python enters once per chunk.

It moves one structure, or many replicas at once: then all arrays of the state have a leading axis, and so have the
columns of the record behind that of the frames.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float, Int
from so3krates.evaluation import Topology, evaluate
from so3krates.md.exchange import exchange
from so3krates.md.operators import kinetic_energy, pressure, refresh, temperature
from so3krates.md.replicas import chosen
from so3krates.md.state import Integrator, State
from so3krates.md.watch import Watch
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
    pressure: Float[Array, " frames"] | None
    """None for structures that are not periodic along all axes."""
    cells: Float[Array, "frames 3 3"] | None
    """None where the cell does not move."""
    walker: Int[Array, " frames"] | None
    """Whose configuration a replica shows; None where they are not exchanged."""


class Outcome(NamedTuple):
    """What a chunk returns beside the state."""

    record: Record
    """Rows up to `frames` are saved frames; if the monitor objected, the next row is the state that failed."""
    frames: Int[Array, "*replicas"]
    status: Int[Array, "*replicas"]
    """`Status`; if it is not RUNNING, the state is the one that failed, and a replica stays there."""


class Problem(NamedTuple):
    """What does not change during a run."""

    term: Term
    topology: Topology
    integrator: Integrator
    watch: Watch
    keep_forces: bool
    reference: Float[Array, "*replicas"]
    """The conserved quantity at the start of the run, eV; NaN before there is one."""
    exchange_every: Int[Array, ""] | None = None
    """Steps between attempts to exchange replicas; None: they are on their own."""


@eqx.filter_jit
def first_forces(problem: Problem, state: State, neighbors: Neighbors) -> State:
    """The state with energy and forces at its positions."""
    forces = _forces(problem, neighbors)
    return _mapped(state, lambda each: refresh(each, forces))(state)


@eqx.filter_jit
def advance(
    problem: Problem,
    state: State,
    neighbors: Neighbors,
    steps: Int[Array, ""],
    every: Int[Array, ""],
    capacity: int,
    ended: Int[Array, "*replicas"] | None = None,
) -> tuple[State, Outcome, Bool[Array, ""]]:
    """Make `steps` steps, saving a frame whenever the step number is a multiple of `every`.

    Both counts are data, so chunks of any length share one compilation. The loop ends early when the monitor objects,
    of replicas to all of them, or when the neighbour list overflows.

    Args:
        problem: potential, integrator, monitor.
        state: where to start.
        neighbors: the list.
        steps: how many; together with `every` they must not ask for more than `capacity` frames.
        every: steps from frame to frame.
        capacity: rows of the record.
        ended: `Status` at the start; other than RUNNING for replicas that have ended before. None: all run.
    """
    forces = _forces(problem, neighbors)
    integrator = problem.integrator
    status = jnp.zeros(state.step.shape, jnp.int32) if ended is None else ended
    # Replicas that have ended count no further.
    begin = jnp.max(state.step)
    end = begin + steps
    move = _mapped(state, lambda each: integrator.step(each, forces))
    judge = _mapped(state, lambda each, reference: _status(problem, each, reference))
    framed = _mapped(state, lambda each: _frame(problem, each))

    def healthy(state: State, status: Int[Array, "*replicas"]) -> Bool[Array, ""]:
        return jnp.any(status == 0) & ~jnp.any(state.overflow)

    def one_step(carry: tuple[Array, State, Array]) -> tuple[Array, State, Array]:
        clock, state, status = carry
        moved, clock = move(state), clock + 1
        found = judge(moved, problem.reference)
        if not state.step.ndim:
            return clock, moved, found
        running = status == 0
        state, status = chosen(running, moved, state), jnp.where(running, found, status)
        if problem.exchange_every is not None:
            turn, rest = jnp.divmod(clock, problem.exchange_every)
            state = jax.lax.cond(rest == 0, lambda: exchange(state, status == 0, turn), lambda: state)
        return clock, state, status

    def until_frame(carry: tuple[Array, Array, State, Outcome]) -> tuple[Array, Array, State, Outcome]:
        clock, row, state, outcome = carry
        target = jnp.minimum(end, (clock // every + 1) * every)
        clock, state, status = jax.lax.while_loop(
            lambda inner: (inner[0] < target) & healthy(inner[1], inner[2]), one_step, (clock, state, outcome.status)
        )
        record = jax.tree.map(lambda rows, value: rows.at[row].set(value), outcome.record, framed(state))
        due = (clock % every == 0) & ~jnp.any(state.overflow)
        frames = outcome.frames + (due & (status == 0)).astype(jnp.int32)
        return clock, row + due.astype(jnp.int32), state, Outcome(record, frames, status)

    shape = jax.eval_shape(lambda: framed(state))
    # One row more than frames: the end of a chunk between two frames writes there and is overwritten.
    empty = jax.tree.map(lambda leaf: jnp.zeros((capacity + 1, *leaf.shape), leaf.dtype), shape)
    zero = jnp.zeros((), jnp.int32)
    start = Outcome(empty, jnp.zeros(status.shape, jnp.int32), status)
    _, _, state, outcome = jax.lax.while_loop(
        lambda carry: (carry[0] < end) & healthy(carry[2], carry[3].status), until_frame, (begin, zero, state, start)
    )
    return state, outcome, jnp.any(state.overflow)


@eqx.filter_jit
def first_frame(problem: Problem, state: State) -> Outcome:
    """The record of the start alone, which counts as a frame if the monitor accepts it."""
    frame = _mapped(state, lambda each: _frame(problem, each))(state)
    record = jax.tree.map(lambda value: value[None], frame)
    judge = _mapped(state, lambda each, reference: _status(problem, each, reference))
    status = judge(state, problem.reference)
    return Outcome(record, (status == 0).astype(jnp.int32), status)


def _mapped(state: State, function: Callable[..., Any]) -> Callable[..., Any]:
    """Of one state, or of each replica."""
    return jax.vmap(function) if state.step.ndim else function


def _status(problem: Problem, state: State, reference: Float[Array, ""]) -> Int[Array, ""]:
    """What the monitor says."""
    return problem.watch.status(state, problem.integrator.conserved(state), reference)


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
        pressure=None if state.virial is None else pressure(state),
        cells=state.cell if problem.integrator.moves_cell else None,
        walker=None if state.exchanged is None else state.exchanged.walker,
    )
