"""Temperature replica exchange (Sugita and Okamoto, Chem. Phys. Lett. 314, 141, 1999).

Neighbouring replicas i, j exchange their configurations with probability min(1, e^Δ),
Δ = (1/k_BT_i − 1/k_BT_j)(U_i − U_j), even and odd pairs in turns. Each replica keeps its temperature: its trajectory is
canonical at one temperature and jumps; `walker` says which start's configuration it shows. Velocities are scaled by
√(T_new/T_old).
"""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, PositiveFloat

from so3krates._errors import InputError
from so3krates._typing import Array, Bool, Float, Int
from so3krates.config import Config
from so3krates.md.ensembles.noise import uniform
from so3krates.md.ensembles.operators import kinetic_energy
from so3krates.md.state import Integrator, Snapshot, State

NOISE_STREAM = 2
MOST_STEPS = 2**30
"""From attempt to attempt: steps are counted in 32 bits."""


class TemperatureExchange(Config):
    """How often replicas exchange configurations."""

    every_fs: PositiveFloat = Field(default=100.0, description="interval of attempts, fs; whole time steps")

    def steps(self, timestep_fs: float) -> int:
        """Steps from attempt to attempt.

        Raises:
            InputError: for an interval that is no multiple of the time step, or longer than any run.
        """
        count = round(min(self.every_fs / timestep_fs, MOST_STEPS))
        if count < 1 or abs(count * timestep_fs - self.every_fs) > 1e-6 * self.every_fs:
            raise InputError(
                f"replicas are to be exchanged every {self.every_fs:g} fs; it must be a multiple of the time step, "
                f"such as {max(count, 1) * timestep_fs:g} fs."
            )
        return count


class Exchanged(eqx.Module):
    """What exchanges have done to a replica so far."""

    walker: Int[Array, "*replicas"]
    """The start whose configuration it has."""
    attempted: Int[Array, "*replicas"]
    """Attempts with the next replica."""
    accepted: Int[Array, "*replicas"]


def begun(number: int) -> Exchanged:
    """Of a replica that has its own configuration."""
    zero = jnp.zeros((), jnp.int32)
    return Exchanged(jnp.asarray(number, jnp.int32), zero, zero)


def check_ladder(integrators: list[Integrator]) -> None:
    """Exchange needs a thermostat that any configuration may join at once, and temperatures in order.

    Raises:
        InputError: for ensembles that are not `exchangeable`, a single replica, ramps, or temperatures that do not
            increase.
    """
    others = sorted({type(integrator).__name__ for integrator in integrators if not integrator.exchangeable})
    if others:
        raise InputError(f"replica exchange works with Langevin and CSVR, not with {', '.join(others)}.")
    temperatures = [integrator.temperature_K for integrator in integrators]  # type: ignore[attr-defined]
    if len(temperatures) < 2:
        raise InputError("replica exchange needs at least two replicas.")
    if not all(isinstance(each, float) for each in temperatures):
        raise InputError("replica exchange needs constant temperatures, not ramps.")
    if np.any(np.diff(temperatures) <= 0):
        shown = ", ".join(f"{each:g}" for each in temperatures)
        raise InputError(
            f"temperatures of a replica exchange must increase from replica to replica; received {shown} K."
        )


def check_starts(starts: Sequence[Snapshot]) -> None:
    """Replicas that adopt each other's configurations need one cell, which stays, and fixed atoms in the same places.

    Raises:
        InputError: saying which replica differs from the first, and in what.
    """
    first, fixed = starts[0].system, list(starts[0].fixed)
    for number, start in enumerate(starts):
        system = start.system
        if first.cell is not None and not np.array_equal(system.cell, first.cell):  # type: ignore[arg-type]
            what = "its cell"
        elif not np.array_equal(system.positions[fixed], first.positions[fixed]):
            what = "the places of its fixed atoms"
        else:
            continue
        raise InputError(
            f"replica {number} differs from replica 0 in {what}; replicas that exchange configurations must have the "
            "same. Begin all of them with one cell, or run them without exchange."
        )


def exchange(state: State, alive: Bool[Array, " replicas"], turn: Int[Array, ""]) -> State:
    """One attempt for every pair of this turn; a replica that has ended takes no part.

    Args:
        state: of all replicas.
        alive: which of them still run.
        turn: number of the attempt; even ones begin with replicas 0 and 1, odd ones with 1 and 2.
    """
    count = state.step.shape[0]
    here = jnp.arange(count, dtype=jnp.int32)
    lower = (here - turn) % 2 == 0
    partner = jnp.where(lower, here + 1, here - 1)
    paired = (partner >= 0) & (partner < count)
    partner = jnp.where(paired, partner, here)
    paired = paired & alive & alive[partner]
    thermal = jax.vmap(lambda each: each.thermostat.thermal.at(each.step))(state)
    gain = (1.0 / thermal - 1.0 / thermal[partner]) * (state.energy - state.energy[partner])
    draws = uniform(state.key[0], jnp.max(state.step), count, state.energy.dtype, NOISE_STREAM)
    accepted = paired & (jnp.log(draws[jnp.minimum(here, partner)]) < gain)
    source = jnp.where(accepted, partner, here)
    other = jax.tree.map(lambda leaf: leaf[source], state)
    moved = jax.vmap(_adopted)(state, other, jnp.sqrt(thermal / thermal[source]))
    first = paired & lower
    counts: Exchanged = state.exchanged
    counts = Exchanged(
        walker=counts.walker[source],
        attempted=counts.attempted + first.astype(jnp.int32),
        accepted=counts.accepted + (first & accepted).astype(jnp.int32),
    )
    return eqx.tree_at(lambda each: each.exchanged, moved, counts)


def _adopted(own: State, other: State, factor: Float[Array, ""]) -> State:
    """A replica with the configuration of another one; the difference in energy counts as heat."""
    moved = replace(
        own,
        positions=other.positions,
        velocities=other.velocities * factor,
        forces=other.forces,
        energy=other.energy,
        virial=other.virial,
        cell=other.cell,
        closest=other.closest,
    )
    gain = moved.energy + kinetic_energy(moved) - own.energy - kinetic_energy(own)
    bath = own.thermostat
    return replace(moved, thermostat=replace(bath, heat=bath.heat.plus(gain)))
