"""Specifications of calculators: what can be named, and what a wrong one says."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from so3krates._errors import ConfigError, InputError
from so3krates.reference import CalculatorSpec
from so3krates.reference.label import evaluate_frame

FAKES = Path(__file__).with_name("fakes.py")


def test_any_calculator_of_ase_by_import_path() -> None:
    spec = CalculatorSpec.from_text("ase.calculators.emt:EMT", '{"asap_cutoff": true}')
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    expected = EMT(asap_cutoff=True).get_property("energy", atoms)
    assert spec.build().get_property("energy", atoms) == expected
    assert spec.build().get_property("energy", atoms) != EMT().get_property("energy", atoms)


def test_a_file_is_as_good_as_a_module() -> None:
    calculator = CalculatorSpec(target=f"{FAKES}:Springs", arguments={"stiffness": 2.0}).build()
    atoms = molecule("H2O")
    np.testing.assert_array_equal(calculator.get_property("forces", atoms), -2.0 * atoms.positions)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", "neither of pyscf, tblite nor an import path"),
        ("no.such.module:Thing", "cannot import no.such.module"),
        ("ase.calculators.emt:Missing", "has no class 'Missing'"),
        ("folder/missing.py:Thing", "no such file"),
        ("pathlib:Path", "which is no ASE calculator"),
    ],
)
def test_what_cannot_be_built_says_why(target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CalculatorSpec(target=target).build()


def test_arguments_are_a_json_object_the_class_accepts() -> None:
    with pytest.raises(ConfigError, match="are not JSON"):
        CalculatorSpec.from_text("pyscf", "xc=PBE")
    with pytest.raises(ConfigError, match="must be a JSON object"):
        CalculatorSpec.from_text("pyscf", "[1]")
    with pytest.raises(InputError, match="refused its arguments.*stifness"):
        CalculatorSpec(target=f"{FAKES}:Springs", arguments={"stifness": 1}).build()


@pytest.mark.parametrize(("target", "module"), [("pyscf", "pyscf"), ("tblite", "tblite.ase")])
def test_a_reference_that_is_not_installed_says_what_to_install(
    target: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "so3krates.reference.xtb", raising=False)
    with pytest.raises(InputError, match=r'install it with `pip install "so3krates\[reference\]"`\.$') as refused:
        CalculatorSpec(target=target).build()
    assert "refused its arguments" not in str(refused.value)


def test_the_level_of_theory_names_target_and_arguments() -> None:
    spec = CalculatorSpec(target="ase.calculators.emt:EMT", arguments={"asap_cutoff": True})
    assert spec.level_of_theory() == 'ase.calculators.emt:EMT {"asap_cutoff": true}'


def test_tblite_is_a_ready_choice() -> None:
    pytest.importorskip("tblite", reason="tblite is not installed; it comes with so3krates[reference]")
    spec = CalculatorSpec(target="tblite")
    assert spec.level_of_theory() == "GFN2-xTB"
    atoms = molecule("H2O")
    # The energy that the documentation of tblite prints for this molecule.
    assert spec.build().get_property("energy", atoms) == pytest.approx(-137.96777594361677, abs=1e-5)
    with pytest.raises(InputError, match="has no arguments.*accurracy"):
        CalculatorSpec(target="tblite", arguments={"accurracy": 0.1}).build()


def test_tblite_hears_of_charge_and_spin() -> None:
    pytest.importorskip("tblite", reason="tblite is not installed; it comes with so3krates[reference]")
    ion = molecule("H2O")
    ion.info |= {"total_charge": 1, "total_spin": 2}
    told = CalculatorSpec(target="tblite", arguments={"charge": 1, "multiplicity": 2}).build()
    expected = told.get_property("energy", molecule("H2O"))
    calculator = CalculatorSpec(target="tblite").build()
    assert evaluate_frame(calculator, ion).energy == pytest.approx(expected, abs=1e-8)
    # The same positions, another charge: nothing may be left of the structure before.
    assert evaluate_frame(calculator, molecule("H2O")).energy == pytest.approx(-137.96777594361677, abs=1e-5)
    assert expected > -130.0
