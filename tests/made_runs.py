"""Runs, logs and data sets made for tests of what is shown of them: cheap, and known in closed form."""

import json
from pathlib import Path

import ase
import numpy as np
from ase.build import molecule

from so3krates.analysis.evaluate import Evaluation
from so3krates.analysis.spectra import PERIOD_FS
from so3krates.data.sample import Sample
from so3krates.io.trajectory import Frames, append_frames, create_trajectory
from so3krates.system import System
from so3krates.units import BOLTZMANN, FEMTOSECOND

VIBRATIONS = (420.0, 1050.0, 1390.0, 2950.0, 3650.0)
"""cm⁻¹"""
INTERVAL_FS = 2.0


def ethanol(*, far: float = 0.0) -> System:
    """Ethanol, as far from the origin as wished."""
    atoms = molecule("CH3CH2OH")
    atoms.positions += far
    return System.from_ase(atoms)


def crystal() -> System:
    """Eight atoms of silicon in a cubic cell."""
    from ase.build import bulk

    return System.from_ase(bulk("Si", cubic=True))


def write_run(
    path: Path,
    system: System | None = None,
    *,
    frames: int = 3000,
    slope_eV_per_ps: float = 2e-6,
    kind: str = "NVE",
    broken_from: int | None = None,
) -> Path:
    """A trajectory in which every atom moves in five vibrations, with a drift that is known.

    Args:
        path: of the file.
        system: ethanol if not given.
        frames: their number.
        slope_eV_per_ps: of the conserved quantity.
        kind: ensemble.
        broken_from: frame from which the last atom is 3 Å away from where it belongs.
    """
    system = system or ethanol()
    rng = np.random.default_rng(7)
    time = np.arange(frames) * INTERVAL_FS
    positions = np.repeat(system.positions[None], frames, axis=0)
    velocities = np.zeros_like(positions)
    for wavenumber in VIBRATIONS:
        omega = 2.0 * np.pi * wavenumber / PERIOD_FS
        # Equal kinetic energy in every vibration of every atom.
        speed = rng.standard_normal(system.positions.shape) * 4e-3 / np.sqrt(system.masses)[:, None]
        phase = rng.uniform(0.0, 2.0 * np.pi, system.positions.shape)
        angle = omega * time[:, None, None] + phase
        positions += speed / omega * np.sin(angle)
        velocities += speed * np.cos(angle)
    if broken_from is not None:
        positions[broken_from:, -1] += np.array([3.0, 0.0, 0.0])
    kinetic = 0.5 * np.einsum("a,fac->f", system.masses, (velocities / FEMTOSECOND) ** 2)
    freedom = 3 * len(system) - 3
    settings = {"ensemble": {"kind": kind}, "timestep_fs": 0.5, "dtype": "float32"}
    create_trajectory(path, system, settings, forces=False, dtype="float32")
    conserved = 1.5 + slope_eV_per_ps * 1e-3 * time + 2e-6 * rng.standard_normal(frames)
    append_frames(
        path,
        Frames(
            step=np.arange(frames) * 4,
            time_fs=time,
            positions=positions.astype(np.float32),
            velocities=velocities.astype(np.float32),
            potential_energy=conserved - kinetic,
            kinetic_energy=kinetic,
            temperature=2.0 * kinetic / (freedom * BOLTZMANN),
            conserved=conserved,
            closest=np.full(frames, 0.9),
        ),
    )
    return path


def reference_data(count: int = 400) -> list[Sample]:
    """Ethanol frames, atoms displaced at random."""
    rng = np.random.default_rng(11)
    system = ethanol()
    noise = 0.03 * rng.standard_normal((count, len(system), 3))
    return [
        Sample(system.moved(system.positions + shift), energy=0.0, origin=f"frame {n}") for n, shift in enumerate(noise)
    ]


def write_log(path: Path, validations: int = 40) -> Path:
    """A training log whose errors fall as a power of time."""
    records: list[dict[str, object]] = [{"event": "start", "n_train": 950}]
    for n in range(1, validations + 1):
        where = {"step": 900 * n, "epoch": 3.8 * n, "minutes": 0.075 * n}
        records.append({"event": "progress", **where, "loss": 1.0 / n})
        errors = {"forces_mae": 0.3 * n**-0.8, "energy_mae": 0.06 * n**-0.9}
        records.append({"event": "validation", **where, **errors, "best": True})
    records.append({"event": "end", "reason": "budget"})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def evaluation(frames: int = 60, *, mixed: bool = False) -> Evaluation:
    """Errors drawn at random: 20 meV/Å in forces, 10 meV in energies."""
    rng = np.random.default_rng(3)
    molecules: list[ase.Atoms] = [molecule("CH3CH2OH"), molecule("H2O")] if mixed else [molecule("CH3CH2OH")]
    chosen = [molecules[n % len(molecules)] for n in range(frames)]
    numbers = np.concatenate([atoms.numbers for atoms in chosen])
    energy = np.array([-100.0 * len(atoms) for atoms in chosen]) + 0.3 * rng.standard_normal(frames)
    forces = 1.2 * rng.standard_normal((len(numbers), 3))
    missing = np.full((frames, 3, 3), np.nan)
    return Evaluation(
        origins=tuple(f"test.extxyz, frame {n}" for n in range(frames)),
        formulas=tuple(atoms.get_chemical_formula() for atoms in chosen),
        atoms_per_frame=np.array([len(atoms) for atoms in chosen]),
        numbers=numbers,
        energy_reference=energy,
        energy_predicted=energy + 0.010 * rng.standard_normal(frames),
        forces_reference=forces,
        forces_predicted=forces + 0.020 * rng.standard_normal(forces.shape),
        stress_reference=missing,
        stress_predicted=missing,
        dipole_reference=missing[:, 0],
        dipole_predicted=missing[:, 0],
        ratios_reference=np.full(len(numbers), np.nan),
        ratios_predicted=np.full(len(numbers), np.nan),
    )
