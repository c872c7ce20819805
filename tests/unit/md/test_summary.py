"""The arithmetic of drift, against numbers made by hand."""

import numpy as np
import pytest

from so3krates.md.summary import energy_drift, summarize
from so3krates.units import BOLTZMANN


def test_a_known_slope_in_all_units() -> None:
    time = np.linspace(0.0, 2000.0, 201)  # 2 ps
    kinetic = 0.4 + 0.1 * np.where(np.arange(201) % 2, 1.0, -1.0)
    drift = energy_drift(time, -500.0 + 3e-6 * time, kinetic, atoms=5, degrees_of_freedom=12)
    assert drift.meV_per_atom_per_ps == pytest.approx(3.0 / 5)
    thermal = 2 * kinetic.mean() / 12
    assert drift.kT_per_ns_per_dof == pytest.approx(3e-3 * 1000 / thermal / 12)
    assert drift.over_kinetic_spread == pytest.approx(3e-3 * 2.0 / np.std(kinetic))
    assert drift.fluctuation_meV_per_atom == pytest.approx(0.0, abs=1e-6)


def test_speed_and_temperature_without_the_start() -> None:
    series = {
        "step": np.array([0, 10]),
        "time_fs": np.array([0.0, 5.0]),
        "temperature": np.array([900.0, 300.0]),
        "kinetic_energy": np.array([1.0, 1.5 * BOLTZMANN * 300]),
        "conserved": np.zeros(2),
    }
    summary = summarize(
        series, steps=13, atoms=1, degrees_of_freedom=3, steps_per_second=1000.0, timestep_fs=0.5, retries=2
    )
    assert summary.steps == 13 and summary.time_ps == pytest.approx(6.5e-3) and summary.frames == 2
    assert summary.mean_temperature_K == 300.0
    assert summary.drift is None and summary.neighbor_retries == 2
    assert summary.ns_per_day == pytest.approx(1000 * 0.5e-6 * 86400)
