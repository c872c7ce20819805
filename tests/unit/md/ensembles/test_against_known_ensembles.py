"""The harness that validates ensembles, on samples of known distribution: it passes them, and finds wrong ones."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import BOLTZMANN, GPA

pytest.importorskip("physical_validation", reason="needs physical_validation")
ROOT = Path(__file__).resolve().parents[4]
ATOMS = 32


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from validation import cases, checks, ensembles, sampling, terms

    yield SimpleNamespace(cases=cases, checks=checks, ensembles=ensembles, sampling=sampling, terms=terms)
    for name in [name for name in sys.modules if name.partition(".")[0] == "validation"]:
        sys.modules.pop(name)


@pytest.fixture
def gas() -> System:
    return System(np.zeros((ATOMS, 3)) + np.arange(ATOMS)[:, None], np.full(ATOMS, 18), 40 * np.eye(3), (True,) * 3)


def drawn(harness: SimpleNamespace, system: System, point: Any, rng: np.random.Generator, count: int = 2000) -> Any:
    """An ideal gas in N, p, T with the centre of mass at rest: V is Gamma(N + 1), velocities are normal."""
    atoms, thermal = len(system), BOLTZMANN * point.temperature_K
    masses = system.masses[:, None]
    velocities = rng.standard_normal((count, atoms, 3)) * np.sqrt(thermal / masses)
    velocities -= (masses * velocities).sum(axis=1, keepdims=True) / masses.sum()
    pressure = 1.0 if point.pressure_GPa is None else point.pressure_GPa
    return harness.sampling.Samples(
        kinetic=0.5 * np.sum(masses * velocities**2, axis=(1, 2)),
        potential=np.zeros(count),
        volume=rng.gamma(atoms + 1, thermal / (pressure * GPA), count),
        positions=np.zeros((count, atoms, 3)),
        velocities=velocities,
    )


def test_units_are_converted_rightly(harness: SimpleNamespace) -> None:
    """One GPa·Å³ is as many eV there as here; the constants there are of CODATA 2010."""
    assert harness.checks.pressure_times_volume() == pytest.approx(1.0, abs=1e-6)


def test_canonical_velocities_pass_and_a_wrong_count_of_freedom_is_found(
    harness: SimpleNamespace, gas: System, rng: np.random.Generator
) -> None:
    point = harness.ensembles.StatePoint(150.0)
    samples = drawn(harness, gas, point, rng)

    def off(translations: int) -> dict[str, float]:
        freedom = harness.checks.Freedom(translations, 0)
        return harness.checks.deviations_of_one(samples, gas, np.arange(ATOMS), "NVT", point, freedom)

    right = off(3)
    assert max(right.values()) < 4.0
    assert set(right) == {
        f"{what}, {part}"
        for what in ("kinetic energy", "group 1 of atoms", "group 2 of atoms")
        for part in ("mean", "width")
    }
    assert off(0)["kinetic energy, mean"] > 5.0


def test_groups_of_few_atoms_are_compared_with_what_they_are(
    harness: SimpleNamespace, gas: System, rng: np.random.Generator
) -> None:
    """While the centre of mass rests, the kinetic energy of four of eight atoms is 4 % narrower than their share."""
    few = System(gas.positions[:8], gas.numbers[:8], gas.cell, gas.pbc)
    point = harness.ensembles.StatePoint(150.0)
    samples = drawn(harness, few, point, rng, 20_000)
    off = harness.checks.deviations_of_one(samples, few, np.arange(8), "NVT", point, harness.checks.Freedom(3, 0))
    assert max(off.values()) < 4.0


def test_a_temperature_three_percent_off_is_found(
    harness: SimpleNamespace, gas: System, rng: np.random.Generator
) -> None:
    warm, asked = harness.ensembles.StatePoint(154.5), harness.ensembles.StatePoint(150.0)
    samples = drawn(harness, gas, warm, rng)
    freedom = harness.checks.Freedom(3, 0)
    off = harness.checks.deviations_of_one(samples, gas, np.arange(ATOMS), "NVT", asked, freedom)
    assert off["kinetic energy, mean"] > 5.0


def test_atoms_hotter_than_others_are_found(harness: SimpleNamespace, gas: System, rng: np.random.Generator) -> None:
    """The kinetic energy of the whole is right, half of the atoms have too much of it."""
    point = harness.ensembles.StatePoint(150.0)
    samples = drawn(harness, gas, point, rng)
    hot = np.random.default_rng(0).permutation(ATOMS)[: ATOMS // 2]
    samples.velocities[:, hot] *= np.sqrt(1.2)
    samples.velocities[:, np.setdiff1d(np.arange(ATOMS), hot)] *= np.sqrt(0.8)
    freedom = harness.checks.Freedom(3, 0)
    off = harness.checks.deviations_of_one(samples, gas, np.arange(ATOMS), "NVT", point, freedom)
    assert off["kinetic energy, mean"] < 4.0
    assert max(off[f"group {group} of atoms, mean"] for group in (1, 2)) > 5.0


def test_ratios_at_constant_pressure(harness: SimpleNamespace, gas: System, rng: np.random.Generator) -> None:
    """Enthalpy at two temperatures, volume at two pressures, both at once; a pressure 10 % off is found."""
    at = harness.ensembles.StatePoint
    base, warm, dense = at(150.0, 0.1), at(175.0, 0.1), at(150.0, 0.13)
    samples = {point: drawn(harness, gas, point, rng) for point in (base, warm, dense)}

    def off(first: Any, second: Any, claimed: Any) -> float:
        pair = samples[first], samples[second]
        return max(harness.checks.deviations_of_two(*pair, gas, "NPT", (first, claimed), True))

    assert off(base, warm, warm) < 4.0
    assert off(base, dense, dense) < 4.0
    assert off(warm, dense, dense) < 4.0
    assert off(base, dense, at(150.0, 0.145)) > 5.0


def test_distributions_without_overlap_are_no_pass(
    harness: SimpleNamespace, gas: System, rng: np.random.Generator
) -> None:
    cold, hot = harness.ensembles.StatePoint(100.0), harness.ensembles.StatePoint(500.0)
    pair = drawn(harness, gas, cold, rng, 200), drawn(harness, gas, hot, rng, 200)
    assert harness.checks.deviations_of_two(*pair, gas, "NVT", (cold, hot), True) == []


def test_memory_is_that_of_an_autoregression(harness: SimpleNamespace, rng: np.random.Generator) -> None:
    """x' = ρx + noise is remembered for (1 + ρ)/(1 − ρ) frames; a constant of each trajectory for all of it."""
    share, rows, length = 0.6, 50, 2000
    values = np.zeros((rows, length))
    for frame in range(1, length):
        values[:, frame] = share * values[:, frame - 1] + rng.standard_normal(rows)
    assert harness.sampling.inefficiency(values[:, 100:]) == pytest.approx((1 + share) / (1 - share), rel=0.1)
    constant = np.repeat(rng.standard_normal((rows, 1)), 20, axis=1)
    assert harness.sampling.inefficiency(constant) == pytest.approx(20.0)
    assert harness.sampling.inefficiency(rng.standard_normal((rows, length))) < 1.1


def test_what_is_remembered_behind_an_oscillation_is_seen(harness: SimpleNamespace, rng: np.random.Generator) -> None:
    """Oscillators that keep their amplitudes: their correlation is negative after a quarter of a period."""
    rows, times = 200, np.arange(20.0)
    amplitudes, phases = rng.exponential(size=(rows, 1)), rng.uniform(0.0, 2 * np.pi, (rows, 1))
    values = np.sqrt(amplitudes) * np.cos(1.9 * times + phases)
    assert harness.sampling.inefficiency(values) < 1.1
    # Of the squares A cos², whose variance is ⟨A²⟩·3/8 − 1/4 = 1/2, the mean A/2 of a trajectory makes a half.
    assert harness.sampling.overcounted(values) == pytest.approx(0.5 * len(times), rel=0.4)
    assert harness.sampling.overcounted(rng.standard_normal((rows, 20))) < 1.4


def test_starts_of_the_crystal_are_canonical(harness: SimpleNamespace) -> None:
    """⟨U − U₀⟩ = N_f k_BT/2, within a percent for what is not harmonic."""
    case = harness.cases.crystal()
    potential = case.make("float64")
    stiffness, _ = case.normal_modes
    assert len(stiffness) == 3 * ATOMS - 3 and stiffness.min() > 1e-3
    starts = [case.start(40.0, seed) for seed in range(200)]
    energies = np.array([found.energy for found in potential.predict(starts)]) - potential.energy(case.system)
    ratio = energies / (0.5 * len(stiffness) * BOLTZMANN * 40.0)
    assert abs(ratio.mean() - 1.0) < 0.01 + 3 * ratio.std() / np.sqrt(len(ratio))


def test_springs_are_quadratic_and_end_smoothly(harness: SimpleNamespace) -> None:
    potential = Potential(harness.terms.Springs(0.25, 3.75, dtype="float64"))

    def pair(r: float) -> tuple[float, float]:
        energy, forces = potential.energy_and_forces(System(np.array([[0.0, 0, 0], [r, 0, 0]]), np.full(2, 18)))
        return energy, forces[1, 0]

    lowest, force = pair(3.75)
    assert abs(force) < 1e-12
    for stretch in (-0.4, 0.3, 0.5):
        energy, force = pair(3.75 + stretch)
        assert energy - lowest == pytest.approx(0.125 * stretch**2, rel=1e-9)
        assert force == pytest.approx(-0.25 * stretch, rel=1e-9)
    for energy, force in (pair(4.9499), pair(5.2)):
        assert abs(energy) < 1e-6 and abs(force) < 1e-6


def test_every_ensemble_of_the_package_is_in_the_table(harness: SimpleNamespace) -> None:
    from so3krates import md

    made = {
        name for name in dir(md) if isinstance(getattr(md, name), type) and hasattr(getattr(md, name), "conserved")
    } - {"Integrator"}
    assert {name.partition(",")[0] for name in harness.ensembles.ENSEMBLES} == made
