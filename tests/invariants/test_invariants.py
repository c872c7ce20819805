"""The physical invariants on every potential of the package."""

from pathlib import Path

import ase.build
import ase.io
import equinox as eqx
import numpy as np
import pytest
from oracles.long_range import long_range_potential
from oracles.models import CONFIGS, random_model

from so3krates import testing
from so3krates.graph import make_graph
from so3krates.neighbors.host import find_pair_lists
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System
from so3krates.term import Sum

RARE = ("high degrees", "neighbors", "invariant")
"""Looked at by the slow tests alone."""
ELEMENTS = ElementTable(numbers=(1, 6, 8, 11, 14, 17), energies=(-13.6, -1030.0, -2042.0, -4412.0, -7880.0, -12520.0))


def molecule(charge: float = 0.0, unpaired: float = 0.0) -> System:
    atoms = ase.build.molecule("CH3OH")
    atoms.info = {"charge": charge, "multiplicity": unpaired + 1.0}
    return testing.displaced(System.from_ase(atoms), seed=5, by_A=0.03)


def silicon() -> System:
    """Diamond in its primitive cell, compressed until the second shell is seen: triclinic, shorter than the cutoff."""
    return testing.displaced(System.from_ase(ase.build.bulk("Si", a=4.85)), seed=6, by_A=0.05)


def salt() -> System:
    """Left-handed, periodic along two axes alone."""
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.0)
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    atoms.pbc = [True, False, True]
    return testing.displaced(System.from_ase(atoms), seed=7, by_A=0.05)


def lennard_jones(dtype: str) -> LennardJones:
    return LennardJones(0.02, 1.3, 3.5, dtype=dtype)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in RARE)) for name in CONFIGS])
def test_network_in_float64(name: str) -> None:
    config = CONFIGS[name]
    charged = [molecule(-1.0, 1.0)] if config.charge_embedding else []
    potential = Potential(random_model(config), ELEMENTS)
    testing.assert_potential_is_physical(potential, [molecule(), *charged, silicon()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["article", "so3lr"])
def test_network_in_float32(name: str) -> None:
    potential = Potential(random_model(CONFIGS[name], dtype="float32"), ELEMENTS)
    testing.assert_potential_is_physical(potential, [molecule(), silicon()])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lennard_jones(dtype: str) -> None:
    testing.assert_potential_is_physical(Potential(lennard_jones(dtype)), [molecule(), silicon(), salt()])


def test_sum_of_network_and_lennard_jones() -> None:
    """Terms of different cutoffs."""
    term = Sum((random_model(CONFIGS["article"]), LennardJones(0.02, 1.3, 4.5, dtype="float64")))
    testing.assert_potential_is_physical(Potential(term, ELEMENTS), [molecule(), salt()])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_network_with_analytic_terms(dtype: str) -> None:
    """Two lists; an ion, and a crystal whose long-range list holds many images."""
    testing.assert_potential_is_physical(long_range_potential(dtype=dtype), [molecule(-1.0, 1.0), silicon()])


def test_invariant_control_sees_no_angles_and_the_equivariant_network_does() -> None:
    """What D = {0} means: one layer of it cannot tell two molecules with the same distances of each atom apart."""
    single = {name: CONFIGS[name].model_copy(update={"layers": 1}) for name in ("invariant", "neighbors")}
    # A central atom with three neighbours at 1 Å, the neighbours out of each other's reach or not: only angles differ.
    straight = np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [-2.5, 0.0, 0.0]])
    bent = np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [-2.5 * np.cos(0.6), 2.5 * np.sin(0.6), 0.0]])
    assert np.linalg.norm(bent[1] - bent[2]) > 3.5
    for name, differs in (("invariant", False), ("neighbors", True)):
        potential = Potential(random_model(single[name]))
        energies = [potential.energy(System(positions, np.array([8, 1, 1]))) for positions in (straight, bent)]
        assert (abs(energies[0] - energies[1]) > 1e-8 * abs(energies[0])) == differs


def test_molecule_500_angstrom_away_in_float32(shared_dir: Path) -> None:
    """DHA as it is stored lies 500 Å from the origin, in a box of 1000 Å."""
    atoms = ase.io.read(shared_dir / "structures" / "dha.xyz")
    far = System(atoms.positions, atoms.numbers)
    assert np.linalg.norm(far.positions.mean(axis=0)) > 400.0
    single = Potential(random_model(CONFIGS["article"], dtype="float32"))
    near = far.moved(far.positions - far.positions.mean(axis=0))
    boxed = System.from_ase(atoms)
    sizes = testing.room(single, [near])
    reference, *others = (single.predict([system], sizes)[0] for system in (near, far, boxed))
    for other in others:
        assert other.energy == pytest.approx(reference.energy, rel=1e-4)
        np.testing.assert_allclose(other.forces, reference.forces, atol=1e-4 * np.abs(reference.forces).max())
    testing.assert_translation_invariant(single, near, sizes=sizes)
    testing.assert_equivariant(single, far, sizes=sizes)


def test_water_box_in_float32(shared_dir: Path) -> None:
    water = System.from_ase(ase.io.read(shared_dir / "structures" / "water_64.xyz"))
    assert water.periodic
    single = Potential(lennard_jones("float32"))
    testing.assert_potential_is_physical(single, [water])


def test_masked_pairs_beyond_the_cutoff_change_nothing() -> None:
    """A list made for a larger cutoff holds pairs this network must ignore, exactly."""
    for name in ("article", "so3lr"):
        model = random_model(CONFIGS[name])
        system = silicon()
        graphs = [
            make_graph([system], [find_pair_lists(system, c)], "float64") for c in (model.cutoff, 1.4 * model.cutoff)
        ]
        assert graphs[1].pair_mask.sum() > graphs[0].pair_mask.sum()
        energies = [np.asarray(eqx.filter_jit(model)(graph))[:2] for graph in graphs]
        np.testing.assert_allclose(energies[0], energies[1], rtol=1e-13)
