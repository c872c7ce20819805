"""Independent samples of an ensemble: several trajectories, thinned by how long anything in them is remembered."""

from dataclasses import dataclass

import numpy as np
from validation.cases import Case, monitor
from validation.ensembles import StatePoint

from so3krates import md
from so3krates.io.trajectory import Frames
from so3krates.md import Integrator
from so3krates.units import FEMTOSECOND


@dataclass(frozen=True, eq=False)
class Samples:
    """Frames one row each; of `sample` they lie side by side as trajectories × frames, after `thinned` in one row."""

    kinetic: np.ndarray
    """eV."""
    potential: np.ndarray
    """eV."""
    volume: np.ndarray
    """Å³; NaN for a molecule in vacuum."""
    positions: np.ndarray
    """Å."""
    velocities: np.ndarray
    """Internal units, so that ½mv² is in eV."""

    @property
    def count(self) -> int:
        return self.kinetic.size

    @property
    def energy(self) -> np.ndarray:
        """K + U, eV."""
        return self.kinetic + self.potential

    def thinned(self, every: int) -> "Samples":
        """Every so many frames of each trajectory, all in one row."""
        scalars = {name: getattr(self, name)[:, ::every].ravel() for name in ("kinetic", "potential", "volume")}
        positions, velocities = (
            values[:, ::every].reshape(-1, *values.shape[2:]) for values in (self.positions, self.velocities)
        )
        return Samples(**scalars, positions=positions, velocities=velocities)


def sample(case: Case, integrator: Integrator, point: StatePoint, dtype: str, seed: int) -> Samples:
    """Trajectories from starts of their own, as replicas of one run, without the time they need to forget them."""
    plan = case.plan
    skipped = round(plan.equilibrate_ps * 1e3 / plan.save_every_fs)
    frames = skipped + plan.frames
    own = [100_000 * seed + number for number in range(plan.trajectories)]
    found = md.simulate_replicas(
        case.make(dtype),
        [case.start(point.temperature_K, each) for each in own],
        integrator,
        timestep_fs=case.timestep_fs,
        steps=round(frames * plan.save_every_fs / case.timestep_fs),
        initial_temperature_K=point.temperature_K,
        seeds=own,
        recording=md.Recording(every_fs=plan.save_every_fs),
        monitor=monitor(),
    )
    ended = [replica.ended for replica in found if replica.ended]
    if ended:
        raise SystemExit(f"{len(ended)} of {len(own)} trajectories ended early: {ended[0]}")
    rows = [_kept(replica.run.frames[slice(skipped + 1, None)], case) for replica in found]  # type: ignore[union-attr,index]
    return Samples(
        **{
            name: np.stack([getattr(row, name) for row in rows])
            for name in ("kinetic", "potential", "volume", "positions", "velocities")
        }
    )


def _kept(frames: Frames, case: Case) -> Samples:
    if frames.cells is None:
        cell = case.system.cell
        volume = np.full(len(frames), np.nan if cell is None else abs(np.linalg.det(cell)))
    else:
        volume = np.abs(np.linalg.det(np.asarray(frames.cells, np.float64)))
    return Samples(
        kinetic=frames.kinetic_energy,
        potential=frames.potential_energy,
        volume=volume,
        positions=np.asarray(frames.positions, np.float64),
        velocities=np.asarray(frames.velocities, np.float64) / FEMTOSECOND,
    )


def inefficiency(values: np.ndarray) -> float:
    """Frames of one trajectory that are worth one independent sample: g = 1 + 2 Σ (1 − t/L) C(t).

    The mean is that over all trajectories: what a trajectory never forgets, such as the energy at constant energy,
    then counts as one sample for each of them. The sum ends at the first C(t) that is not positive.
    """
    length = values.shape[1]
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    if variance == 0.0:
        return 1.0
    total = 1.0
    for lag in range(1, length):
        correlation = float(np.mean(centred[:, :-lag] * centred[:, lag:])) / variance
        if correlation <= 0.0:
            break
        total += 2.0 * (1.0 - lag / length) * correlation
    return max(1.0, total)


def observables(samples: Samples, masses: np.ndarray) -> dict[str, np.ndarray]:
    """What is looked at when memory is measured: also the share of half of the atoms, which tells whether modes mix."""
    half = np.arange(len(masses)) % 2 == 0
    moving = 0.5 * masses[half, None] * samples.velocities[:, :, half] ** 2
    found = {
        "kinetic energy": samples.kinetic,
        "potential energy": samples.potential,
        "total energy": samples.energy,
        "kinetic energy of every other atom": moving.sum(axis=(2, 3)),
    }
    if np.ptp(samples.volume) > 0:
        found["volume"] = samples.volume
    return found


def independent(samples: Samples, masses: np.ndarray) -> tuple[Samples, dict[str, float]]:
    """Thinned by the longest memory, further where trajectories still differ, and the memory of each observable in
    frames."""
    found = observables(samples, masses)
    memory = {name: inefficiency(values) for name, values in found.items()}
    trajectories, frames = samples.kinetic.shape
    every = min(int(np.ceil(max(memory.values()))), frames)
    most = 1.0 + 4.0 * np.sqrt(2.0 / trajectories)
    while every < frames and any(overcounted(values[:, ::every]) > most for values in found.values()):
        every += 1
    return samples.thinned(every), {name: round(value, 2) for name, value in memory.items()}


def overcounted(values: np.ndarray) -> float:
    """By how much frames of trajectories are too many samples: the variance of the trajectories' means, or of their
    mean squared deviations, times the number of frames, over that of all frames; 1 for independent ones.

    Unlike the sum of correlations it sees what is remembered for ever behind an oscillation: how a cell, or a mode,
    oscillates.
    """
    centred = values - values.mean()
    squares = centred**2 - np.mean(centred**2)
    return max(
        values.shape[1] * float(np.var(each.mean(axis=1), ddof=1)) / max(float(np.var(each)), 1e-300)
        for each in (centred, squares)
    )
