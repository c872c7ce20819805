"""One step through an ASE calculator: new positions, then energy and forces, in ms."""

from typing import Any

import ase
import numpy as np
from serving import Job, timed

DISPLACEMENT = 0.01
"""Å; every call sees other positions, so that no calculator can answer from memory."""


def atoms_of(structure: dict[str, Any]) -> ase.Atoms:
    """The structure of a task."""
    return ase.Atoms(
        numbers=structure["numbers"], positions=structure["positions"], cell=structure["cell"], pbc=structure["pbc"]
    )


def ase_job(atoms: ase.Atoms, calculator: Any, parameters: int) -> Job:
    """A job that samples the time of one call for energy and forces."""
    atoms.calc = calculator
    start = atoms.get_positions()
    rng = np.random.default_rng(0)

    def step() -> None:
        atoms.set_positions(start + rng.normal(0.0, DISPLACEMENT, start.shape))
        # Forces first: some calculators keep only what was asked for, and all that matter here make both at once.
        atoms.get_forces()
        atoms.get_potential_energy()

    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise ValueError(f"{atoms.get_chemical_formula()}: energy {energy} eV or a force is not finite.")
    return Job({"energy_eV": float(energy), "parameters": parameters}, lambda: 1e3 * timed(step))
