"""Frames as structures of ASE."""

from typing import Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from so3krates.io.trajectory.frames import Frames
from so3krates.system import System
from so3krates.units import FEMTOSECOND


def frames_to_ase(frames: Frames, system: System, reference_energy: float) -> list[ase.Atoms]:
    """Frames as ASE Atoms, each with its own cell; time in fs and step in `info`. Stresses are not recorded, so there
    are none.

    Args:
        frames: of a run.
        system: elements, masses, charge, and the cell where it does not move.
        reference_energy: of the elements, eV; added to the energies.
    """
    return [_atoms(frames, row, system, reference_energy) for row in range(len(frames))]


def _atoms(frames: Frames, row: int, system: System, reference_energy: float) -> ase.Atoms:
    atoms = system.to_ase()
    if frames.cells is not None:
        atoms.set_cell(frames.cells[row])
    atoms.positions = np.asarray(frames.positions[row], np.float64)
    if frames.velocities is not None:
        atoms.set_velocities(np.asarray(frames.velocities[row], np.float64) / FEMTOSECOND)
    atoms.info |= {"time_fs": float(frames.time_fs[row]), "step": int(frames.step[row])}
    results: dict[str, Any] = {"energy": float(frames.potential_energy[row]) + reference_energy}
    if frames.forces is not None:
        results["forces"] = np.asarray(frames.forces[row], np.float64)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
