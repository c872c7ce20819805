"""The monitor: in every step, inside compiled code, it decides whether the run still makes sense."""

from enum import IntEnum
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from ase.data import covalent_radii
from pydantic import Field, PositiveFloat, model_validator

from so3krates._errors import InputError
from so3krates._typing import Array, Float, Int
from so3krates.config import Config
from so3krates.graph import pair_vectors
from so3krates.md.operators import temperature
from so3krates.md.state import State
from so3krates.neighbors.host import find_pairs
from so3krates.system import System


class Status(IntEnum):
    """Why a run ended; the names in lower case are the reason codes."""

    RUNNING = 0
    NOT_FINITE = 1
    TOO_HOT = 2
    TOO_CLOSE = 3
    BOND_BROKEN = 4

    @property
    def reason(self) -> str:
        return self.name.lower()


class Monitor(Config):
    """When to stop a run. A threshold of None switches its check off; values that are not finite always stop."""

    max_temperature_K: PositiveFloat | None = Field(default=1e4, description="hottest temperature accepted, K")
    min_distance: PositiveFloat | None = Field(default=0.5, description="closest approach of two atoms accepted, Å")
    max_bond_deviation: PositiveFloat | None = Field(
        default=1.0, description="largest change of a bond length accepted, Å, against the start or `bond_lengths`"
    )
    bond_factor: PositiveFloat = Field(
        default=1.3, description="atoms closer than this times the sum of their covalent radii at the start are bonded"
    )
    bonds: tuple[tuple[int, int], ...] | None = Field(
        default=None, description="bonds to watch; found from the start if not given"
    )
    bond_lengths: tuple[PositiveFloat, ...] | None = Field(
        default=None, description="reference lengths of `bonds`, Å, such as their means in reference data"
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.max_bond_deviation is None and self.bonds is not None:
            raise ValueError("`bonds` has no effect without `max_bond_deviation`; remove it, or give that too")
        if self.bonds is not None and "bond_factor" in self.model_fields_set:
            raise ValueError("`bond_factor` finds bonds, so it has no effect beside `bonds`; remove one of them")
        return self

    @classmethod
    def benchmark(cls, bonds: tuple[tuple[int, int], ...], bond_lengths: tuple[float, ...]) -> Self:
        """The stability criterion of the field: a bond 0.5 Å away from its mean in the reference data."""
        return cls(max_bond_deviation=0.5, bonds=bonds, bond_lengths=bond_lengths)


class Watch(eqx.Module):
    """Thresholds and bonds as arrays for compiled code."""

    max_temperature: Float[Array, ""]
    min_distance: Float[Array, ""]
    max_deviation: Float[Array, ""]
    centers: Int[Array, " bonds"]
    others: Int[Array, " bonds"]
    shifts: Int[Array, "bonds 3"] | None
    lengths: Float[Array, " bonds"]

    def lengths_now(self, state: State) -> Float[Array, " bonds"]:
        vectors = pair_vectors(state.positions, state.cell, self.centers, self.others, self.shifts)
        return jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))

    def status(self, state: State) -> Int[Array, ""]:
        """The first check that fails, or `Status.RUNNING`."""
        heat = temperature(state)
        # A force that is not finite has reached the velocities by now, so two scalars tell.
        finite = jnp.isfinite(heat) & jnp.isfinite(state.energy)
        checks = [(~finite, Status.NOT_FINITE), (heat > self.max_temperature, Status.TOO_HOT)]
        checks.append((state.closest < self.min_distance, Status.TOO_CLOSE))
        if self.centers.shape[0]:
            off = jnp.max(jnp.abs(self.lengths_now(state) - self.lengths))
            checks.append((off > self.max_deviation, Status.BOND_BROKEN))
        result = jnp.zeros((), jnp.int32)
        for failed, code in reversed(checks):
            result = jnp.where(failed, jnp.int32(code), result)
        return result


def make_watch(monitor: Monitor, system: System, dtype: object) -> Watch:
    """Find the bonds of a structure and put thresholds into arrays.

    Raises:
        InputError: bonds that are not pairs of atoms, or as many lengths as bonds missing.
    """
    bonds = _bonds(monitor, system)

    def threshold(value: float | None, never: float) -> Array:
        return jnp.asarray(never if value is None else value, dtype)  # type: ignore[arg-type]

    return Watch(
        max_temperature=threshold(monitor.max_temperature_K, np.inf),
        min_distance=threshold(monitor.min_distance, -1.0),
        max_deviation=threshold(monitor.max_bond_deviation, np.inf),
        centers=jnp.asarray(bonds[0], jnp.int32),
        others=jnp.asarray(bonds[1], jnp.int32),
        shifts=jnp.asarray(bonds[2], jnp.int32) if system.periodic else None,
        lengths=jnp.asarray(bonds[3], dtype),  # type: ignore[arg-type]
    )


def sentence(status: Status, watch: Watch, state: State, system: System) -> str:
    """What happened, for people."""
    if status is Status.NOT_FINITE:
        return "the energy or the temperature is not finite"
    if status is Status.TOO_HOT:
        return f"the temperature of {float(temperature(state)):.0f} K exceeds {float(watch.max_temperature):.0f} K"
    if status is Status.TOO_CLOSE:
        return f"two atoms are only {float(state.closest):.3f} Å apart (limit {float(watch.min_distance):.3g} Å)"
    lengths = np.asarray(watch.lengths_now(state))
    worst = int(np.argmax(np.abs(lengths - np.asarray(watch.lengths))))
    i, j = int(watch.centers[worst]), int(watch.others[worst])
    return (
        f"the bond {system.symbols[i]}{i}–{system.symbols[j]}{j} is {lengths[worst]:.3f} Å long, more than "
        f"{float(watch.max_deviation):g} Å from its reference of {float(watch.lengths[worst]):.3f} Å"
    )


def _bonds(monitor: Monitor, system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if monitor.bond_lengths is not None and len(monitor.bond_lengths) != len(monitor.bonds or ()):
        raise InputError(
            f"{len(monitor.bond_lengths)} bond_lengths for {len(monitor.bonds or ())} bonds; give one for each."
        )
    if monitor.max_bond_deviation is None:
        return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3), int), np.zeros(0)
    radii = covalent_radii[system.numbers]
    if monitor.bonds is None:
        pairs = find_pairs(system, 2.0 * monitor.bond_factor * float(radii.max()))
        lengths = np.linalg.norm(pairs.vectors, axis=1)
        bonded = lengths < monitor.bond_factor * (radii[pairs.centers] + radii[pairs.others])
        return pairs.centers[bonded], pairs.others[bonded], pairs.shifts[bonded], lengths[bonded]
    return _given_bonds(monitor.bonds, monitor.bond_lengths, system)


def _given_bonds(
    bonds: tuple[tuple[int, int], ...], given: tuple[float, ...] | None, system: System
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    index = np.asarray(bonds, int).reshape(-1, 2)
    if index.size and (index.min() < 0 or index.max() >= len(system) or np.any(index[:, 0] == index[:, 1])):
        raise InputError(f"bonds {bonds} must be pairs of different atoms from 0 to {len(system) - 1}.")
    difference = system.positions[index[:, 1]] - system.positions[index[:, 0]]
    shifts = np.zeros((len(index), 3), int)
    if system.cell is not None:
        fractional = difference @ np.linalg.inv(system.cell)
        shifts = np.where(system.pbc, -np.round(fractional), 0.0).astype(int)
        difference = difference + shifts @ system.cell
    lengths = np.linalg.norm(difference, axis=1) if given is None else np.asarray(given)
    return index[:, 0], index[:, 1], shifts, lengths
