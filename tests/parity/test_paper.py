"""Energies and forces of the original implementation, through every way a user can ask for them."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest

from so3krates.io.foreign import read_mlff
from so3krates.io.foreign_check import ForeignNetwork, Molecule
from so3krates.io.foreign_convert import Files, convert_mlff, read_hyperparameters, read_parameters
from so3krates.io.model_file import load
from so3krates.potential import Potential
from so3krates.system import System

MOLECULES = ("ethanol", "dha")
NETWORK_PARTS = (
    "so3lr_ethanol_lr1000",
    "so3lr_dha_lr12",
    "so3lr_dha_lr1000",
    "so3lr_atat_lr12",
    "so3lr_atat_lr1000",
    "so3lr_water64_lr6",
)


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


@pytest.fixture(scope="module")
def so3lr_network(reference: Path) -> Potential:
    parameters = read_parameters(reference / "so3lr" / "params.pkl")
    hyperparameters = read_hyperparameters(reference / "so3lr" / "hyperparameters.json")
    return read_mlff(parameters, hyperparameters, terms="network").potential.astype("float64")


@pytest.mark.parametrize("name", MOLECULES)
def test_through_the_model_file(converted: Potential, reference: Path, name: str) -> None:
    values = np.load(reference / f"paper_{name}.npz")
    energy, forces = converted.energy_and_forces(System(values["positions"], values["numbers"]))
    assert energy == pytest.approx(float(values["energy"]), abs=1e-8)
    np.testing.assert_allclose(forces, values["forces"], rtol=0, atol=1e-8)


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


@pytest.mark.parametrize("name", NETWORK_PARTS)
def test_network_part_of_so3lr(so3lr_network: Potential, reference: Path, name: str) -> None:
    """LayerNorms, residual MLP, charge and spin embeddings, Bernstein basis, degree 4, mean number of neighbours."""
    values = np.load(reference / f"{name}.npz")
    system = System(
        values["positions"],
        values["numbers"],
        values["cell"],
        tuple(bool(flag) for flag in values["pbc"]),  # type: ignore[arg-type]
        float(values["total_charge"]),
        float(values["num_unpaired_electrons"]),
    )
    parts = ("atomic_zbl_repulsion", "atomic_electrostatic", "atomic_dispersion")
    network = values["atomic_energy"] - sum(values[part] for part in parts)
    prediction = so3lr_network.predict([system])[0]
    assert prediction.energy == pytest.approx(float(values["energy_so3krates"]), abs=1e-8)
    np.testing.assert_allclose(prediction.energies, network, rtol=0, atol=1e-8)


def test_separate_evaluation_of_the_so3lr_network(reference: Path) -> None:
    values = np.load(reference / "so3lr_ethanol_lr1000.npz")
    hyperparameters = read_hyperparameters(reference / "so3lr" / "hyperparameters.json")
    network = ForeignNetwork(read_parameters(reference / "so3lr_params.npz"), hyperparameters)
    energy = network.energy(Molecule(values["positions"], values["numbers"]))
    assert energy == pytest.approx(float(values["energy_so3krates"]), abs=1e-10)
