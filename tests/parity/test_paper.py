"""Energies and forces of the original implementation, through every way a user can ask for them."""

import json
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest

from so3krates.io.foreign_check import ForeignNetwork, Molecule
from so3krates.io.foreign_convert import Files, convert_mlff, read_parameters
from so3krates.io.model_file import load
from so3krates.potential import Potential
from so3krates.system import System

MOLECULES = ("ethanol", "dha")


@pytest.fixture(scope="module")
def reference(shared_dir: Path) -> Path:
    return shared_dir / "reference"


@pytest.fixture(scope="module")
def converted(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Potential:
    """The article's configuration, through the converter and the model file."""
    output = tmp_path_factory.mktemp("paper") / "paper.safetensors"
    files = Files(reference / "paper_params.npz", reference / "paper_hyperparameters.json")
    convert_mlff(files, output, reference=reference / "paper_dha.npz")
    return load(output, dtype="float64")


@pytest.mark.parametrize("name", MOLECULES)
def test_through_the_model_file(converted: Potential, reference: Path, name: str) -> None:
    values = np.load(reference / f"paper_{name}.npz")
    energy, forces = converted.energy_and_forces(System(values["positions"], values["numbers"]))
    assert energy == pytest.approx(float(values["energy"]), abs=1e-8)
    np.testing.assert_allclose(forces, values["forces"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", MOLECULES)
def test_with_tables_and_the_kernel(converted: Potential, reference: Path, name: str) -> None:
    values = np.load(reference / f"paper_{name}.npz")
    fast = replace(converted, tolerance=1e-7)
    energy, forces = fast.energy_and_forces(System(values["positions"], values["numbers"]))
    assert energy == pytest.approx(float(values["energy"]), abs=1e-7)
    np.testing.assert_allclose(forces, values["forces"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", MOLECULES)
def test_through_the_ase_calculator(converted: Potential, reference: Path, name: str) -> None:
    values = np.load(reference / f"paper_{name}.npz")
    atoms = ase.Atoms(numbers=values["numbers"], positions=values["positions"])
    atoms.calc = converted.ase()
    assert atoms.get_potential_energy() == pytest.approx(float(values["energy"]), abs=1e-8)
    np.testing.assert_allclose(atoms.get_forces(), values["forces"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", MOLECULES)
def test_separate_evaluation(reference: Path, name: str) -> None:
    """What conversions are checked against is itself right."""
    values = np.load(reference / f"paper_{name}.npz")
    hyperparameters = json.loads((reference / "paper_hyperparameters.json").read_text())
    network = ForeignNetwork(read_parameters(reference / "paper_params.npz"), hyperparameters)
    assert network.energy(Molecule(values["positions"], values["numbers"])) == pytest.approx(
        float(values["energy"]), abs=1e-10
    )
