"""Sentences of the monitor, for people: what happened, with numbers and atoms."""

from dataclasses import replace

import ase
import numpy as np

from so3krates._typing import Float
from so3krates.md.ensembles.operators import pressure, shape, temperature, volume
from so3krates.md.monitoring.monitor import Kind, Status
from so3krates.md.monitoring.watch import Watch
from so3krates.md.state import State
from so3krates.neighbors.host import find_pairs
from so3krates.system import System
from so3krates.units import GPA

NAMED = 4
"""Atoms named one by one at most."""


def sentence(status: Status, watch: Watch, state: State, conserved: float, reference: float, system: System) -> str:
    """What a check in every step found; energies in eV."""
    match status:
        case Status.NOT_FINITE:
            return _not_finite(state, system)
        case Status.TOO_HOT:
            return _too_hot(watch, state, system)
        case Status.TOO_CLOSE:
            return _too_close(watch, state, system)
        case Status.EXTREME_PRESSURE:
            return (
                f"the pressure of {float(pressure(state)) / GPA:.1f} GPa exceeds "
                f"{float(watch.max_pressure) / GPA:.4g} GPa"
            )
        case Status.VOLUME_CHANGED:
            return _volume_changed(watch, state)
        case Status.SHAPE_CHANGED:
            return _shape_changed(watch, state)
        case Status.ENERGY_DRIFT:
            change = 1e3 * (conserved - reference) / len(system)
            return (
                f"the conserved quantity is {change:+.1f} meV per atom away from that of the start (limit "
                f"{1e3 * float(watch.max_drift) / len(system):.4g}), so the time step is too long, or the energy is "
                "not smooth"
            )
        case _:
            return _bond_deviates(watch, state, system)


def broken(system: System, i: int, j: int, length: float, before: float, factor: float) -> str:
    """A bond that is too long."""
    return (
        f"the bond {atom(system, i)}–{atom(system, j)} is broken: {length:.3f} Å long, more than {factor:g} times its "
        f"reference of {before:.3f} Å"
    )


def formed(system: System, i: int, j: int, length: float) -> str:
    """A bond that was none at the start."""
    return f"{atom(system, i)} and {atom(system, j)} have come as near as if bonded: {length:.3f} Å"


def parted(system: System, kind: Kind, piece: list[int], i: int, j: int, gap: float, limit: float) -> str:
    """A piece that left; `i` in it and `j` in the rest are the nearest atoms."""
    what = "a molecule is torn apart" if kind == "torn_apart" else "a part has evaporated"
    return (
        f"{what}: {_piece(system, piece)} is {gap:.1f} Å away from the rest, from {atom(system, i)} to "
        f"{atom(system, j)} (limit {limit:g} Å)"
    )


def disagreement(system: System, worst: int, value: float, limit: float) -> str:
    """Of the committee."""
    return (
        f"the committee disagrees by {value:.3f} eV/Å about the force on {atom(system, worst)} (limit {limit:g} eV/Å), "
        "so the model is extrapolating"
    )


def atom(system: System, index: int) -> str:
    """Such as C3."""
    return f"{system.symbols[index]}{index}"


def _atoms(system: System, indices: list[int]) -> str:
    named = ", ".join(atom(system, index) for index in indices[:NAMED])
    return named + (f" and {len(indices) - NAMED} more" if len(indices) > NAMED else "")


def _piece(system: System, piece: list[int]) -> str:
    formula = ase.Atoms(numbers=system.numbers[piece]).get_chemical_formula()
    return atom(system, piece[0]) if len(piece) == 1 else f"{formula} ({_atoms(system, piece)})"


def _not_finite(state: State, system: System) -> str:
    for name, values in (("position", state.positions), ("force", state.forces), ("velocity", state.velocities)):
        bad = np.flatnonzero(~np.isfinite(np.asarray(values)).all(axis=1)).tolist()
        if bad:
            return f"the {name} of {_atoms(system, bad)} is not finite"
    return "the energy, the temperature, the pressure or the conserved quantity is not finite"


def _too_hot(watch: Watch, state: State, system: System) -> str:
    energy = 0.5 * np.asarray(state.masses[:, 0], np.float64) * _squares(state.velocities)
    worst = int(np.argmax(energy))
    return (
        f"the temperature of {float(temperature(state)):.0f} K exceeds {float(watch.max_temperature):.0f} K; most "
        f"kinetic energy has {atom(system, worst)}, {energy[worst]:.2f} eV"
    )


def _too_close(watch: Watch, state: State, system: System) -> str:
    closest = float(state.closest)
    cell = None if state.cell is None else np.asarray(state.cell, np.float64)
    pairs = find_pairs(
        replace(system, positions=np.asarray(state.positions, np.float64), cell=cell), 1.01 * closest + 0.01
    )
    who = "two atoms"
    if len(pairs.centers):
        nearest = int(np.argmin(np.linalg.norm(pairs.vectors, axis=1)))
        who = f"{atom(system, int(pairs.centers[nearest]))} and {atom(system, int(pairs.others[nearest]))}"
    return f"{who} are only {closest:.3f} Å apart (limit {float(watch.min_distance):.3g} Å)"


def _volume_changed(watch: Watch, state: State) -> str:
    assert watch.volume is not None and state.cell is not None
    now, start = float(volume(state.cell)), float(watch.volume)
    return (
        f"the cell of {now:.1f} Å³ has {now / start:.3g} times the volume of the start, {start:.1f} Å³ (limits "
        f"{1.0 / float(watch.max_volume_factor):.3g} and {float(watch.max_volume_factor):.3g})"
    )


def _shape_changed(watch: Watch, state: State) -> str:
    assert watch.volume is not None and watch.shape is not None and state.cell is not None
    axis = int(np.argmax(np.asarray(watch.deformation(state))))
    now, start = (
        float(each[axis]) * float(size) ** (1.0 / 3.0)
        for each, size in ((shape(state.cell), volume(state.cell)), (watch.shape, watch.volume))
    )
    return (
        f"the cell, {now:.2f} Å between the faces across {'abc'[axis]}, where it was {start:.2f} Å at the start, has "
        f"changed its shape by a factor beyond {float(watch.max_shape_factor):.3g}; a liquid does not resist that and "
        "needs isotropic coupling"
    )


def _bond_deviates(watch: Watch, state: State, system: System) -> str:
    lengths = np.asarray(watch.lengths_now(state))
    worst = int(np.argmax(np.abs(lengths - np.asarray(watch.lengths))))
    i, j = int(watch.centers[worst]), int(watch.others[worst])
    return (
        f"the bond {atom(system, i)}–{atom(system, j)} is {lengths[worst]:.3f} Å long, more than "
        f"{float(watch.max_deviation):g} Å from its reference of {float(watch.lengths[worst]):.3f} Å"
    )


def _squares(values: object) -> Float[np.ndarray, " atoms"]:
    return np.square(np.asarray(values, np.float64)).sum(axis=1)
