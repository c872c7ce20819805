"""The bond criterion and the drift on trajectories made for the purpose."""

import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates.analysis.stability import bond_stability, energy_drift
from so3krates.analysis.structure import Bonds
from so3krates.units import BOLTZMANN

REFERENCE = Bonds(np.array([[0, 1], [0, 2]]), np.array([1.0, 1.5]))
TIME = np.arange(100) * 10.0


def _trajectory(lengths: np.ndarray) -> np.ndarray:
    positions = np.zeros((len(lengths), 3, 3))
    positions[:, 1, 0] = lengths
    positions[:, 2, 1] = 1.5
    return positions


def test_a_run_near_its_reference_is_stable() -> None:
    found = bond_stability(TIME, _trajectory(1.0 + 0.3 * np.sin(TIME)), REFERENCE)
    assert found.stable
    assert found.stable_ps == pytest.approx(0.99)
    assert found.atoms == (0, 1)
    assert found.largest_deviation == pytest.approx(0.3 * np.abs(np.sin(TIME)).max())


@pytest.mark.parametrize("length", [1.51, 0.49, np.nan], ids=["long", "short", "not a number"])
def test_stable_time_ends_before_the_first_violation(length: float) -> None:
    lengths = np.ones(100)
    lengths[40] = length
    found = bond_stability(TIME, _trajectory(lengths), REFERENCE)
    assert not found.stable
    assert found.stable_ps == pytest.approx(0.39)


def test_just_below_the_tolerance_is_stable() -> None:
    assert bond_stability(TIME, _trajectory(np.full(100, 1.4999)), REFERENCE).stable


def test_broken_from_the_start() -> None:
    found = bond_stability(TIME, _trajectory(np.full(100, 3.0)), REFERENCE)
    assert (found.stable, found.stable_ps) == (False, 0.0)


def test_long_runs_are_examined_in_parts() -> None:
    time = np.arange(10_000) * 1.0
    lengths = np.ones(10_000)
    lengths[9_000] = 2.0
    found = bond_stability(time, _trajectory(lengths), REFERENCE)
    assert found.stable_ps == pytest.approx(8.999)
    assert found.largest_deviation == pytest.approx(1.0)


def test_an_atom_has_no_bond_to_break() -> None:
    found = bond_stability(TIME, np.zeros((100, 1, 3)), Bonds(np.zeros((0, 2), int), np.zeros(0)))
    assert found.stable and found.atoms is None


def test_times_and_frames_must_agree() -> None:
    with pytest.raises(InputError, match="100 frames and 3 times"):
        bond_stability(np.zeros(3), _trajectory(np.ones(100)), REFERENCE)


def test_drift_in_its_three_units() -> None:
    """A line of 2 meV/ps for 4 atoms at 300 K, with a kinetic energy whose spread is known."""
    time_fs = np.linspace(0.0, 50_000.0, 1001)
    thermal = 0.5 * 9 * BOLTZMANN * 300.0
    kinetic = thermal + 0.05 * np.tile([1.0, -1.0], 501)[:1001]
    found = energy_drift(time_fs, 7.0 + 2e-6 * time_fs, kinetic, atoms=4, degrees_of_freedom=9)
    assert found.meV_per_atom_per_ps == pytest.approx(0.5)
    assert found.kT_per_ns_per_dof == pytest.approx(2e-3 * 1e3 / (BOLTZMANN * 300.0) / 9, rel=1e-3)
    assert found.over_kinetic_spread == pytest.approx(0.1 / 0.05, rel=1e-3)
    assert found.fluctuation_meV_per_atom == pytest.approx(0.0, abs=1e-6)
