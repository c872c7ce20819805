"""Trajectories by jax-md, recorded by `benchmarks/validation/jax_md_reference.py`, are ours too."""

import json
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so3krates import md
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import BOLTZMANN, FEMTOSECOND

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    path = ROOT / "benchmarks" / "results" / "validation" / "jax_md_trajectories.json"
    return json.loads(path.read_text(encoding="utf-8"))


def ours(recorded: dict[str, Any], integrator: md.Integrator) -> tuple[np.ndarray, np.ndarray]:
    """Positions in Å and velocities in Å/(Å·√(u/eV)) from the same start, in float64."""
    start = recorded["NVE"]
    positions = np.array(start["positions"][0])
    atoms = len(positions)
    box = recorded["box"] * np.eye(3)
    masses = np.full(atoms, recorded["mass"])
    system = System(positions, np.full(atoms, 18), box, (True, True, True), isotope_masses=masses)
    potential = Potential(LennardJones(recorded["epsilon"], recorded["sigma"], recorded["cutoff"], dtype="float64"))
    timestep = recorded["timestep"] / FEMTOSECOND
    every = recorded["steps_between_frames"]
    _, run = md.simulate(
        potential,
        md.Snapshot(system, np.array(start["velocities"][0]) * FEMTOSECOND),
        integrator,
        timestep_fs=timestep,
        steps=every * (len(start["positions"]) - 1),
        save_every_fs=every * timestep,
    )
    return run.frames.positions, run.frames.velocities / FEMTOSECOND


def test_velocity_verlet(recorded: dict[str, Any]) -> None:
    positions, velocities = ours(recorded, md.NVE())
    assert np.abs(positions[-1] - positions[0]).max() > 0.5
    np.testing.assert_allclose(positions, recorded["NVE"]["positions"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(velocities, recorded["NVE"]["velocities"], rtol=0, atol=1e-11)


def test_nose_hoover_chain(recorded: dict[str, Any]) -> None:
    """jax-md rounds the lengths of the chain's moves to single precision, so it is not the same to the last digit."""
    chain = md.NoseHoover(
        temperature_K=recorded["thermal_energy"] / BOLTZMANN,
        period_fs=2.0 * pi * recorded["tau"] / FEMTOSECOND,
        chain=recorded["links"],
    )
    positions, velocities = ours(recorded, chain)
    plain = np.array(recorded["NVE"]["positions"])
    assert np.abs(positions[-1] - plain[-1]).max() > 1e-2, "the thermostat does nothing"
    np.testing.assert_allclose(positions, recorded["NoseHoover"]["positions"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(velocities, recorded["NoseHoover"]["velocities"], rtol=0, atol=1e-7)
