"""The moves from which integrators are composed: kick, drift, Ornstein–Uhlenbeck, scaling, stretching, each State →
State; and what is measured of a state."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from so3krates._typing import Array, Float
from so3krates.md.ensembles.noise import normal
from so3krates.md.state import Forces, State
from so3krates.units import BOLTZMANN


def kick(state: State, fraction: float) -> State:
    """B: v ← v + (F/m)·fraction·Δt."""
    change = (fraction * state.timestep) * state.forces / state.masses
    return replace(state, velocities=state.velocities + _of_mobile(state, change))


def drift(state: State, fraction: float) -> State:
    """A: x ← x + v·fraction·Δt."""
    return replace(state, positions=state.positions + (fraction * state.timestep) * state.velocities)


def refresh(state: State, forces: Forces) -> State:
    """Energy and forces at the present positions."""
    found = forces(state.positions, state.cell, state.verlet)
    return replace(
        state,
        forces=found.forces,
        energy=found.energy,
        virial=None if state.virial is None else found.virial,
        closest=found.closest,
        overflow=state.overflow | found.overflow,
        verlet=found.verlet,
    )


def scale(state: State, factor: Float[Array, ""]) -> State:
    """v ← factor·v."""
    return replace(state, velocities=state.velocities * factor)


def ornstein_uhlenbeck(state: State, decay: Float[Array, ""], spread: Float[Array, ""], fix_center: bool) -> State:
    """O: v ← decay·v + spread·m^(−1/2)·ξ, exact for any Δt with decay = e^(−γΔt), spread = √(k_BT(1 − decay²)).

    With `fix_center` the velocity of the centre of mass is taken off: in mass-weighted coordinates this projects the
    noise onto the complement of the translations, where it has the same covariance, so the result is canonical in
    3N − 3 degrees of freedom. Where atoms are fixed there is no such thing, and nothing is taken off.
    """
    noise = normal(state.key, state.step, state.velocities.shape, state.velocities.dtype)
    velocities = decay * state.velocities + _of_mobile(state, spread * jax.lax.rsqrt(state.masses) * noise)
    if fix_center and state.mobile is None:
        weights = state.masses / jnp.sum(state.masses)
        velocities = velocities - jnp.sum(weights * velocities, axis=0)
    return replace(state, velocities=velocities)


def stretch(state: State, map: Float[Array, "3 3"]) -> State:
    """x ← x·M, v ← v·M⁻ᵀ, H ← H·M: the structure follows its cell, and phase space keeps its volume."""
    assert state.cell is not None
    return replace(
        state,
        positions=state.positions @ map,
        velocities=state.velocities @ jnp.linalg.inv(map).T,
        cell=state.cell @ map,
    )


def _of_mobile(state: State, change: Float[Array, "atoms 3"]) -> Float[Array, "atoms 3"]:
    """Zero for atoms that are fixed."""
    return change if state.mobile is None else jnp.where(state.mobile, change, 0.0)


def kinetic_energy(state: State) -> Float[Array, ""]:
    """½ Σ m v², eV."""
    return 0.5 * jnp.sum(state.masses * state.velocities * state.velocities)


def temperature(state: State) -> Float[Array, ""]:
    """2K/(N_f k_B) in K, with N_f the degrees of freedom of the ensemble."""
    return (2.0 / BOLTZMANN) * kinetic_energy(state) / state.freedom


def volume(cell: Float[Array, "3 3"]) -> Float[Array, ""]:
    """Of the cell, Å³."""
    return jnp.abs(jnp.dot(cell[0], jnp.cross(cell[1], cell[2])))


def shape(cell: Float[Array, "3 3"]) -> Float[Array, "3"]:
    """Distances between opposite faces of the cell, in units of the cube root of its volume: 1 for a cube."""
    across = jnp.stack([jnp.cross(cell[1], cell[2]), jnp.cross(cell[2], cell[0]), jnp.cross(cell[0], cell[1])])
    return volume(cell) ** (2.0 / 3.0) / jnp.sqrt(jnp.sum(across * across, axis=-1))


def kinetic_tensor(state: State) -> Float[Array, "3 3"]:
    """Σ m v ⊗ v, eV; its trace is twice the kinetic energy."""
    return (state.masses * state.velocities).T @ state.velocities


def pressure(state: State) -> Float[Array, ""]:
    """(2K·3N/N_f − tr(V·σ))/3V in eV/Å³, positive under compression.

    The kinetic part counts all coordinates of mobile atoms, at the temperature of those that share the kinetic energy:
    the centre of mass, which rests, stands for one that wanders through the cell. Fixed atoms have none.
    """
    assert state.virial is not None and state.cell is not None
    dtype = state.freedom.dtype
    coordinates = state.positions.size if state.mobile is None else 3.0 * jnp.sum(state.mobile, dtype=dtype)
    doubled = 2.0 * kinetic_energy(state) * (coordinates / state.freedom)
    return (doubled - jnp.trace(state.virial)) / (3.0 * volume(state.cell))
