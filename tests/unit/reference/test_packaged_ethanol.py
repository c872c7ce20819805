"""The data set in the package keeps what its card promises."""

import itertools
import json
from pathlib import Path

import ase
import numpy as np
import pytest

import so3krates.data
from so3krates.reference import CalculatorSpec
from so3krates.reference.bonds import BondWatch

BLOCKS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    folder = Path(so3krates.data.__file__).parent / "packaged"
    with np.load(folder / "ethanol_pbe.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_it_is_complete_and_finite(data: dict[str, np.ndarray]) -> None:
    frames = len(data["energy"])
    assert frames >= 1200
    assert data["positions"].shape == data["forces"].shape == (frames, 9, 3)
    assert data["energy"].dtype == data["positions"].dtype == np.float64
    assert all(np.isfinite(data[name]).all() for name in ("positions", "energy", "forces"))
    assert sorted(np.concatenate([data[f"split_{block}"] for block in BLOCKS])) == list(range(frames))
    assert set(np.unique(data["temperature_K"])) == {300, 500, 700, 1000}


def test_positions_are_stored_as_labelled(data: dict[str, np.ndarray]) -> None:
    grain = json.loads(str(data["meta"]))["position_grain_Angstrom"]
    assert grain == 2.0**-16
    np.testing.assert_array_equal(data["positions"] % grain, 0)
    np.testing.assert_array_equal(data["positions"].astype(np.float32), data["positions"])


def test_forces_add_up_to_nothing(data: dict[str, np.ndarray]) -> None:
    """Net force and, since the grid turns with nothing but the atoms, nearly the torque."""
    np.testing.assert_allclose(data["forces"].astype(np.float64).sum(axis=1), 0, atol=2e-6)
    torque = np.cross(data["positions"], data["forces"].astype(np.float64)).sum(axis=1)
    assert np.abs(torque).max() < 0.02


def test_blocks_of_a_trajectory_are_apart_in_time(data: dict[str, np.ndarray]) -> None:
    for trajectory in range(4):
        spans = []
        for block in BLOCKS:
            members = data[f"split_{block}"]
            times = data["time_fs"][members[data["trajectory"][members] == trajectory]]
            assert len(times) == {"train": 240, "valid": 20, "test": 60}[block]
            spans.append((times.min(), times.max()))
        assert all(later[0] - earlier[1] >= 3750 for earlier, later in itertools.pairwise(spans))


def test_every_molecule_is_ethanol(data: dict[str, np.ndarray]) -> None:
    frames = [ase.Atoms(numbers=data["numbers"], positions=r) for r in data["positions"]]
    coldest = BondWatch(frames[int(np.argmin(data["energy"]))])
    assert [atoms for atoms in frames if coldest.damage(atoms)] == []


@pytest.mark.slow
def test_its_settings_give_its_labels(data: dict[str, np.ndarray]) -> None:
    pytest.importorskip("pyscf", reason="PySCF is not installed; it comes with so3krates[reference]")
    settings = json.loads(str(data["meta"]))["settings"]
    names = ("xc", "basis", "grid", "convergence")
    calculator = CalculatorSpec(target="pyscf", arguments={name: settings[name] for name in names}).build()
    for frame in (17, 1001):
        atoms = ase.Atoms(numbers=data["numbers"], positions=data["positions"][frame])
        assert calculator.get_property("energy", atoms) == pytest.approx(data["energy"][frame], abs=1e-6)
        np.testing.assert_allclose(calculator.get_property("forces", atoms), data["forces"][frame], atol=1e-4)
