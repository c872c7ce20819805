"""How the error of the conserved quantity falls with the time step."""

from typing import Any

import numpy as np
from validation import checks
from validation.cases import Case, monitor
from validation.ensembles import Ensemble

import so3krates
from so3krates import md

STARTS = 16
PERIODS = 1200
"""Length of a trajectory in the largest time steps."""
TOLERANCE = 0.1
"""How far the exponent may be from 2 beyond three standard errors; higher orders add a little at finite steps."""


def measured_convergence(case: Case, entry: Ensemble, seed: int, *, quick: bool = False) -> dict[str, Any]:
    """Trajectories of one length from the same starts, in float64, with all time steps.

    The fluctuation is that of the conserved quantity about its mean in each trajectory; its exponent between the two
    smallest time steps has the standard error of resampling the starts.
    """
    starts = 2 if quick else STARTS
    point = case.points[entry.kind if entry.kind in case.points else "NVT"][0]
    integrator = entry.make(point, case.around)
    potential = case.make("float64")
    largest = case.convergence_fs[0]
    conserved: dict[float, list[np.ndarray]] = {timestep: [] for timestep in case.convergence_fs}
    for number in range(starts):
        begin = _thermalised(case, point.temperature_K, seed + number)
        for timestep in case.convergence_fs:
            _, run = so3krates.simulate(
                potential,
                begin,
                integrator,
                timestep_fs=timestep,
                steps=round(PERIODS * largest / timestep),
                save_every_fs=largest,
                seed=seed + number,
                monitor=monitor(),
            )
            conserved[timestep].append(run.frames.conserved)
    spread = {timestep: np.array([np.var(row) for row in rows]) for timestep, rows in conserved.items()}
    coarse, fine = case.convergence_fs[-2:]
    exponent, error = _exponent(spread[coarse], spread[fine], coarse / fine)
    return {
        "timesteps_fs": list(case.convergence_fs),
        "starts": starts,
        "time_ps": PERIODS * largest * 1e-3,
        "rms_meV_per_atom": [
            float(1e3 * np.sqrt(spread[timestep].mean()) / len(case.system)) for timestep in case.convergence_fs
        ],
        "physical_validation_largest_deviation": checks.convergence(
            {timestep: np.stack(rows) for timestep, rows in conserved.items()}
        ),
        "exponent": exponent,
        "exponent_error": error,
        "second_order": abs(exponent - 2.0) <= TOLERANCE + 3.0 * error,
    }


def _thermalised(case: Case, temperature: float, seed: int) -> md.Snapshot:
    bath = md.Langevin(temperature_K=temperature, friction_per_ps=case.around.friction_per_ps)
    end, _ = so3krates.simulate(
        case.make("float64"),
        case.start(temperature, seed),
        bath,
        timestep_fs=case.timestep_fs,
        steps=round(3e3 / case.timestep_fs),
        seed=seed,
        monitor=monitor(),
    )
    return end


def _exponent(coarse: np.ndarray, fine: np.ndarray, ratio: float) -> tuple[float, float]:
    """Of the root mean square over all trajectories, and its standard error."""

    def exponent(rows: np.ndarray) -> float:
        return float(0.5 * np.log(coarse[rows].mean() / fine[rows].mean()) / np.log(ratio))

    generator = np.random.default_rng(1)
    count = len(coarse)
    resampled = [exponent(generator.integers(0, count, count)) for _ in range(400)]
    return exponent(np.arange(count)), float(np.std(resampled))
