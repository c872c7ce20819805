"""Systems whose statistics are known in closed form, as forces for integrators, and a loop that samples them."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates.evaluation import Evaluation
from so3krates.md.engine.loop import stepped
from so3krates.md.state import Forces, Integrator, Snapshot, State, make_state
from so3krates.system import System
from so3krates.term import Outputs

STIFFNESS = 5.0
"""Of the springs, eV/Å²."""


def evaluation(energy: jax.Array, forces: jax.Array, virial: jax.Array) -> Evaluation:
    """What an integrator asks for, without atomic contributions."""
    zero = jnp.zeros((), forces.dtype)
    return Evaluation(energy, forces, virial, zero, jnp.zeros((), jnp.int32), Outputs(forces[:, 0], {}))


def springs(positions: jax.Array, cell: jax.Array | None, verlet: None) -> Evaluation:
    """Every coordinate a spring to the origin."""
    energy = 0.5 * STIFFNESS * jnp.sum(positions * positions)
    return evaluation(energy, -STIFFNESS * positions, jnp.zeros((3, 3), positions.dtype))


def ideal_gas(positions: jax.Array, cell: jax.Array | None, verlet: None) -> Evaluation:
    """No forces at all."""
    zero = jnp.zeros((), positions.dtype)
    return evaluation(zero, jnp.zeros_like(positions), jnp.zeros((3, 3), positions.dtype))


def elastic(energy: Callable[[jax.Array], jax.Array]) -> Forces:
    """An energy of the cell alone; atoms are an ideal gas in it."""

    def forces(positions: jax.Array, cell: jax.Array | None, verlet: None) -> Evaluation:
        unit = jnp.eye(3, dtype=positions.dtype)
        value, virial = jax.value_and_grad(lambda strain: energy(cell @ (unit + strain)))(jnp.zeros_like(unit))
        return evaluation(value, jnp.zeros_like(positions), virial)

    return forces


def box_of(atoms: int, length: float) -> System:
    """Atoms anywhere in a cube, each of 12 u."""
    positions = length * np.random.default_rng(0).random((atoms, 3))
    return System(positions, np.full(atoms, 6), length * np.eye(3), (True, True, True))


def started(integrator: Integrator, start: Snapshot, timestep_fs: float, seed: int, dtype: str = "float64") -> State:
    """The state a run begins with."""
    freedom = integrator.degrees_of_freedom(start)
    state = make_state(integrator.prepare(start), np.zeros(3), timestep_fs, seed, freedom, dtype)
    return integrator.init(state, timestep_fs)


@eqx.filter_jit
def sampled(
    integrator: Integrator, forces: Forces, state: State, samples: int, stride: int, watch: Callable[[State], object]
) -> object:
    """What `watch` sees every `stride` steps, stacked."""

    def one(state: State, _: None) -> tuple[State, object]:
        state = jax.lax.fori_loop(0, stride, lambda _, s: stepped(integrator, s, forces), state)
        return state, watch(state)

    return jax.lax.scan(one, state, None, length=samples)[1]


def mean_error(values: np.ndarray, blocks: int = 20) -> float:
    """Standard error of a mean, from block averages."""
    means = values[: len(values) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    return float(means.std(ddof=1) / np.sqrt(blocks))
