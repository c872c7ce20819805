"""Predictions as extended XYZ: structures with everything a potential says about them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ase
import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from so3krates._errors import FileError, InputError
from so3krates.prediction import Prediction
from so3krates.system import System


def predicted_atoms(system: System, prediction: Prediction) -> ase.Atoms:
    """The structure with energy, forces, stress, charges and dipole as results; the components of the energy in `info`
    (`energy_network`, …), Hirshfeld ratios in `arrays`."""
    atoms = system.to_ase()
    results = {"energy": prediction.energy, "forces": prediction.forces}
    if prediction.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress)
    if prediction.charges is not None:
        results |= {"charges": prediction.charges, "dipole": prediction.dipole}
    if prediction.hirshfeld_ratios is not None:
        atoms.arrays["hirshfeld_ratios"] = prediction.hirshfeld_ratios
    atoms.info |= {f"energy_{name}": value for name, value in prediction.components.items()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@contextmanager
def predicted_frames(path: Path | None) -> Iterator[Callable[[System, Prediction], None] | None]:
    """A function that appends to the file, which appears when all is written; None for no path.

    Raises:
        InputError: for a name that is not one of extended XYZ.
        FileError: if the file cannot be written.
    """
    if path is None:
        yield None
        return
    if path.suffix not in (".extxyz", ".xyz"):
        raise InputError(f"predictions cannot be written to '{path.name}'; give a file that ends in .extxyz or .xyz.")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            yield lambda system, prediction: ase.io.write(file, predicted_atoms(system, prediction), format="extxyz")
        os.replace(partial, path)
    except OSError as error:
        raise FileError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
