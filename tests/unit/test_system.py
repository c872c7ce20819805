"""System: what it accepts, what it refuses, and the way to ASE and back."""

import ase
import ase.build
import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates.system import System, heights

CELL = np.diag([3.0, 4.0, 5.0])
ALL = (True, True, True)


def water(**changes: object) -> System:
    values = {"positions": [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]], "numbers": [8, 1, 1]}
    return System(**{name: np.array(v) for name, v in values.items()} | changes)  # type: ignore[arg-type]


def test_holds_float64_copies() -> None:
    positions = np.zeros((2, 3), np.float32)
    system = System(positions, np.array([1, 1], np.int8))
    positions[:] = 7.0
    assert system.positions.dtype == np.float64
    assert (system.positions == 0.0).all()
    assert system.numbers.dtype == np.int64
    assert len(system) == 2


def test_tells_formula_symbols_and_masses() -> None:
    system = water()
    assert system.formula == "H2O"
    assert system.symbols == ["O", "H", "H"]
    np.testing.assert_allclose(system.masses, [15.999, 1.008, 1.008])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"numbers": np.array([8, 1])}, "shape"),
        ({"numbers": np.array([[8], [1], [1]])}, "shape"),
        ({"positions": np.zeros((3, 2))}, "shape"),
        ({"positions": np.full((3, 3), np.nan)}, "atom 0 is not finite"),
        ({"positions": np.array([[0.0] * 3, [0.0] * 3, [0.0, np.inf, 0.0]])}, "atom 2 is not finite"),
        ({"numbers": np.array([8, 0, 1])}, "atom 1 has atomic number 0"),
        ({"numbers": np.array([8, 1, 119])}, "atom 2 has atomic number 119"),
        ({"pbc": ALL}, "no cell"),
        ({"pbc": ALL, "cell": np.zeros((3, 3))}, "zero"),
        ({"pbc": ALL, "cell": np.ones((3, 3))}, "zero volume"),
        ({"pbc": ALL, "cell": np.full((3, 3), np.nan)}, "not finite"),
        ({"charge": float("nan")}, "charge"),
        ({"unpaired": -1.0}, "unpaired"),
    ],
)
def test_refuses(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        water(**changes)


def test_a_cell_without_periodic_axes_is_dropped() -> None:
    assert water(cell=CELL).cell is None
    assert not water(cell=CELL).periodic


def test_moved_keeps_everything_else() -> None:
    system = water(cell=CELL, pbc=(True, False, True), charge=1.0, unpaired=1.0)
    moved = system.moved(system.positions + 1.0)
    np.testing.assert_array_equal(moved.positions, system.positions + 1.0)
    assert (moved.pbc, moved.charge, moved.unpaired) == (system.pbc, 1.0, 1.0)
    np.testing.assert_array_equal(moved.cell, CELL)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_heights_are_volume_over_area(sign: float) -> None:
    cell = sign * np.array([[3.0, 0.1, 0.2], [1.0, 4.0, -0.5], [0.3, 2.0, 5.0]])
    areas = [np.linalg.norm(np.cross(cell[(k + 1) % 3], cell[(k + 2) % 3])) for k in range(3)]
    np.testing.assert_allclose(heights(cell), abs(np.linalg.det(cell)) / np.array(areas))


@pytest.mark.parametrize("pbc", [(False, False, False), (True, False, False), (True, True, True)])
def test_to_ase_and_back(pbc: tuple[bool, bool, bool]) -> None:
    system = water(cell=CELL, pbc=pbc, charge=-1.0, unpaired=2.0)
    back = System.from_ase(system.to_ase())
    np.testing.assert_array_equal(back.positions, system.positions)
    np.testing.assert_array_equal(back.numbers, system.numbers)
    assert (back.pbc, back.charge, back.unpaired) == (pbc, -1.0, 2.0)
    if any(pbc):
        np.testing.assert_array_equal(back.cell, system.cell)
    else:
        assert back.cell is None


def test_isotopes_come_along() -> None:
    heavy = water().to_ase()
    heavy.set_masses([None, 2.014, 2.014])
    system = System.from_ase(heavy)
    np.testing.assert_array_equal(system.masses[1:], 2.014)
    np.testing.assert_array_equal(system.to_ase().get_masses(), heavy.get_masses())
    assert System.from_ase(water().to_ase()).isotope_masses is None
    with pytest.raises(InputError, match="masses .* must be 3 positive numbers"):
        water(isotope_masses=np.array([16.0, -1.0, 1.0]))


def test_slab_with_an_empty_third_vector_is_completed() -> None:
    atoms = ase.build.fcc111("Al", (1, 1, 2), a=4.05)
    assert atoms.pbc.tolist() == [True, True, False]
    assert not atoms.cell[2].any()
    system = System.from_ase(atoms)
    assert system.cell is not None
    np.testing.assert_array_equal(system.cell[:2], atoms.cell[:2])
    assert abs(np.linalg.det(system.cell)) > 1.0


def test_periodic_axis_with_an_empty_vector_is_refused() -> None:
    with pytest.raises(InputError, match="zero volume"):
        System.from_ase(ase.Atoms("H", cell=[3.0, 3.0, 0.0], pbc=True))


@pytest.mark.parametrize("key", ["total_charge", "charge"])
def test_reads_the_charge(key: str) -> None:
    atoms = ase.Atoms("H", info={key: -1})
    assert System.from_ase(atoms).charge == -1.0


@pytest.mark.parametrize("key", ["total_spin", "spin_multiplicity", "multiplicity"])
def test_multiplicity_becomes_unpaired_electrons(key: str) -> None:
    assert System.from_ase(ase.Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], info={key: 3})).unpaired == 2.0


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"total_charge": 1, "charge": 2}, "different values"),
        ({"charge": "plus one"}, "expected a number"),
        ({"total_spin": 0}, "multiplicity"),
        ({"multiplicity": 1.5}, "multiplicity"),
    ],
)
def test_refuses_info_it_cannot_understand(info: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        System.from_ase(ase.Atoms("H", info=info))


def test_a_charge_without_the_multiplicity_it_needs_is_refused() -> None:
    water = ase.Atoms("H2O", positions=np.eye(3))
    water.info["charge"] = 1.0
    with pytest.raises(InputError, match=r"leaves H2O with 9 electrons, and no multiplicity is given"):
        System.from_ase(water)
    water.info["total_spin"] = 2
    assert System.from_ase(water).unpaired == 1.0
    water.info = {"charge": -2.0}
    assert System.from_ase(water).charge == -2.0
    # Files that say of every frame that it is neutral say nothing of radicals.
    assert System.from_ase(ase.Atoms("H", info={"charge": 0})).charge == 0.0


def test_a_multiplicity_without_the_charge_it_needs_is_refused() -> None:
    water = ase.Atoms("H2O", positions=np.eye(3), info={"total_spin": 2})
    with pytest.raises(InputError, match=r"10 electrons of neutral H2O cannot have, and no charge is given"):
        System.from_ase(water)
    water.info["charge"] = -1
    assert System.from_ase(water).unpaired == 1.0


def test_a_charge_that_leaves_no_electrons_is_refused_for_that() -> None:
    """Not for a multiplicity that is missing too."""
    atoms = ase.build.molecule("H2")
    atoms.info["charge"] = 3
    with pytest.raises(InputError, match="H2 has a total charge of 3 e, which leaves -1 electrons"):
        System.from_ase(atoms)
    with pytest.raises(InputError, match="which leaves -1 electrons"):
        System(atoms.positions, atoms.numbers, charge=3.0, unpaired=1.0)
    assert System(np.zeros((1, 3)), np.array([1]), charge=1.0).charge == 1.0
