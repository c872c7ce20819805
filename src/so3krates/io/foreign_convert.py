"""From the original implementation's files to a model file that has been checked before it appears."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from so3krates._errors import FileError, InputError
from so3krates.io.atomic import write_atomically
from so3krates.io.foreign import read_mlff
from so3krates.io.foreign_check import ForeignNetwork, Molecule
from so3krates.io.foreign_pickle import read_pickled_arrays
from so3krates.io.model_file import load, to_bytes
from so3krates.potential import Potential
from so3krates.system import System

ENERGY_TOLERANCE = 1e-8
"""eV, relative for energies above 1 eV; both sides work in float64."""
FORCE_TOLERANCE = 1e-6
"""eV/Å, relative for forces above 1 eV/Å; one side takes differences of energies."""
REFERENCE_TOLERANCE = 1e-6
"""eV and eV/Å, for values given by the user."""

CHECK_TOTALS = ((0.0, 0.0), (1.0, 1.0), (-1.0, 2.0))
"""Charge in e and unpaired electrons; energies are compared for all, forces for the last."""
CHECK_POSITIONS = np.array(
    [
        [0.013, 1.171, 0.021],
        [1.236, 1.967, -0.087],
        [-1.161, 2.069, 0.112],
        [2.113, 1.345, 0.184],
        [1.201, 2.688, 0.753],
        [1.308, 2.491, -1.046],
        [-2.075, 1.502, -0.131],
        [-1.107, 2.749, -0.751],
        [-1.275, 2.601, 1.064],
        [3.731, 0.412, 0.339],
    ]
)
"""Å; a chain longer than usual cutoffs, without symmetry."""


class Files(NamedTuple):
    """The two files of a trained model of the original."""

    parameters: Path
    hyperparameters: Path


class Deviation(NamedTuple):
    """Largest differences found by a check."""

    energy: float
    """eV."""
    forces: float
    """eV/Å."""


class _Standard(NamedTuple):
    """What a converted model is compared with, and how close it must come."""

    name: str
    energy: float
    forces: float


_ORIGINAL = _Standard("a separate evaluation of the original", ENERGY_TOLERANCE, FORCE_TOLERANCE)


class Conversion(NamedTuple):
    """What a conversion did."""

    potential: Potential
    check: Deviation
    """Against a separate evaluation of the original parameters."""
    reference: Deviation | None
    """Against values given by the user."""
    unused: tuple[str, ...]
    """Parameters without effect on the energy, which the model file does not hold."""


def find_files(folder: Path) -> Files:
    """`params.npz` or `params.pkl`, and `hyperparameters.json`.

    Raises:
        FileError: if one is missing, or both kinds of parameters are there.
    """
    if not folder.is_dir():
        raise FileError(f"'{folder}' is not a folder; expected one with params.npz or .pkl and hyperparameters.json.")
    found = [folder / name for name in ("params.npz", "params.pkl") if (folder / name).exists()]
    if len(found) != 1:
        problem = "holds neither params.npz nor params.pkl" if not found else "holds both params.npz and params.pkl"
        raise FileError(f"folder '{folder}' {problem}; name the file with --parameters.")
    return Files(found[0], folder / "hyperparameters.json")


def convert_mlff(
    files: Files,
    output: Path,
    *,
    reference: Path | None = None,
    numbers: tuple[int, ...] | None = None,
    energy_shifts: bool = False,
    about: Mapping[str, str] = MappingProxyType({}),
) -> Conversion:
    """Write a model file, read it back, and let it appear only if it computes what the original parameters say.

    Args:
        files: parameters (npz or pickle) and hyper-parameters (JSON).
        output: the model file.
        reference: npz with `positions`, `numbers`, `energy`, `forces`, and optionally `cell`, `pbc`, `total_charge`,
            `num_unpaired_electrons`, of the whole model; eV and Å.
        numbers: elements the potential is meant for; all of its embedding if not given.
        energy_shifts: take the file's energy shifts as reference energies of the elements.
        about: what the provenance shall say besides, such as licence and citation.

    Raises:
        ConfigError: for hyper-parameters that this network does not offer.
        FileError: for files that cannot be read or do not fit each other, or if a check fails; nothing is left behind.
    """
    parameters = read_parameters(files.parameters)
    hyperparameters = read_hyperparameters(files.hyperparameters)
    model = read_mlff(
        parameters, hyperparameters, numbers=numbers, energy_shifts=energy_shifts, source=str(files.parameters)
    )
    described = json.dumps({**about, **json.loads(model.potential.provenance)})
    converted = replace(model.potential, provenance=described)
    result: list[Conversion] = []

    def verify(written: Path) -> None:
        potential = load(written, dtype="float64")
        check = _against_original(potential, ForeignNetwork(parameters, hyperparameters))
        given = None if reference is None else _against_reference(potential, reference)
        result.append(Conversion(converted, check, given, model.unused))

    write_atomically(output, to_bytes(converted), verify)
    return result[0]


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """Arrays by names joined by "/", from npz or from a pickle of NumPy arrays.

    Raises:
        FileError: if the file cannot be read, or holds anything but arrays.
    """
    return read_pickled_arrays(path) if path.suffix in (".pkl", ".pickle") else _read_npz(path)


def read_hyperparameters(path: Path) -> dict[str, Any]:
    """The original's hyperparameters.json.

    Raises:
        FileError: if the file cannot be read or is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"'{path}' is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise FileError(f"'{path}' holds {type(values).__name__}; expected an object with sections such as 'model'.")
    return values


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, since NumPy leaves the file open when it is not a complete archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (BadZipFile, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise FileError(f"'{path}' is not a complete npz file of plain arrays: {error}.") from error
    except OSError as error:
        raise FileError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def _against_original(potential: Potential, network: ForeignNetwork) -> Deviation:
    assert potential.elements is not None
    table = np.array(potential.elements.numbers)
    spread = table[np.linspace(0, len(table) - 1, len(CHECK_POSITIONS)).round().astype(int)]
    worst = 0.0
    for totals in CHECK_TOTALS:
        molecule = Molecule(CHECK_POSITIONS, spread, *totals)
        energy = network.energy(molecule)
        ours = potential.energy(_system(molecule)) - potential.reference_energy(spread)
        _refuse_mismatch(Deviation(abs(ours - energy), 0.0), energy, np.zeros(3), _ORIGINAL)
        worst = max(worst, abs(ours - energy))
    molecule = Molecule(CHECK_POSITIONS, spread, *CHECK_TOTALS[-1])
    forces = network.forces(molecule)
    _, our_forces = potential.energy_and_forces(_system(molecule))
    found = Deviation(worst, float(np.abs(our_forces - forces).max()))
    _refuse_mismatch(Deviation(0.0, found.forces), 0.0, forces, _ORIGINAL)
    return found


def _system(molecule: Molecule) -> System:
    return System(molecule.positions, molecule.numbers, charge=molecule.charge, unpaired=molecule.unpaired)


def _against_reference(potential: Potential, path: Path) -> Deviation:
    system, energy, forces = _read_reference(path)
    ours, our_forces = potential.energy_and_forces(system)
    found = Deviation(abs(ours - energy), float(np.abs(our_forces - forces).max()))
    _refuse_mismatch(found, energy, forces, _Standard(f"'{path}'", REFERENCE_TOLERANCE, REFERENCE_TOLERANCE))
    return found


def _read_reference(path: Path) -> tuple[System, float, np.ndarray]:
    values = _read_npz(path)
    missing = [name for name in ("positions", "numbers", "energy", "forces") if name not in values]
    if missing:
        raise FileError(f"reference '{path}' lacks '{missing[0]}'; expected positions, numbers, energy and forces.")
    system = System(
        values["positions"],
        values["numbers"],
        values.get("cell"),
        tuple(bool(flag) for flag in values.get("pbc", (False, False, False))),  # type: ignore[arg-type]
        _number(values, "total_charge", path),
        _number(values, "num_unpaired_electrons", path),
    )
    if values["forces"].shape != system.positions.shape:
        raise FileError(
            f"reference '{path}': forces have shape {values['forces'].shape}; expected {system.positions.shape}."
        )
    return system, _number(values, "energy", path), np.asarray(values["forces"], np.float64)


def _number(values: Mapping[str, np.ndarray], name: str, path: Path) -> float:
    value = np.asarray(values.get(name, 0.0))
    if value.size != 1:
        raise InputError(f"reference '{path}': {name} has shape {value.shape}; expected one number.")
    return float(value.reshape(()))


def _refuse_mismatch(found: Deviation, energy: float, forces: np.ndarray, standard: _Standard) -> None:
    energy_limit = standard.energy * max(1.0, abs(energy))
    force_limit = standard.forces * max(1.0, float(np.abs(forces).max()))
    # Written so that NaN fails too.
    if not (found.energy <= energy_limit and found.forces <= force_limit):
        raise FileError(
            f"the converted model disagrees with {standard.name} by {found.energy:.1e} eV and {found.forces:.1e} eV/Å "
            f"(allowed: {energy_limit:.1e} and {force_limit:.1e}); no file was written."
        )
