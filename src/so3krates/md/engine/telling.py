"""What a run says of itself after each chunk: means over the replicas that run, what was noticed, what ended."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from so3krates._typing import Float
from so3krates.md.engine.track import Track
from so3krates.md.ensembles.operators import pressure
from so3krates.md.monitoring.findings import Event
from so3krates.md.state import State
from so3krates.units import BOLTZMANN, GPA


class Report(NamedTuple):
    """Where a run is."""

    step: int
    steps: int
    temperature_K: float
    total_energy_eV: float
    """With the reference energies of the elements."""
    steps_per_second: float
    ns_per_day: float
    pressure_GPa: float | None = None
    """Where the structure is periodic along all axes."""
    volume_A3: float | None = None
    """Å³, where the cell moves."""
    thermalising: bool = False
    """Before the run itself; nothing is recorded yet."""
    remarks: tuple[str, ...] = ()
    """What happened during the chunk that people should know."""
    events: tuple[Event, ...] = ()
    """What the monitor noticed since the last report."""
    replicas: int = 1
    """Of which the quantities above are means; speeds are those of all of them together."""
    running: int = 1
    """As many of them have not ended."""

    @property
    def seconds_left(self) -> float | None:
        """At this speed; None before it is known."""
        done = self.steps_per_second / max(self.running, 1)
        return (self.steps - self.step) / done if done else None


def report_on(
    tracks: Sequence[Track],
    running: Sequence[int],
    state: State,
    remarks: Sequence[str],
    steps_per_second: float,
    *,
    thermalising: bool,
) -> Report:
    """Tell what was not told before.

    Args:
        tracks: of all replicas.
        running: numbers of those that run, one at least.
        state: of all of them, or of one structure on its own.
        remarks: what people should know besides.
        steps_per_second: of each replica.
        thermalising: before the run itself.
    """
    settings = tracks[0].settings
    temperature, energy, push, size = _measured(state)[list(running)].mean(axis=0).tolist()
    speed = steps_per_second * len(running)
    ended = [str(track.stopped) for track in tracks if track.stopped is not None and track.told_now()]
    return Report(
        step=int(np.max(np.asarray(state.step))),
        steps=settings.steps,
        temperature_K=temperature,
        total_energy_eV=energy + settings.reference_energy,
        steps_per_second=speed,
        ns_per_day=speed * settings.timestep_fs * 0.0864,
        pressure_GPa=None if state.virial is None else push,
        volume_A3=size if settings.integrator.moves_cell else None,
        thermalising=thermalising,
        remarks=(*remarks, *ended),
        events=tuple(event for track in tracks for event in track.inspector.news()),
        replicas=len(tracks),
        running=len(running),
    )


def _measured(state: State) -> Float[np.ndarray, "replicas 4"]:
    """Temperature in K, energy in eV, pressure in GPa and volume in Å³ of each; NaN for what it has not."""
    if not state.step.ndim:
        state = jax.tree.map(lambda leaf: leaf[None], state)
    mass, velocities, energy, freedom = (
        np.asarray(each, np.float64) for each in (state.masses, state.velocities, state.energy, state.freedom)
    )
    kinetic, none = 0.5 * np.sum(mass * velocities**2, axis=(1, 2)), np.full(len(energy), np.nan)
    push = none if state.virial is None else np.asarray(jax.vmap(pressure)(state), np.float64) / GPA
    size = none if state.cell is None else np.abs(np.linalg.det(np.asarray(state.cell, np.float64)))
    return np.stack([2.0 * kinetic / (freedom * BOLTZMANN), kinetic + energy, push, size], axis=1)
