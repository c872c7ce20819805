"""The compiled loop: many steps, saved frames and the monitor in one program that Python enters once per chunk.

It moves one structure, or many replicas at once: then all arrays of the state have a leading axis, and so have the
columns of the record behind that of the frames.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float, Int
from so3krates.evaluation import Evaluation, Topology, evaluate
from so3krates.md.engine.replicas import chosen
from so3krates.md.ensembles.exchange import exchange
from so3krates.md.ensembles.operators import kinetic_energy, pressure, refresh, temperature, volume
from so3krates.md.monitoring.watch import Watch
from so3krates.md.state import Forces, Integrator, State
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import combined
from so3krates.neighbors.verlet_state import VerletState
from so3krates.term import Term


class Scalars(NamedTuple):
    """What is saved often, one row each; internal units."""

    step: Int[Array, " rows"]
    potential_energy: Float[Array, " rows"]
    kinetic_energy: Float[Array, " rows"]
    temperature: Float[Array, " rows"]
    conserved: Float[Array, " rows"]
    closest: Float[Array, " rows"]
    pressure: Float[Array, " rows"] | None
    """None for structures that are not periodic along all axes."""
    volume: Float[Array, " rows"] | None
    """None where the cell does not move."""
    walker: Int[Array, " rows"] | None
    """Whose configuration a replica shows; None where they are not exchanged."""


class Particles(NamedTuple):
    """What is saved of atoms and cell, in fewer of these rows: the frames."""

    positions: Float[Array, "frames atoms 3"]
    velocities: Float[Array, "frames atoms 3"]
    forces: Float[Array, "frames atoms 3"] | None
    cells: Float[Array, "frames 3 3"] | None
    """None where the cell does not move."""


class Room(NamedTuple):
    """Rows of scalars and frames that a chunk may save; static."""

    rows: int
    frames: int


class Outcome(NamedTuple):
    """What a chunk returns beside the state."""

    scalars: Scalars
    """Up to `rows`; if the monitor objected, the next row is of the state that failed."""
    particles: Particles
    """Likewise, up to `frames`."""
    rows: Int[Array, "*replicas"]
    frames: Int[Array, "*replicas"]
    status: Int[Array, "*replicas"]
    """`Status`; if it is not RUNNING, the state is the one that failed, and a replica stays there."""


class Problem(NamedTuple):
    """What does not change during a run."""

    term: Term
    topology: Topology
    integrator: Integrator
    watch: Watch
    """Of each replica, where there are several."""
    keep_forces: bool
    reference: Float[Array, "*replicas"]
    """The conserved quantity at the start of the run, eV; NaN before there is one."""
    exchange_every: Int[Array, ""] | None = None
    """Steps between attempts to exchange replicas; None: they are on their own."""


def stepped(integrator: Integrator, state: State, forces: Forces) -> State:
    """One time step of one structure, counted."""
    moved = integrator.step(state, forces)
    return replace(moved, step=moved.step + 1)


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
    frames_every: Int[Array, ""],
    room: Room,
    ended: Int[Array, "*replicas"] | None = None,
) -> tuple[State, Outcome, Int[Array, ""]]:
    """Make `steps` steps, saving scalars whenever the step number is a multiple of `every`, and frames likewise.

    The counts are data, so chunks of any length share one compilation. The loop ends early when the monitor objects,
    of replicas to all of them, or when the neighbour list overflows.

    Args:
        problem: potential, integrator, monitor.
        state: where to start.
        neighbors: the list.
        steps: how many; together with the intervals they must not ask for more than there is room for.
        every: steps from scalars to scalars.
        frames_every: steps from frame to frame, a multiple of that.
        room: rows of the record.
        ended: `Status` at the start; other than RUNNING for replicas that have ended before. None: all run.
    """
    forces = _forces(problem, neighbors)
    integrator = problem.integrator
    status = jnp.zeros(state.step.shape, jnp.int32) if ended is None else ended
    # Replicas that have ended count no further.
    begin = jnp.max(state.step)
    end = begin + steps
    move = _mapped(state, lambda each: stepped(integrator, each, forces))
    judge = _mapped(state, partial(_status, integrator))
    scalars = _mapped(state, lambda each: _scalars(problem, each))
    particles = _mapped(state, lambda each: _particles(problem, each))

    def healthy(state: State, status: Int[Array, "*replicas"]) -> Bool[Array, ""]:
        return jnp.any(status == 0) & ~jnp.any(state.overflow)

    def one_step(carry: tuple[Array, State, Array]) -> tuple[Array, State, Array]:
        clock, state, status = carry
        moved, clock = move(state), clock + 1
        found = judge(moved, problem.watch, problem.reference)
        if not state.step.ndim:
            return clock, moved, found
        running = status == 0
        state, status = chosen(running, moved, state), jnp.where(running, found, status)
        if problem.exchange_every is not None:
            turn, rest = jnp.divmod(clock, problem.exchange_every)
            state = jax.lax.cond(rest == 0, lambda: exchange(state, status == 0, turn), lambda: state)
        return clock, state, status

    def until_row(carry: tuple[Array, Array, Array, State, Outcome]) -> tuple[Array, Array, Array, State, Outcome]:
        clock, row, frame, state, outcome = carry
        target = jnp.minimum(end, (clock // every + 1) * every)
        clock, state, status = jax.lax.while_loop(
            lambda inner: (inner[0] < target) & healthy(inner[1], inner[2]), one_step, (clock, state, outcome.status)
        )
        due = (clock % every == 0) & ~jnp.any(state.overflow)
        framed = due & (clock % frames_every == 0)
        outcome = Outcome(
            _written(outcome.scalars, row, scalars(state)),
            _written(outcome.particles, frame, particles(state)),
            outcome.rows + (due & (status == 0)).astype(jnp.int32),
            outcome.frames + (framed & (status == 0)).astype(jnp.int32),
            status,
        )
        return clock, row + due.astype(jnp.int32), frame + framed.astype(jnp.int32), state, outcome

    zero, none = jnp.zeros((), jnp.int32), jnp.zeros(status.shape, jnp.int32)
    empty = Outcome(
        _empty(room.rows, lambda: scalars(state)), _empty(room.frames, lambda: particles(state)), none, none, status
    )
    *_, state, outcome = jax.lax.while_loop(
        lambda carry: (carry[0] < end) & healthy(carry[3], carry[4].status),
        until_row,
        (begin, zero, zero, state, empty),
    )
    return state, outcome, combined(state.overflow)


@eqx.filter_jit
def first_frame(problem: Problem, state: State) -> Outcome:
    """The record of the start alone, which counts as a frame if the monitor accepts it."""
    scalars = _mapped(state, lambda each: _scalars(problem, each))(state)
    particles = _mapped(state, lambda each: _particles(problem, each))(state)
    judge = _mapped(state, partial(_status, problem.integrator))
    status = judge(state, problem.watch, problem.reference)
    accepted = (status == 0).astype(jnp.int32)
    scalars, particles = jax.tree.map(lambda value: value[None], (scalars, particles))
    return Outcome(scalars, particles, accepted, accepted, status)


def _written(rows: Any, row: Int[Array, ""], values: Any) -> Any:
    return jax.tree.map(lambda before, value: before.at[row].set(value), rows, values)


def _empty(rows: int, values: Callable[[], Any]) -> Any:
    """One row more than there is room for: the end of a chunk between two rows writes there and is overwritten."""
    shapes = jax.eval_shape(values)
    return jax.tree.map(lambda leaf: jnp.zeros((rows + 1, *leaf.shape), leaf.dtype), shapes)


def _mapped(state: State, function: Callable[..., Any]) -> Callable[..., Any]:
    """Of one state, or of each replica."""
    return jax.vmap(function) if state.step.ndim else function


def _status(integrator: Integrator, state: State, watch: Watch, reference: Float[Array, ""]) -> Int[Array, ""]:
    """What the monitor says."""
    return watch.status(state, integrator.conserved(state), reference)


def _forces(problem: Problem, neighbors: Neighbors) -> Forces:
    def forces(
        positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None, verlet: VerletState | None
    ) -> Evaluation:
        return evaluate(problem.term, problem.topology, neighbors, positions, cell, verlet)

    return forces


def _scalars(problem: Problem, state: State) -> Scalars:
    moves = problem.integrator.moves_cell
    return Scalars(
        step=state.step,
        potential_energy=state.energy,
        kinetic_energy=kinetic_energy(state),
        temperature=temperature(state),
        conserved=problem.integrator.conserved(state),
        closest=state.closest,
        pressure=None if state.virial is None else pressure(state),
        volume=volume(state.cell) if moves and state.cell is not None else None,
        walker=None if state.exchanged is None else state.exchanged.walker,
    )


def _particles(problem: Problem, state: State) -> Particles:
    return Particles(
        positions=state.positions,
        velocities=state.velocities,
        forces=state.forces if problem.keep_forces else None,
        cells=state.cell if problem.integrator.moves_cell else None,
    )
