"""DFT: forces are derivatives of the energies, charge and spin arrive, and rMD17 is reproduced."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import CalculatorSetupError, SCFError

from so3krates.reference import CalculatorSpec
from so3krates.units import HARTREE

pyscf = pytest.importorskip("pyscf", reason="PySCF is not installed; it comes with so3krates[reference]")
ROOT = Path(__file__).resolve().parents[3]


def dft(**arguments: object):
    return CalculatorSpec(target="pyscf", arguments=arguments).build()


def rattled(name: str) -> ase.Atoms:
    atoms = molecule(name)
    atoms.rattle(0.08, seed=7)
    return atoms


COARSE = {"basis": "sto-3g", "auxbasis": "weigend", "grid": {"O": [20, 50], "H": [15, 50]}, "convergence": 1e-11}


@pytest.mark.parametrize("case", [{}, {"charge": 1, "unpaired": 1}])
def test_forces_are_derivatives_of_the_energy_on_a_coarse_grid(case: dict[str, int]) -> None:
    """Only with the response of the grid do they agree on such a grid; the next test shows what is lost without."""
    atoms, step = rattled("H2O"), 1e-3
    calculator = dft(**COARSE, **case)
    forces = calculator.get_property("forces", atoms)
    direction = np.random.default_rng(3).normal(size=(3, 3))
    direction /= np.linalg.norm(direction)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        energies.append(calculator.get_property("energy", moved))
    assert np.vdot(forces, direction) == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=2e-5)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-6)


def test_without_the_response_of_the_grid_forces_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyscf.grad import rks

    right = dft(**COARSE).get_property("forces", rattled("H2O"))
    monkeypatch.setattr(
        rks, "get_vxc_full_response", lambda *arguments, **_: (np.zeros((3, 3)), rks.get_vxc(*arguments)[1])
    )
    wrong = dft(**COARSE).get_property("forces", rattled("H2O"))
    assert np.abs(wrong - right).max() > 0.05


def test_the_energy_is_that_of_a_plain_calculation() -> None:
    """Start, sharing of integrals and stopping criterion do not change the converged energy."""
    from pyscf import dft as kohn_sham
    from pyscf import gto

    atoms = rattled("H2O")
    mol = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)), basis="def2-svp", verbose=0
    )
    method = kohn_sham.RKS(mol, xc="PBE").density_fit()
    method.grids.level = 1
    method.conv_tol = 1e-11
    expected = method.kernel() * HARTREE
    # 1e-7: PySCF's own Bohr differs from ASE's in the ninth digit.
    assert dft(grid=1).get_property("energy", atoms) == pytest.approx(expected, abs=2e-6)


def test_results_do_not_depend_on_structures_computed_before() -> None:
    calculator = dft(basis="sto-3g", auxbasis="weigend", grid=0)
    first, second = rattled("H2O"), molecule("H2O")
    alone = calculator.get_property("forces", first)
    calculator.get_property("forces", second)
    # Sums over threads differ in the last digits.
    np.testing.assert_allclose(calculator.get_property("forces", first), alone, atol=1e-10)


def test_charge_and_multiplicity_come_from_the_structure() -> None:
    settings = {"basis": "sto-3g", "auxbasis": "weigend", "grid": 0}
    ion = molecule("H2O")
    ion.info |= {"total_charge": 1, "total_spin": 2}
    told = dft(charge=1, unpaired=1, **settings).get_property("energy", molecule("H2O"))
    assert dft(**settings).get_property("energy", ion) == pytest.approx(told, abs=1e-9)
    assert told - dft(**settings).get_property("energy", molecule("H2O")) > 5.0
    with pytest.raises(CalculatorSetupError, match="charge 1 with 0 unpaired"):
        dft(charge=1, **settings).get_property("energy", molecule("H2O"))


def test_what_it_cannot_do_is_an_error() -> None:
    with pytest.raises(CalculatorSetupError, match="periodic"):
        dft().get_property("energy", ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7]], cell=[9, 9, 9], pbc=True))
    with pytest.raises(SCFError, match="did not converge in 2 cycles"):
        dft(basis="sto-3g", auxbasis="weigend", grid=0, max_cycle=2).get_property("energy", rattled("H2O"))


@pytest.mark.slow
def test_the_settings_of_the_packaged_data_reproduce_rmd17(shared_dir: Path) -> None:
    settings = json.loads((ROOT / "benchmarks" / "results" / "ethanol_reference_vs_rmd17.json").read_text())
    calculator = CalculatorSpec.model_validate(settings["settings"]).build()
    with np.load(shared_dir / "data" / "rmd17_ethanol.npz") as data:
        for frame in (1234, 5678):
            atoms = ase.Atoms(numbers=data["numbers"], positions=data["positions"][frame])
            forces = calculator.get_property("forces", atoms)
            assert np.abs(forces - data["forces"][frame]).mean() < 1e-3
            assert calculator.get_property("energy", atoms) == pytest.approx(data["energy"][frame], abs=2e-3)
