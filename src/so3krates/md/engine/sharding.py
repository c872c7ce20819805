"""Replicas on several devices: each device runs the loop on its share of them, and none waits for another."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from so3krates._typing import Array, Int
from so3krates.md.engine.loop import Outcome, Problem, Room, advance
from so3krates.md.monitoring.watch import Watch
from so3krates.md.state import State
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import combined

AXIS = "replicas"


def devices_for(replicas: int) -> int:
    """As many local devices as share the replicas evenly."""
    return max(n for n in range(1, jax.local_device_count() + 1) if replicas % n == 0)


def mesh_of(devices: int) -> Mesh:
    """The first of the local devices."""
    return Mesh(np.array(jax.local_devices()[:devices]), (AXIS,))


def placed(state: State, devices: int) -> State:
    """The state with the replicas where they are moved."""
    return jax.device_put(state, NamedSharding(mesh_of(devices), PartitionSpec(AXIS)))


@eqx.filter_jit
def advance_shared(
    devices: int,
    problem: Problem,
    state: State,
    neighbors: Neighbors,
    steps: Int[Array, ""],
    every: Int[Array, ""],
    frames_every: Int[Array, ""],
    room: Room,
    ended: Int[Array, " replicas"],
) -> tuple[State, Outcome, Int[Array, ""]]:
    """`loop.advance` of replicas that are not exchanged, shared among devices."""
    alike = problem._replace(watch=None, reference=None)  # type: ignore[arg-type]
    shared, static = eqx.partition((alike, neighbors), eqx.is_array)

    def share(shared: Any, own: tuple[State, Watch, Array, Array], counts: tuple[Array, ...]) -> tuple:
        problem, neighbors = eqx.combine(shared, static)
        state, watch, reference, ended = own
        moved, outcome, overflow = advance(
            problem._replace(watch=watch, reference=reference), state, neighbors, *counts, room=room, ended=ended
        )
        return moved, outcome, overflow[None]

    whole, own, rows = PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(None, AXIS)
    outcome = Outcome(scalars=rows, particles=rows, rows=own, frames=own, status=own)  # type: ignore[arg-type]
    moved, record, overflow = jax.shard_map(
        share, mesh=mesh_of(devices), in_specs=(whole, own, whole), out_specs=(own, outcome, own), check_vma=False
    )(shared, (state, problem.watch, problem.reference, ended), (steps, every, frames_every))
    return moved, record, combined(overflow)
