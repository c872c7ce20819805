"""The arithmetic of drift and averages, against numbers known in closed form."""

import numpy as np
import pytest

from so3krates.md.monitoring.findings import Disagreement
from so3krates.md.records.averages import block_average
from so3krates.md.records.summary import energy_drift, summarize
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
        "potential_energy": np.array([0.0, -2.0]),
        "kinetic_energy": np.array([1.0, 1.5 * BOLTZMANN * 300]),
        "conserved": np.zeros(2),
    }
    summary = summarize(
        series, steps=13, frames=2, atoms=1, degrees_of_freedom=3, steps_per_second=1000.0, timestep_fs=0.5, retries=2
    )
    assert summary.steps == 13 and summary.time_ps == pytest.approx(6.5e-3) and summary.frames == 2
    assert summary.temperature_K.mean == 300.0
    assert summary.drift is None and summary.neighbor_retries == 2
    assert summary.ns_per_day == pytest.approx(1000 * 0.5e-6 * 86400)
    assert summary.potential_energy_eV.mean == -2.0 and summary.temperature_K.standard_error is None
    assert summary.temperature_K.spread is None  # of one number
    assert summary.pressure_GPa is None and summary.volume_A3 is None and summary.density_g_cm3 is None
    assert summary.disagreement is None


def test_pressure_volume_and_density() -> None:
    rows = 5
    edges = np.array([1.0, 10.0, 10.1, 10.2, 10.3])
    series = {name: np.ones(rows) for name in ("time_fs", "temperature", "potential_energy", "conserved")}
    series |= {"step": np.arange(rows), "time_fs": np.arange(rows) * 1.0, "kinetic_energy": np.ones(rows)}
    series |= {"pressure": np.array([99.0, 1.0, 2.0, 3.0, 4.0]), "volume": edges**3}
    summary = summarize(
        series,
        steps=4,
        frames=3,
        atoms=3,
        degrees_of_freedom=6,
        steps_per_second=1.0,
        timestep_fs=1.0,
        retries=0,
        mass=18.015,
    )
    # Scalars may be saved more often than frames.
    assert summary.frames == 3
    assert summary.pressure_GPa is not None and summary.volume_A3 is not None and summary.density_g_cm3 is not None
    assert summary.pressure_GPa.mean == 2.5 and summary.pressure_GPa.spread == pytest.approx(np.sqrt(1.25))
    assert summary.volume_A3.mean == pytest.approx(np.mean(edges[1:] ** 3))
    # One molecule of water in 29.9 Å³ is 1 g/cm³.
    assert summary.density_g_cm3.mean == pytest.approx(np.mean(29.9146 / edges[1:] ** 3), rel=1e-4)


def test_nothing_is_converged_out_of_equilibrium(rng: np.random.Generator) -> None:
    """Such as in a run that the monitor ended, however well its frames seem to scatter about a mean."""
    rows = 1000
    series = {"step": np.arange(rows), "time_fs": np.arange(rows) * 1.0}
    series |= {
        name: rng.standard_normal(rows) for name in ("temperature", "potential_energy", "kinetic_energy", "conserved")
    }
    committee = Disagreement(np.array([0, 10, 20]), np.array([0.1, 0.6, 0.2]), np.array([4, 7, 1]))
    settled, stopped = (
        summarize(
            series,
            steps=999,
            frames=rows,
            atoms=3,
            degrees_of_freedom=6,
            steps_per_second=1.0,
            timestep_fs=0.5,
            retries=0,
            in_equilibrium=in_equilibrium,
            disagreement=committee,
        )
        for in_equilibrium in (True, False)
    )
    for name in ("temperature_K", "potential_energy_eV", "kinetic_energy_eV"):
        assert getattr(settled, name).converged is True and getattr(stopped, name).converged is False
        assert getattr(settled, name).standard_error == getattr(stopped, name).standard_error
    dispute = settled.disagreement
    assert dispute is not None and (dispute.step, dispute.atom) == (10, 7)
    assert dispute.largest_eV_per_A == 0.6 and dispute.mean_eV_per_A == pytest.approx(0.3)
    assert dispute.time_ps == pytest.approx(0.005)


def test_the_error_of_independent_values(rng: np.random.Generator) -> None:
    average = block_average(3.0 + 2.0 * rng.standard_normal(2**14))
    assert average.standard_error == pytest.approx(2.0 / 2**7, rel=0.1)
    assert average.converged and average.spread == pytest.approx(2.0, rel=0.05)
    assert abs(average.mean - 3.0) < 4 * 2.0 / 2**7


@pytest.mark.parametrize(("memory", "frames"), [(0.9, 2**14), (0.99, 2**16)])
def test_the_error_of_a_series_that_remembers(rng: np.random.Generator, memory: float, frames: int) -> None:
    """x' = φx + noise has σ = 1/√(1 − φ²) and a mean uncertain by σ√((1 + φ)/(1 − φ)/N); over many series."""
    from scipy.signal import lfilter

    many = 200
    series = lfilter([1.0], [1.0, -memory], rng.standard_normal((many, frames + 2000)))[:, 2000:]
    expected = np.sqrt((1 + memory) / (1 - memory) / frames / (1 - memory**2))
    averages = [block_average(each) for each in series]
    errors = np.array([average.standard_error for average in averages])
    # A single estimate scatters by 1/√(2n) for n blocks; the scatter of the means is known to 1/√400.
    assert np.mean(errors) == pytest.approx(expected, rel=0.1)
    assert np.std([average.mean for average in averages]) == pytest.approx(expected, rel=0.15)
    assert np.mean([average.converged for average in averages]) > 0.9


def test_a_series_shorter_than_its_memory_is_not_taken_for_converged() -> None:
    average = block_average(np.linspace(0.0, 1.0, 400))
    assert average.converged is False
    assert block_average(np.arange(15.0)).standard_error is None
    constant = block_average(np.full(64, 7.0))
    assert constant.standard_error == 0.0 and constant.mean == 7.0
