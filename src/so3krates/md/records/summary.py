"""Numbers that judge a run: averages with their errors, energy drift, speed."""

from dataclasses import asdict, dataclass

import numpy as np

from so3krates._typing import Float
from so3krates.md.monitoring.findings import Disagreement
from so3krates.md.records.averages import Average, block_average, out_of_equilibrium

GRAM_PER_CM3 = 1.66053906660
"""g/cm³ of one u/Å³ (CODATA 2018)."""


@dataclass(frozen=True)
class Drift:
    """Slope of the conserved quantity, by least squares over the saved scalars, in three customary units."""

    meV_per_atom_per_ps: float
    kT_per_ns_per_dof: float
    """k_BT with the mean temperature of the run."""
    over_kinetic_spread: float
    """|slope × duration| / σ(kinetic energy): below 1 the drift drowns in the fluctuations."""
    fluctuation_meV_per_atom: float
    """Standard deviation of the conserved quantity about the fitted line."""


@dataclass(frozen=True)
class Disputed:
    """How much a committee disagreed in the saved frames: in each, about the force on the atom where it did so most."""

    largest_eV_per_A: float
    step: int
    """Of the frame with the largest."""
    time_ps: float
    atom: int
    """Counted from 0."""
    mean_eV_per_A: float
    """Over frames."""


@dataclass(frozen=True)
class Summary:
    """One page about a run. Averages are over the saved scalars without the first, which are those of the start;
    nothing else is cut off, so a run should begin in equilibrium."""

    steps: int
    """All that were made, also those after the last frame, and of a run that was stopped the one that failed."""
    time_ps: float
    frames: int
    """Saved positions; scalars may be saved more often."""
    atoms: int
    degrees_of_freedom: int
    temperature_K: Average
    potential_energy_eV: Average
    """Without the reference energies of the elements."""
    kinetic_energy_eV: Average
    pressure_GPa: Average | None
    """Where the structure is periodic along all axes."""
    volume_A3: Average | None
    """Å³, where the cell moves."""
    density_g_cm3: Average | None
    """Where the cell moves."""
    drift: Drift | None
    """None with fewer than three rows of scalars."""
    disagreement: Disputed | None
    """None without a committee."""
    steps_per_second: float
    """Of this call, without compilation; with writing only where that takes longer than computing. 0 without a step."""
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


def disputed(series: Disagreement, timestep_fs: float) -> Disputed | None:
    """The largest disagreement of a committee and the mean; None without any frame that it saw."""
    if not len(series.step):
        return None
    worst = int(np.argmax(series.largest))
    return Disputed(
        largest_eV_per_A=float(series.largest[worst]),
        step=int(series.step[worst]),
        time_ps=float(series.step[worst]) * timestep_fs * 1e-3,
        atom=int(series.atom[worst]),
        mean_eV_per_A=float(np.mean(series.largest)),
    )


def summarize(
    series: dict[str, np.ndarray],
    *,
    steps: int,
    frames: int,
    atoms: int,
    degrees_of_freedom: int,
    steps_per_second: float,
    timestep_fs: float,
    retries: int,
    mass: float | None = None,
    in_equilibrium: bool = True,
    disagreement: Disagreement | None = None,
) -> Summary:
    """Summary of a run of so many steps from its saved scalars.

    Args:
        series: at least one row; `pressure` (GPa) and `volume` (Å³) where there are any.
        steps: that were made.
        frames: that were saved.
        atoms: their number.
        degrees_of_freedom: of the ensemble.
        steps_per_second: of this call.
        timestep_fs: fs.
        retries: chunks that were run again.
        mass: of all atoms, u; needed with `volume`.
        in_equilibrium: unless the monitor ended the run or something was ramped; else no average is converged.
        disagreement: of the committee.
    """
    rows = len(series["step"])
    late = {name: values[min(1, rows - 1) :] for name, values in series.items()}
    volume = late.get("volume")

    def average(values: np.ndarray) -> Average:
        found = block_average(values)
        return found if in_equilibrium else out_of_equilibrium(found)

    drift = None
    if rows > 2:
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
        temperature_K=average(late["temperature"]),
        potential_energy_eV=average(late["potential_energy"]),
        kinetic_energy_eV=average(late["kinetic_energy"]),
        pressure_GPa=average(late["pressure"]) if "pressure" in late else None,
        volume_A3=None if volume is None else average(volume),
        density_g_cm3=None if volume is None or mass is None else average(GRAM_PER_CM3 * mass / volume),
        drift=drift,
        disagreement=None if disagreement is None else disputed(disagreement, timestep_fs),
        steps_per_second=steps_per_second,
        ns_per_day=steps_per_second * timestep_fs * 1e-6 * 86400.0,
        neighbor_retries=retries,
    )
