"""What a run says of itself after each chunk: means over the replicas that run, what was noticed, what ended."""

from collections.abc import Mapping, Sequence

import numpy as np

from so3krates.md.operators import pressure
from so3krates.md.progress import Report
from so3krates.md.state import State
from so3krates.md.track import Track
from so3krates.units import BOLTZMANN, GPA


def report_on(
    tracks: Sequence[Track],
    running: Mapping[int, State],
    remarks: Sequence[str],
    steps_per_second: float,
    *,
    thermalising: bool,
) -> Report:
    """Tell what was not told before.

    Args:
        tracks: of all replicas.
        running: states of those that run, by number; at least one.
        remarks: what people should know besides.
        steps_per_second: of each replica.
        thermalising: before the run itself.
    """
    states, settings = list(running.values()), tracks[0].settings
    temperature, energy, push, size = np.array([_measured(state) for state in states]).mean(axis=0).tolist()
    speed = steps_per_second * len(states)
    ended = [str(track.stopped) for track in tracks if track.stopped is not None and _untold(track)]
    return Report(
        step=int(np.max([np.asarray(state.step) for state in states])),
        steps=settings.steps,
        temperature_K=temperature,
        total_energy_eV=energy + settings.reference_energy,
        steps_per_second=speed,
        ns_per_day=speed * settings.timestep_fs * 0.0864,
        pressure_GPa=None if states[0].virial is None else push,
        volume_A3=size if settings.integrator.moves_cell else None,
        thermalising=thermalising,
        remarks=(*remarks, *ended),
        events=tuple(event for track in tracks for event in track.inspector.news()),
        replicas=len(tracks),
        running=len(states),
    )


def _untold(track: Track) -> bool:
    told, track.told = track.told, True
    return not told


def _measured(state: State) -> tuple[float, float, float, float]:
    """Temperature in K, energy in eV, pressure in GPa and volume in Å³ of one structure; NaN for what it has not."""
    mass, velocities = np.asarray(state.masses, np.float64), np.asarray(state.velocities, np.float64)
    kinetic = 0.5 * float(np.sum(mass * velocities**2))
    push = np.nan if state.virial is None else float(pressure(state)) / GPA
    size = np.nan if state.cell is None else abs(float(np.linalg.det(np.asarray(state.cell, np.float64))))
    return 2.0 * kinetic / (float(state.freedom) * BOLTZMANN), kinetic + float(state.energy), push, size
