"""What tables change, measured on molecules made up for it."""

from dataclasses import replace

import numpy as np
import pytest
from ase.data import covalent_radii
from oracles.models import CONFIGS, random_model

from so3krates import InputError
from so3krates.analysis.tables import ATOMS, CLOSEST, check_tables, random_molecules
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.term import Sum

ELEMENTS = ElementTable(numbers=(1, 6, 8), energies=(0.0, 0.0, 0.0))


def test_molecules_hold_together_and_nothing_is_too_near() -> None:
    molecules = random_molecules(np.array([1, 6, 8, 17]), seed=3)
    assert {len(system) for system in molecules} == {ATOMS}
    for system in molecules:
        radii = covalent_radii[system.numbers]
        distances = np.linalg.norm(system.positions[:, None] - system.positions, axis=-1)
        ratio = distances / (radii[:, None] + radii) + 10.0 * np.eye(len(system))
        assert ratio.min() >= CLOSEST and (ratio.min(axis=1) <= 1.15).all()
        assert (system.numbers.sum() + system.unpaired) % 2 == 0


def test_a_finer_tolerance_changes_less() -> None:
    potential = Potential(random_model(CONFIGS["article"]), ELEMENTS)
    coarse, fine = (check_tables(potential, tolerance=tolerance) for tolerance in (1e-2, 1e-4))
    assert 10.0 * fine.largest_change < coarse.largest_change < 1e-2
    assert fine.largest_change < 1e-4 and max(coarse.intervals) < min(fine.intervals)


def test_the_network_of_a_sum_is_what_counts() -> None:
    network = random_model(CONFIGS["article"])
    alone = check_tables(Potential(network, ELEMENTS))
    summed = check_tables(Potential(Sum((network, LennardJones(0.01, 1.0, 3.0, dtype="float64"))), ELEMENTS))
    assert summed == alone


def test_what_cannot_be_checked_is_refused() -> None:
    potential = Potential(random_model(CONFIGS["article"]), ELEMENTS)
    with pytest.raises(InputError, match="no network"):
        check_tables(Potential(LennardJones(0.01, 1.0, 3.0, dtype="float64"), ELEMENTS))
    with pytest.raises(InputError, match="float64"):
        check_tables(potential.astype("float32"))
    with pytest.raises(InputError, match="names no elements"):
        check_tables(replace(potential, elements=None))
