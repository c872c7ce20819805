"""Nosé–Hoover chains: conserved quantity, order, canonical temperature."""

import numpy as np
import pytest

from so3krates import md
from so3krates.system import System


def test_the_conserved_quantity_is_conserved_to_second_order(cluster: System, argon) -> None:
    start = md.Snapshot(cluster, md.maxwell_boltzmann(cluster, 40.0, seed=1))
    spread = []
    for timestep in (8.0, 4.0, 2.0):
        _, run = md.simulate(
            argon("float64"),
            start,
            md.NoseHoover(temperature_K=30.0, period_fs=400.0),
            timestep_fs=timestep,
            steps=round(4000 / timestep),
            save_every_fs=8.0,
        )
        spread.append(np.std(run.frames.conserved))
        assert np.std(run.frames.potential_energy + run.frames.kinetic_energy) > 20 * spread[-1]
    ratios = np.array(spread[:-1]) / spread[1:]
    assert np.all(np.abs(ratios - 4.0) < 0.6), ratios


@pytest.mark.slow
def test_mean_and_spread_of_the_kinetic_energy(cluster: System, argon) -> None:
    """Canonical: ⟨K⟩ = N_f k_BT/2 and var K/⟨K⟩² = 2/N_f."""
    _, run = md.simulate(
        argon("float32"),
        cluster,
        md.NoseHoover(temperature_K=20.0, period_fs=500.0),
        timestep_fs=4.0,
        steps=500_000,
        save_every_fs=100.0,
        monitor=md.Monitor(max_bond_deviation=None),
    )
    temperature = run.frames.temperature[1000:]
    blocks = temperature[: len(temperature) // 20 * 20].reshape(20, -1).mean(axis=1)
    assert abs(temperature.mean() - 20.0) < 3 * blocks.std(ddof=1) / np.sqrt(20) + 0.02
    assert np.var(temperature) / 20.0**2 == pytest.approx(2 / 36, rel=0.1)
