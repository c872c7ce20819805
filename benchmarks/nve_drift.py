"""Energy drift at constant energy: ethanol, AT-AT, Ala15 and 64 waters, float32 and float64.

    so3krates pull so3lr
    python benchmarks/nve_drift.py so3lr.safetensors
    python benchmarks/nve_drift.py so3lr.safetensors --ethanol ethanol.safetensors     # a model of its own for ethanol

Each run starts from the same state, thermalised at 300 K. A line is fitted to the total energy by least squares; its
error is that of the slopes of blocks. The root mean square of the energy about its mean should fall with the square of
the time step.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import ase.io
import cyclopts
import numpy as np
from results import machine, write
from rich.console import Console
from rich.table import Table
from structures import shared

import so3krates
from so3krates import md
from so3krates.demo import ETHANOL
from so3krates.potential import Potential
from so3krates.system import System

RESULT = Path(__file__).parent / "results" / "validation" / "nve_drift.json"
FILES = {"ethanol": None, "AT-AT": "atat.xyz", "Ala15": "ala15.xyz", "64 waters": "water_64.xyz"}
TEMPERATURE_K = 300.0
PRECISIONS = ("float32", "float64")
BLOCKS = 10
OPENMM = {"single": 4.3e-4, "mixed": 2.3e-5}
"""k_BT/ns per degree of freedom, ubiquitin at 0.5 fs; Eastman et al., PLoS Comput. Biol. 13, e1005659."""
console = Console()


@dataclass(frozen=True)
class Length:
    """Of the parts of a run, ps."""

    thermalise_ps: float
    drift_ps: float
    convergence_ps: float


def main(
    model: Path,
    *,
    ethanol: Path | None = None,
    only: Annotated[list[str] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    time_ps: float = 20.0,
    thermalise_ps: float = 5.0,
    timesteps_fs: tuple[float, ...] = (0.5, 1.0),
    convergence_fs: tuple[float, ...] = (1.0, 0.5, 0.25),
    convergence_ps: float = 1.0,
    structures: Path | None = None,
    quick: bool = False,
    output: Path | None = None,
) -> None:
    """Measure.

    Args:
        model: model file for all structures, such as SO3LR's.
        ethanol: another model file for ethanol.
        only: only these structures.
        time_ps: length of each run whose drift is measured.
        thermalise_ps: Langevin dynamics before.
        timesteps_fs: time steps whose drift is measured.
        convergence_fs: time steps whose energy error is compared, largest first, in float64.
        convergence_ps: length of those runs.
        structures: folder of the start geometries; `structures` in SHARED_DIR if not given.
        quick: a moment of each, only to see that everything works; nothing is stored unless `output` says so.
        output: JSON file; the committed result if not given.
    """
    unknown = sorted(set(only or ()) - set(FILES))
    if unknown:
        raise SystemExit(f"unknown structure {unknown[0]!r}; choose from {', '.join(FILES)}.")
    folder = structures or shared("structures")
    length = Length(0.1, 0.2, 0.05) if quick else Length(thermalise_ps, time_ps, convergence_ps)
    target = output or (None if quick else RESULT)
    for name in only or FILES:
        load_before = os.getloadavg()[0]
        source = ethanol if name == "ethanol" and ethanol is not None else model
        found = _measured(so3krates.load(source), _system(name, folder), length, timesteps_fs, convergence_fs)
        _show(name, found)
        if target is not None:
            # After each structure, beside those of earlier calls: large ones in float64 take hours.
            known = json.loads(target.read_text(encoding="utf-8"))["rows"] if target.exists() else {}
            row = {"model": source.stem, **_circumstances(length, load_before), **found}
            write(_document(known | {name: row}), target)


def _system(name: str, folder: Path) -> System:
    file = FILES[name]
    if file is None:
        return so3krates.read_dataset(ETHANOL)[0].system
    atoms = ase.io.read(folder / file)
    assert isinstance(atoms, ase.Atoms)
    return System.from_ase(atoms)


def _measured(
    potential: Potential,
    system: System,
    length: Length,
    timesteps_fs: tuple[float, ...],
    convergence_fs: tuple[float, ...],
) -> dict[str, Any]:
    start = _thermalised(potential, system, length.thermalise_ps)
    row: dict[str, Any] = {"atoms": len(system), "formula": system.formula, "drift": {}}
    for dtype in PRECISIONS:
        for timestep in timesteps_fs:
            run = _run(potential.astype(dtype), start, timestep, length.drift_ps, 10.0)
            row["drift"][f"{dtype}, {timestep:g} fs"] = _drift(run)
    rms = {}
    for timestep in convergence_fs:
        run = _run(potential.astype("float64"), start, timestep, length.convergence_ps, max(convergence_fs))
        rms[timestep] = float(1e3 * np.std(run.frames.conserved) / len(system))
    steps = np.array(list(rms))
    slope = np.polyfit(np.log(steps), np.log(list(rms.values())), 1)[0]
    row["convergence"] = {
        "rms_meV_per_atom": {f"{timestep:g} fs": value for timestep, value in rms.items()},
        "exponent": float(slope),
    }
    return row


def _thermalised(potential: Potential, system: System, time_ps: float) -> md.Snapshot:
    """The frame of a Langevin run which NVE begins with, of mean energy: zero steps at constant energy."""
    end, _ = so3krates.simulate(
        potential,
        system,
        md.NVE(),
        timestep_fs=0.5,
        steps=0,
        initial_temperature_K=TEMPERATURE_K,
        thermalise_ps=time_ps,
        seed=1,
    )
    return end


def _run(potential: Potential, start: md.Snapshot, timestep: float, time_ps: float, every_fs: float) -> md.Run:
    steps = round(time_ps * 1e3 / timestep)
    _, run = so3krates.simulate(potential, start, md.NVE(), timestep_fs=timestep, steps=steps, save_every_fs=every_fs)
    return run


def _drift(run: md.Run) -> dict[str, float]:
    """Slope with its standard error, in the units of the summary, and the ratio to the kinetic energy's spread.

    The error of a line through correlated fluctuations: the energies of blocks have independent means, and the scatter
    of these about the line gives that of its slope.
    """
    drift = run.summary.drift
    assert drift is not None
    frames = run.frames
    kinetic = frames.kinetic_energy.mean()
    atoms = run.summary.atoms
    error = slope_error(frames.time_fs * 1e-3, frames.conserved)
    return {
        "meV_per_atom_per_ps": drift.meV_per_atom_per_ps,
        "error_meV_per_atom_per_ps": 1e3 * error / atoms,
        "kT_per_ns_per_dof": drift.kT_per_ns_per_dof,
        "error_kT_per_ns_per_dof": 1e3 * error / (2.0 * kinetic),
        "over_kinetic_spread": drift.over_kinetic_spread,
        "fluctuation_meV_per_atom": drift.fluctuation_meV_per_atom,
        "mean_temperature_K": run.summary.temperature_K.mean,
        "time_ps": run.summary.time_ps,
    }


def slope_error(time: np.ndarray, energy: np.ndarray) -> float:
    """Standard error of the slope of a line through the means of `BLOCKS` blocks."""
    size = len(time) // BLOCKS
    if size < 1:
        return float("nan")
    t, e = (values[: BLOCKS * size].reshape(BLOCKS, size).mean(axis=1) for values in (time, energy - energy.mean()))
    slope, offset = np.polyfit(t, e, 1)
    scatter = np.sum((e - slope * t - offset) ** 2) / (BLOCKS - 2)
    return float(np.sqrt(scatter / np.sum((t - t.mean()) ** 2)))


def _circumstances(length: Length, load_before: float) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(load_before),
        "versions": {name: version(name) for name in ("so3krates", "jax", "numpy")},
        "protocol": {
            "temperature_K": TEMPERATURE_K,
            "thermalise_ps": length.thermalise_ps,
            "drift_ps": length.drift_ps,
            "convergence_ps": length.convergence_ps,
        },
    }


def _document(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": "energy drift at constant energy",
        "openmm_kT_per_ns_per_dof": OPENMM,
        "rows": rows,
    }


def _show(name: str, row: dict[str, Any]) -> None:
    table = Table(title=f"{name}, error ∝ Δt^{row['convergence']['exponent']:.2f}")
    for column in ("", "meV/atom/ps", "k_BT/ns/dof", "drift / σ(K)", "T, K"):
        table.add_column(column, justify="right")
    for label, drift in row["drift"].items():
        table.add_row(
            label,
            f"{drift['meV_per_atom_per_ps']:.1e} ± {drift['error_meV_per_atom_per_ps']:.0e}",
            f"{drift['kT_per_ns_per_dof']:.1e} ± {drift['error_kT_per_ns_per_dof']:.0e}",
            f"{drift['over_kinetic_spread']:.1e}",
            f"{drift['mean_temperature_K']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    cyclopts.run(main)
