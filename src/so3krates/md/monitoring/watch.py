"""What the monitor checks in every step, inside compiled code."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Float, Int
from so3krates.graph import pair_vectors
from so3krates.md.batch import side_by_side
from so3krates.md.ensembles.operators import pressure, shape, temperature, volume
from so3krates.md.monitoring.bonds import watched_bonds
from so3krates.md.monitoring.monitor import Monitor, Status
from so3krates.md.state import State
from so3krates.system import System
from so3krates.units import GPA


class Watch(eqx.Module):
    """Thresholds and bonds as arrays for compiled code; those of replicas have a leading axis."""

    max_temperature: Float[Array, ""]
    min_distance: Float[Array, ""]
    max_deviation: Float[Array, ""]
    max_pressure: Float[Array, ""]
    """eV/Å³."""
    max_drift: Float[Array, ""]
    """eV, of the whole structure."""
    volume: Float[Array, ""] | None
    """Of the cell at the start, Å³; None without a cell."""
    max_volume_factor: Float[Array, ""]
    shape: Float[Array, "3"] | None
    """`shape` of the cell at the start; None without a cell."""
    max_shape_factor: Float[Array, ""]
    centers: Int[Array, " bonds"]
    others: Int[Array, " bonds"]
    shifts: Int[Array, "bonds 3"] | None
    lengths: Float[Array, " bonds"]

    def lengths_now(self, state: State) -> Float[Array, " bonds"]:
        vectors = pair_vectors(state.positions, state.cell, self.centers, self.others, self.shifts)
        return jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))

    def deformation(self, state: State) -> Float[Array, "3"]:
        """Factors, of 1 and more, between the shape of the cell and that of the start."""
        assert state.cell is not None and self.shape is not None
        change = shape(state.cell) / self.shape
        return jnp.maximum(change, 1.0 / change)

    def status(self, state: State, conserved: Float[Array, ""], reference: Float[Array, ""]) -> Int[Array, ""]:
        """The first check that fails, or `Status.RUNNING`.

        Args:
            state: to check.
            conserved: its conserved quantity, eV.
            reference: that of the start of the run; NaN if there is none yet.
        """
        heat = temperature(state)
        # A force that is not finite has reached the velocities by now, so scalars tell.
        finite = jnp.isfinite(heat) & jnp.isfinite(state.energy) & jnp.isfinite(conserved)
        checks: list[tuple[Bool[Array, ""], Status]] = [
            (heat > self.max_temperature, Status.TOO_HOT),
            (state.closest < self.min_distance, Status.TOO_CLOSE),
        ]
        if self.centers.shape[0]:
            off = jnp.max(jnp.abs(self.lengths_now(state) - self.lengths))
            checks.append((off > self.max_deviation, Status.BOND_BROKEN))
        if state.virial is not None:
            push = pressure(state)
            finite = finite & jnp.isfinite(push)
            checks.append((jnp.abs(push) > self.max_pressure, Status.EXTREME_PRESSURE))
        if self.volume is not None and state.cell is not None:
            now, factor = volume(state.cell), self.max_volume_factor
            finite = finite & jnp.isfinite(now)
            checks.append(((now > self.volume * factor) | (now * factor < self.volume), Status.VOLUME_CHANGED))
            checks.append((jnp.any(self.deformation(state) > self.max_shape_factor), Status.SHAPE_CHANGED))
        checks.append((jnp.abs(conserved - reference) > self.max_drift, Status.ENERGY_DRIFT))
        result = jnp.zeros((), jnp.int32)
        for failed, code in reversed([(~finite, Status.NOT_FINITE), *checks]):
            result = jnp.where(failed, jnp.int32(code), result)
        return result


def make_watch(monitor: Monitor, system: System, dtype: object) -> Watch:
    """Put thresholds, the bonds of the start and its cell into arrays.

    Raises:
        InputError: bonds that are not pairs of atoms, or as many lengths as bonds missing.
    """
    bonds = watched_bonds(monitor, system)
    if monitor.max_bond_deviation is None:
        bonds = type(bonds)(*(values[:0] for values in bonds))

    def threshold(value: float | None, unit: float = 1.0, never: float = np.inf) -> Array:
        return jnp.asarray(never if value is None else value * unit, dtype)  # type: ignore[arg-type]

    return Watch(
        max_temperature=threshold(monitor.max_temperature_K),
        min_distance=threshold(monitor.min_distance, never=-1.0),
        max_deviation=threshold(monitor.max_bond_deviation),
        max_pressure=threshold(monitor.max_pressure_GPa, GPA),
        max_drift=threshold(monitor.max_drift_meV_per_atom, 1e-3 * len(system)),
        volume=None if system.cell is None else threshold(abs(float(np.linalg.det(system.cell)))),
        max_volume_factor=threshold(monitor.max_volume_factor),
        shape=None if system.cell is None else shape(jnp.asarray(system.cell, dtype)),  # type: ignore[arg-type]
        max_shape_factor=threshold(monitor.max_shape_factor),
        centers=jnp.asarray(bonds.centers, jnp.int32),
        others=jnp.asarray(bonds.others, jnp.int32),
        shifts=jnp.asarray(bonds.shifts, jnp.int32) if system.periodic else None,
        lengths=jnp.asarray(bonds.lengths, dtype),  # type: ignore[arg-type]
    )


def make_watches(monitor: Monitor, systems: Sequence[System], dtype: object) -> Watch:
    """One for each replica, stacked: the bonds of the first start, with lengths and cell of each start of its own.

    Raises:
        InputError: as `make_watch`.
    """
    bonds = watched_bonds(monitor, systems[0])
    pairs = tuple(zip(bonds.centers.tolist(), bonds.others.tolist(), strict=True))
    same = monitor.model_copy(update={"bonds": pairs})
    each = [make_watch(same if number else monitor, system, dtype) for number, system in enumerate(systems)]
    return side_by_side(each)
