"""Spectra of motions that are known in closed form."""

import numpy as np
import pytest
from scipy.signal import correlate

from so3krates._errors import InputError
from so3krates.analysis.spectra import (
    PERIOD_FS,
    Spectrum,
    power_spectrum,
    spectral_distance,
    velocity_autocorrelation,
)


def _oscillation(wavenumber: float, frames: int, interval_fs: float) -> np.ndarray:
    """Velocities of one atom that vibrates along x."""
    velocities = np.zeros((frames, 1, 3))
    velocities[:, 0, 0] = np.cos(2 * np.pi * wavenumber / PERIOD_FS * interval_fs * np.arange(frames))
    return velocities


def test_unit_of_wavenumbers() -> None:
    assert PERIOD_FS == pytest.approx(33356.40952)


def test_autocorrelation_is_that_of_the_definition(rng: np.random.Generator) -> None:
    velocities, masses = rng.standard_normal((50, 3, 3)), np.array([1.0, 12.0, 16.0])
    direct = np.zeros(50)
    for atom, mass in enumerate(masses):
        for axis in range(3):
            full = correlate(velocities[:, atom, axis], velocities[:, atom, axis], method="direct")
            direct += mass * full[49:]
    direct /= 50 - np.arange(50)
    np.testing.assert_allclose(velocity_autocorrelation(velocities, masses, 50), direct / direct[0], atol=1e-12)


def test_autocorrelation_of_a_cosine_is_a_cosine() -> None:
    found = velocity_autocorrelation(_oscillation(1000.0, 8000, 2.0), np.ones(1), 100)
    expected = np.cos(2 * np.pi * 1000.0 / PERIOD_FS * 2.0 * np.arange(100))
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("wavenumber", [200.0, 1050.0, 3650.0])
@pytest.mark.parametrize("resolution", [10.0, 40.0])
def test_a_vibration_is_one_line_of_the_stated_width(wavenumber: float, resolution: float) -> None:
    spectrum = power_spectrum(_oscillation(wavenumber, 20_000, 2.0), np.ones(1), 2.0, resolution_per_cm=resolution)
    peak = int(np.argmax(spectrum.density))
    assert spectrum.wavenumbers[peak] == pytest.approx(wavenumber, abs=0.15 * resolution)
    above = spectrum.wavenumbers[spectrum.density > 0.5 * spectrum.density[peak]]
    assert above[-1] - above[0] == pytest.approx(resolution, rel=0.3)


def test_area_is_one_and_grid_ends_at_nyquist() -> None:
    spectrum = power_spectrum(_oscillation(500.0, 4000, 4.0), np.ones(1), 4.0)
    assert np.trapezoid(spectrum.density, spectrum.wavenumbers) == pytest.approx(1.0)
    assert spectrum.wavenumbers[-1] == pytest.approx(PERIOD_FS / 8.0)
    assert spectrum.density.min() >= 0.0


def test_lines_weigh_as_their_kinetic_energies() -> None:
    """Masses 1 and 3 at equal velocities: three quarters of the area belong to the heavier atom."""
    velocities = np.concatenate([_oscillation(800.0, 20_000, 2.0), _oscillation(2500.0, 20_000, 2.0)], axis=1)
    spectrum = power_spectrum(velocities, np.array([1.0, 3.0]), 2.0)
    upper = spectrum.wavenumbers > 1600.0
    assert np.trapezoid(spectrum.density[upper], spectrum.wavenumbers[upper]) == pytest.approx(0.75, abs=0.02)


def test_a_short_run_uses_what_there_is() -> None:
    spectrum = power_spectrum(_oscillation(1500.0, 64, 2.0), np.ones(1), 2.0)
    assert spectrum.wavenumbers[np.argmax(spectrum.density)] == pytest.approx(1500.0, abs=150.0)


def test_distance_is_the_shift() -> None:
    grid = np.linspace(0.0, 4000.0, 4001)

    def line(center: float) -> Spectrum:
        density = np.exp(-0.5 * ((grid - center) / 15.0) ** 2)
        return Spectrum(grid, density / np.trapezoid(density, grid))

    assert spectral_distance(line(1000.0), line(1000.0)) == 0.0
    for shift in (5.0, 50.0, 2000.0):
        assert spectral_distance(line(1000.0), line(1000.0 + shift)) == pytest.approx(shift, rel=1e-6)


def test_distance_between_different_grids() -> None:
    def box(points: int) -> Spectrum:
        return Spectrum(np.linspace(0.0, 1000.0, points), np.full(points, 1e-3))

    assert spectral_distance(box(101), box(2001)) < 10.0


@pytest.mark.parametrize(
    ("frames", "interval", "words"),
    [(4, 2.0, "at least 8 frames"), (100, 0.0, "must be positive")],
    ids=["short", "interval"],
)
def test_refusals(frames: int, interval: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        power_spectrum(np.ones((frames, 1, 3)), np.ones(1), interval)


def test_atoms_at_rest_have_no_spectrum() -> None:
    with pytest.raises(InputError, match="no atom moves"):
        power_spectrum(np.zeros((20, 2, 3)), np.ones(2), 1.0)
