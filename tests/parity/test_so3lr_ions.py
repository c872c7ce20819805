"""SO3LR on ions and zwitterions: charges add up, nothing jumps where molecules come apart or move through a cell."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ase.build
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.molecules import acetate, glycylglycine, hydronium, hydroxide

from so3krates.graph import Sizes
from so3krates.io.model_file import load
from so3krates.physics.dispersion import pair_dispersion
from so3krates.physics.electrostatics import shifted_coulomb
from so3krates.physics.free_atoms import C6_COEFFICIENTS, POLARIZABILITIES
from so3krates.potential import Potential
from so3krates.prediction import Prediction
from so3krates.system import System
from so3krates.units import BOHR, COULOMB, HARTREE

MOLECULES = {"H3O+": hydronium, "OH-": hydroxide, "acetate": acetate, "glycylglycine": glycylglycine}
LEAVING = {"H3O+": [3], "OH-": [1], "acetate": [1], "glycylglycine": [10]}
"""Atoms that are pulled away: protons, and an oxygen of acetate."""
AT_ONCE = 25
SIZES = Sizes(AT_ONCE, 17 * AT_ONCE, 17 * 8 * AT_ONCE, 17 * 8 * AT_ONCE)
"""Of every evaluation here, so that one compilation serves all."""


class SO3LR:
    """Predictions in batches of one size."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential

    def __call__(self, *systems: System) -> list[Prediction]:
        starts = range(0, len(systems), AT_ONCE)
        return [p for n in starts for p in self.potential.predict(list(systems[n : n + AT_ONCE]), SIZES)]


@pytest.fixture(scope="module")
def so3lr(so3lr_file: Path) -> SO3LR:
    return SO3LR(load(so3lr_file, "float64"))


LARGE = ("acetate", "glycylglycine")


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in MOLECULES])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def pulled(name: str, distances: Sequence[float]) -> list[System]:
    """With some atoms moved away from the rest."""
    system, atoms = MOLECULES[name](), LEAVING[name]
    rest = np.setdiff1d(np.arange(len(system)), atoms)
    direction = system.positions[atoms].mean(axis=0) - system.positions[rest].mean(axis=0)
    shift = np.zeros_like(system.positions)
    shift[atoms] = direction / np.linalg.norm(direction)
    return [system.moved(system.positions + distance * shift) for distance in distances]


def test_charges_add_up(so3lr: SO3LR, name: str) -> None:
    for prediction in so3lr(*pulled(name, [0.0, 3.0, 20.0])):
        assert prediction.charges is not None
        assert prediction.charges.sum() == pytest.approx(MOLECULES[name]().charge, abs=1e-12)


def steps(so3lr: SO3LR, name: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along 6 Å of dissociation, from point to point: change of the energy less what the mean force does, change of the
    force, and whether a Hirshfeld ratio turns around near zero."""
    path = pulled(name, np.linspace(0.0, 6.0, count + 1).tolist())
    predictions = so3lr(*path)
    energies = np.array([p.energy for p in predictions])
    way = path[1].positions - path[0].positions
    work = np.array([np.sum(p.forces * way) for p in predictions])
    ratios = np.stack([np.asarray(p.hirshfeld_ratios) for p in predictions])
    turns = (ratios[1:-1] < ratios[:-2]) & (ratios[1:-1] < ratios[2:]) & (ratios[1:-1] < 0.1)
    near = np.flatnonzero(turns.any(axis=1))
    kink = np.zeros(count, bool)
    kink[[min(n + k, count - 1) for n in near for k in (0, 1)]] = True
    return np.diff(energies) + 0.5 * (work[1:] + work[:-1]), np.diff(work) * count / 6.0, kink


def test_dissociation_has_no_jumps(so3lr: SO3LR, name: str) -> None:
    """From the bond to beyond the reach of the network. Energies never jump. Nor do forces, but for what the model
    itself says: ratios are absolute values, and where one passes through zero, dispersion has a kink."""
    _, coarse, _ = steps(so3lr, name, 150)
    excess, fine, kink = steps(so3lr, name, 300)
    change = np.abs(fine)
    # The trapezoidal rule is wrong by less than what the force changes by, there or next to it.
    around = np.maximum(change, np.maximum(np.append(change[1:], 0.0), np.insert(change[:-1], 0, 0.0)))
    assert np.all(np.abs(excess) <= 0.5 * (6.0 / 300) * around + 1e-9)
    # Half the step, half the change; a jump would stay.
    smooth = ~kink.reshape(-1, 2).any(axis=1)
    assert np.all(change.reshape(-1, 2).max(axis=1)[smooth] < 0.75 * np.abs(coarse[smooth]) + 0.03)
    assert smooth.mean() > 0.95


def test_moving_through_the_faces_of_a_cell_changes_nothing(so3lr: SO3LR, name: str) -> None:
    system = MOLECULES[name]()
    boxed = replace(system, cell=40.0 * np.eye(3), pbc=(True, True, True))
    shifts = ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [20.0, 19.9, -60.0], [39.9, 40.1, 1e-9])
    first, *others = so3lr(*(boxed.moved(boxed.positions + shift) for shift in shifts))
    for found in others:
        assert found.energy == pytest.approx(first.energy, abs=1e-9)
        np.testing.assert_allclose(found.forces, first.forces, atol=1e-9)
        np.testing.assert_allclose(found.charges, first.charges, atol=1e-11)


def interaction(potential: Potential, both: System, found: Prediction, first: int) -> float:
    """Coulomb and dispersion between two fragments, with the charges and ratios found, eV."""
    cutoff = potential.far_cutoff(both)
    assert found.charges is not None and found.hirshfeld_ratios is not None and cutoff is not None
    i, j = (index.ravel() for index in np.meshgrid(np.arange(first), np.arange(first, len(both)), indexing="ij"))
    r = np.linalg.norm(both.positions[i] - both.positions[j], axis=1)
    alpha = np.array(POLARIZABILITIES)[both.numbers - 1] * found.hirshfeld_ratios
    c6 = np.array(C6_COEFFICIENTS)[both.numbers - 1] * found.hirshfeld_ratios**2
    coulomb = COULOMB * found.charges[i] * found.charges[j] * shifted_coulomb(jnp.asarray(r), cutoff, 4.0)
    pairs = (jnp.asarray(values) for values in (r / BOHR, alpha[i], alpha[j], c6[i], c6[j]))
    return float(coulomb.sum() + HARTREE * pair_dispersion(*pairs, 1.2).sum())


def apart(a: System, b: System, distance_A: float = 30.0) -> System:
    """Both, with at least this distance between them along x."""
    shift = np.array([a.positions[:, 0].max() - b.positions[:, 0].min() + distance_A, 0.0, 0.0])
    positions = np.concatenate([a.positions, b.positions + shift])
    return System(positions, np.concatenate([a.numbers, b.numbers]), charge=a.charge + b.charge)


@pytest.mark.parametrize("build", [hydronium, acetate, glycylglycine])
def test_two_equal_molecules_far_apart_are_the_sum(so3lr: SO3LR, build: Callable[[], System]) -> None:
    """Each gets the charges that it has alone; between them are Coulomb and dispersion, and nothing else."""
    one = build()
    both = apart(one, one)
    alone, found = so3lr(one, both)
    np.testing.assert_allclose(found.charges, np.tile(alone.charges, 2), atol=1e-10)
    expected = 2.0 * alone.energy + interaction(so3lr.potential, both, found, len(one))
    assert found.energy == pytest.approx(expected, abs=1e-8)


def test_different_molecules_far_apart(so3lr: SO3LR) -> None:
    """Neutral singlets: what charges lack or exceed is shared by all atoms of the structure, so they differ a little
    from those alone. All that does not depend on charges is the sum."""
    one, other = glycylglycine(), System(np.array([[0.0, 0.0, 0.0], [0.74, 0.0, 0.0]]), np.array([1, 1]))
    parts = so3lr(one, other)
    both = apart(one, other)
    found = so3lr(both)[0]
    for component in ("network", "zbl"):
        assert found.components[component] == pytest.approx(sum(p.components[component] for p in parts), abs=1e-9)
    np.testing.assert_allclose(found.hirshfeld_ratios, np.concatenate([p.hirshfeld_ratios for p in parts]), atol=1e-12)
    shift = found.charges - np.concatenate([p.charges for p in parts])
    # The same on all atoms of a molecule, and none in total.
    assert np.ptp(shift[: len(one)]) < 1e-10 and np.ptp(shift[len(one) :]) < 1e-10
    assert abs(shift.sum()) < 1e-10 and 1e-4 < np.abs(shift).max() < 0.1


def test_an_ion_does_not_keep_its_charge_to_itself(so3lr: SO3LR) -> None:
    """The embedding of the total charge knows no molecules: documented, and large."""
    one, water = acetate(), System.from_ase(ase.build.molecule("H2O"))
    found, *parts = so3lr(apart(one, water, 40.0), one, water)
    excess = found.components["network"] - sum(p.components["network"] for p in parts)
    assert 0.1 < abs(excess) < 1.0
    assert 0.01 < np.abs(found.forces[: len(one)] - parts[0].forces).max() < 0.2


def test_where_forces_have_a_kink(so3lr: SO3LR) -> None:
    """The distances and sizes that the documentation states."""
    for name, atom, expected in (("OH-", 0, 1.4), ("glycylglycine", 0, 1.5)):
        path = pulled(name, np.linspace(0.0, 1.2, 241).tolist())
        predictions = so3lr(*path)
        ratios = np.stack([np.asarray(p.hirshfeld_ratios)[atom] for p in predictions])
        turn = int(np.argmin(ratios))
        proton = LEAVING[name][0]
        distance = np.linalg.norm(path[turn].positions[proton] - path[turn].positions[atom])
        assert ratios[turn] < 0.02 and distance == pytest.approx(expected, abs=0.05)
        jump = np.abs(predictions[turn + 2].forces - predictions[turn - 2].forces).max()
        assert 0.05 < jump < 0.4
