"""Numbers that judge a run: temperature, energy drift, speed."""

from dataclasses import asdict, dataclass

import numpy as np

from so3krates._typing import Float


@dataclass(frozen=True)
class Drift:
    """Slope of the conserved quantity, by least squares over the saved frames, in three customary units."""

    meV_per_atom_per_ps: float
    kT_per_ns_per_dof: float
    """k_BT with the mean temperature of the run."""
    over_kinetic_spread: float
    """|slope × duration| / σ(kinetic energy): below 1 the drift drowns in the fluctuations."""
    fluctuation_meV_per_atom: float
    """Standard deviation of the conserved quantity about the fitted line."""


@dataclass(frozen=True)
class Summary:
    """One page about a run."""

    steps: int
    """All that were made, also those after the last frame, and of a run that was stopped the one that failed."""
    time_ps: float
    frames: int
    atoms: int
    degrees_of_freedom: int
    mean_temperature_K: float
    temperature_spread_K: float
    drift: Drift | None
    """None with fewer than three frames."""
    steps_per_second: float
    """Of this call, writing included, compilation not; 0 if no step was made."""
    ns_per_day: float
    neighbor_retries: int
    """Chunks thrown away and run again because the neighbour list overflowed."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def energy_drift(
    time_fs: Float[np.ndarray, " frames"],
    conserved: Float[np.ndarray, " frames"],
    kinetic: Float[np.ndarray, " frames"],
    *,
    atoms: int,
    degrees_of_freedom: int,
) -> Drift:
    """Fit a line to the conserved quantity (eV) of at least three frames."""
    time_ps = np.asarray(time_fs, np.float64) * 1e-3
    energy = np.asarray(conserved, np.float64)
    energy = energy - energy.mean()
    slope, offset = np.polyfit(time_ps, energy, 1)
    kinetic = np.asarray(kinetic, np.float64)
    thermal = 2.0 * kinetic.mean() / degrees_of_freedom
    spread = kinetic.std()
    duration = time_ps[-1] - time_ps[0]
    return Drift(
        meV_per_atom_per_ps=float(slope * 1e3 / atoms),
        kT_per_ns_per_dof=float(slope * 1e3 / thermal / degrees_of_freedom),
        over_kinetic_spread=float(abs(slope) * duration / spread) if spread > 0 else float("inf"),
        fluctuation_meV_per_atom=float(np.std(energy - slope * time_ps - offset) * 1e3 / atoms),
    )


def summarize(
    series: dict[str, np.ndarray],
    *,
    steps: int,
    atoms: int,
    degrees_of_freedom: int,
    steps_per_second: float,
    timestep_fs: float,
    retries: int,
) -> Summary:
    """Summary of a run of so many steps from the scalars of its saved frames; the mean temperature is without the first
    frame, which is the start."""
    frames = len(series["step"])
    temperature = series["temperature"][min(1, frames - 1) :]
    drift = None
    if frames > 2:
        drift = energy_drift(
            series["time_fs"],
            series["conserved"],
            series["kinetic_energy"],
            atoms=atoms,
            degrees_of_freedom=degrees_of_freedom,
        )
    return Summary(
        steps=steps,
        time_ps=steps * timestep_fs * 1e-3,
        frames=frames,
        atoms=atoms,
        degrees_of_freedom=degrees_of_freedom,
        mean_temperature_K=float(np.mean(temperature)),
        temperature_spread_K=float(np.std(temperature)),
        drift=drift,
        steps_per_second=steps_per_second,
        ns_per_day=steps_per_second * timestep_fs * 1e-6 * 86400.0,
        neighbor_retries=retries,
    )
