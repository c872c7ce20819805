"""The ASE calculator: right numbers, few compilations, and at home in ASE's own tools."""

import logging

import ase.build
import jax
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import VibrationsData
from oracles.long_range import long_range_potential
from oracles.models import random_model

from so3krates._errors import InputError
from so3krates.interfaces.ase import SO3kratesCalculator
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System

CONFIG = ModelConfig(
    features=8, layers=2, heads=2, degrees=(1, 2), radial_functions=6, cutoff=4.0, charge_embedding=True,
    spin_embedding=True,
)  # fmt: skip


def potential(dtype: str = "float64", seed: int = 1) -> Potential:
    table = ElementTable(numbers=(1, 6, 8, 14), energies=(-13.5, -1028.0, -2041.0, -7870.0))
    return Potential(random_model(CONFIG, seed, dtype), table)


@pytest.fixture
def ethanol(rng: np.random.Generator) -> ase.Atoms:
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return atoms


@pytest.fixture
def crystal(rng: np.random.Generator) -> ase.Atoms:
    """Two atoms in a sheared cell shorter than the cutoff."""
    atoms = ase.build.bulk("Si")
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.03, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.05, size=(2, 3))
    return atoms


def test_energies_and_forces_are_those_of_the_potential(ethanol: ase.Atoms) -> None:
    ethanol.calc = potential().ase()
    energy, forces = potential().energy_and_forces(System.from_ase(ethanol))
    assert ethanol.calc.potential.cutoff == 4.0
    assert ethanol.get_potential_energy() == pytest.approx(energy, rel=1e-14)
    assert ethanol.get_potential_energy(force_consistent=True) == ethanol.get_potential_energy()
    assert ethanol.get_potential_energies().sum() == pytest.approx(energy, rel=1e-14)
    np.testing.assert_allclose(ethanol.get_forces(), forces, atol=1e-12)
    np.testing.assert_allclose(ethanol.get_forces(), calculate_numerical_forces(ethanol, eps=1e-4), atol=1e-6)


def test_stress_is_the_strain_derivative(crystal: ase.Atoms) -> None:
    crystal.calc = potential().ase()
    stress = crystal.get_stress()
    assert stress.shape == (6,)
    assert np.abs(stress).max() > 1e-4
    numerical = calculate_numerical_stress(crystal, eps=1e-4, force_consistent=False)
    np.testing.assert_allclose(stress, numerical, atol=1e-7)
    expected = potential().stress(System.from_ase(crystal))
    np.testing.assert_allclose(crystal.get_stress(voigt=False), expected, atol=1e-12)


def test_stress_needs_a_cell(ethanol: ase.Atoms, crystal: ase.Atoms) -> None:
    ethanol.calc = potential().ase()
    with pytest.raises(PropertyNotImplementedError, match="C2H6O has no stress"):
        ethanol.get_stress()
    ethanol.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        ethanol.get_stress()
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    slab.cell[2] = 0.0
    slab.calc = potential().ase()
    assert np.isfinite(slab.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="three cell vectors"):
        slab.get_stress()


def test_charge_and_multiplicity_come_from_info(ethanol: ase.Atoms) -> None:
    ethanol.calc = potential().ase()
    energies = {}
    for key, info in (
        ("neutral", {}),
        ("cation", {"total_charge": 1, "total_spin": 2}),
        ("anion", {"charge": -1, "total_spin": 2}),
    ):
        ethanol.info = info
        energies[key] = ethanol.get_potential_energy()
        assert energies[key] == pytest.approx(potential().energy(System.from_ase(ethanol)), rel=1e-14)
    assert len({round(energy, 6) for energy in energies.values()}) == 3


def test_what_is_known_is_not_computed_again(ethanol: ase.Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = SO3kratesCalculator.calculate

    def counted(self: SO3kratesCalculator, *arguments: object) -> None:
        calls.append(arguments)
        original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SO3kratesCalculator, "calculate", counted)
    ethanol.calc = potential().ase()
    ethanol.get_potential_energy()
    ethanol.get_forces()
    ethanol.info["comment"] = "no physics"
    ethanol.get_potential_energies()
    assert len(calls) == 1
    ethanol.positions[0, 0] += 0.01
    ethanol.get_forces()
    assert len(calls) == 2


def test_compiles_only_when_a_bucket_grows(ethanol: ase.Atoms, caplog: pytest.LogCaptureFixture) -> None:
    # A seed of its own, so that no other test has compiled this very size before.
    config = CONFIG.model_copy(update={"features": 12})
    calculator = Potential(SO3krates(config, key=jax.random.key(2), dtype="float32")).ase()
    assert isinstance(calculator, SO3kratesCalculator)

    def compilations(atoms: ase.Atoms) -> int:
        caplog.clear()
        atoms.calc = calculator
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            atoms.get_forces()
        return sum("Compiling" in r.message and "energies_and_forces" in r.message for r in caplog.records)

    larger = ase.build.molecule("CH3CH2OCH3") + ase.build.molecule("H2O")
    assert compilations(ethanol) == 1
    for _ in range(3):
        ethanol.rattle(0.01, seed=int(1e6 * ethanol.positions[0, 0]) % 2**31)
        assert compilations(ethanol) == 0
    assert compilations(ase.build.molecule("H2O")) == 0
    before = calculator.sizes
    large = compilations(larger * (1, 1, 1))
    assert large == (calculator.sizes != before) == 1
    assert compilations(ethanol) == 0


def test_unknown_elements_and_bad_structures() -> None:
    neon = ase.Atoms("Ne", calculator=potential().ase())
    with pytest.raises(InputError, match="Ne holds Ne, but the model knows only H, C, O, Si"):
        neon.get_potential_energy()
    overlapping = ase.Atoms("H2", positions=np.zeros((2, 3)), calculator=potential().ase())
    with pytest.raises(InputError, match="on top of each other"):
        overlapping.get_potential_energy()


def test_one_atom_and_float32(ethanol: ase.Atoms) -> None:
    atom = ase.Atoms("O", calculator=potential("float32").ase())
    assert np.array_equal(atom.get_forces(), np.zeros((1, 3)))
    ethanol.positions += 500.0
    ethanol.calc = potential("float32").ase()
    single, forces = ethanol.get_potential_energy(), ethanol.get_forces()
    ethanol.calc = potential("float32").astype("float64").ase()
    assert single == pytest.approx(ethanol.get_potential_energy(), abs=1e-4)
    assert forces.dtype == np.float64
    np.testing.assert_allclose(forces, ethanol.get_forces(), atol=1e-4)


def test_hessian_goes_into_ase_vibrations(ethanol: ase.Atoms) -> None:
    calculator = potential().ase()
    assert isinstance(calculator, SO3kratesCalculator)
    hessian = calculator.get_hessian(ethanol)
    assert hessian.shape == (27, 27)
    ethanol.calc = calculator
    step = 1e-4
    moved = []
    for sign in (1, -1):
        ethanol.positions[2, 1] += sign * step
        moved.append(ethanol.get_forces().ravel())
        ethanol.positions[2, 1] -= sign * step
    np.testing.assert_allclose(hessian[7], -(moved[0] - moved[1]) / (2 * step), atol=1e-6)
    assert len(VibrationsData.from_2d(ethanol, hessian).get_energies()) == 27


def test_optimiser_goes_downhill(ethanol: ase.Atoms) -> None:
    ethanol.calc = potential().ase()
    before = ethanol.get_potential_energy()
    with BFGS(ethanol, logfile=None, maxstep=0.02) as optimiser:  # type: ignore[arg-type]
        optimiser.run(fmax=1e-3, steps=8)
    assert ethanol.get_potential_energy() < before


def test_dynamics_conserve_energy(ethanol: ase.Atoms) -> None:
    ethanol.calc = potential().ase()
    momenta = np.random.default_rng(0).normal(size=(9, 3)) * np.sqrt(ethanol.get_masses() * units.kB * 200)[:, None]
    ethanol.set_momenta(momenta - momenta.mean(axis=0))
    totals, kinetic = [], []
    with VelocityVerlet(ethanol, timestep=0.25 * units.fs) as dynamics:
        for _ in dynamics.irun(steps=200):
            kinetic.append(ethanol.get_kinetic_energy())
            totals.append(kinetic[-1] + ethanol.get_potential_energy())
    assert np.std(kinetic) > 1e-3
    assert np.ptp(totals) < 0.02 * np.ptp(kinetic)


def test_charges_and_dipole_of_models_that_predict_them(ethanol: ase.Atoms) -> None:
    ethanol.info["charge"] = 2.0
    ethanol.calc = long_range_potential().ase()
    assert {"charges", "dipole"} <= set(ethanol.calc.implemented_properties)
    assert ethanol.get_charges().sum() == pytest.approx(2.0, abs=1e-12)
    expected = ethanol.get_charges() @ (ethanol.positions - ethanol.get_center_of_mass())
    np.testing.assert_allclose(ethanol.get_dipole_moment(), expected, atol=1e-10)
    everything = ethanol.calc.prediction
    assert everything is not None and everything.hirshfeld_ratios is not None
    assert set(everything.components) == {"network", "zbl", "electrostatics", "dispersion"}
    assert len(everything.hirshfeld_ratios) == len(ethanol)
    # What ASE does with results: only names it knows are welcome there.
    frozen = SinglePointCalculator(ethanol, **ethanol.calc.results)
    assert frozen.get_charges().sum() == pytest.approx(2.0, abs=1e-12)
    with pytest.raises(PropertyNotImplementedError):
        ethanol.calc = potential().ase()
        ethanol.get_charges()


def test_a_molecule_in_a_huge_box_is_mentioned_once(ethanol: ase.Atoms) -> None:
    ethanol.set_cell([1000.0, 1000.0, 1000.0])
    ethanol.pbc = True
    ethanol.calc = long_range_potential(None).ase()
    with pytest.warns(UserWarning, match="taken as isolated"):
        energy = ethanol.get_potential_energy()
    ethanol.positions += 1.0
    assert ethanol.get_potential_energy() == pytest.approx(energy, abs=1e-6)


def test_every_kind_of_remark_is_made_once(ethanol: ase.Atoms) -> None:
    """A calculator that has said one thing still says another."""
    calculator = long_range_potential(None).ase()
    boxed = ethanol.copy()
    boxed.set_cell([1000.0, 1000.0, 1000.0])
    boxed.pbc = True
    torn = boxed.copy()
    boxed.center()
    torn.positions -= torn.positions[0]
    torn.wrap()
    radical = ethanol[:-1]
    for atoms, message in ((boxed, "taken as isolated"), (torn, "lies across the faces"), (radical, "multiplicity")):
        atoms.calc = calculator
        with pytest.warns(UserWarning, match=message) as caught:
            atoms.get_potential_energy()
        assert len(caught) == 1
        atoms.rattle(0.01)
        atoms.get_potential_energy()
