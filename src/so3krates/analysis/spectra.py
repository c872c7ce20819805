"""Vibrational power spectra from velocities, and the distance between two spectra."""

from typing import NamedTuple

import numpy as np
from scipy.constants import speed_of_light as SPEED_OF_LIGHT
from scipy.stats import wasserstein_distance

from so3krates._errors import InputError
from so3krates._typing import Float

PERIOD_FS = 1e13 / SPEED_OF_LIGHT
"""Period in fs of a vibration of 1 cm⁻¹: 1/(c·1 cm⁻¹) = 33,356 fs."""


class Spectrum(NamedTuple):
    """A power spectrum, normalised to area one."""

    wavenumbers: Float[np.ndarray, " points"]
    """cm⁻¹, from zero to the Nyquist limit, evenly spaced."""
    density: Float[np.ndarray, " points"]
    """cm; the integral over wavenumbers is one."""


def velocity_autocorrelation(
    velocities: Float[np.ndarray, "frames atoms 3"], masses: Float[np.ndarray, " atoms"], lags: int
) -> Float[np.ndarray, " lags"]:
    """C(τ) = Σ_i m_i ⟨v_i(t)·v_i(t+τ)⟩_t / Σ_i m_i ⟨v_i²⟩_t, averaged over all available origins t (unbiased).

    Computed as the Fourier transform of the periodogram of the zero-padded series (Wiener–Khinchin theorem).

    Args:
        velocities: any unit of velocity; at even intervals.
        masses: any unit of mass.
        lags: number of lags, starting from τ = 0.

    Raises:
        InputError: for fewer frames than lags, or atoms that do not move.
    """
    velocities, masses = np.asarray(velocities, np.float64), np.asarray(masses, np.float64)
    frames = len(velocities)
    if not 1 <= lags <= frames:
        raise InputError(f"{lags} lags cannot be taken from {frames} frames.")
    power = np.zeros(frames + 1)
    # Atom by atom: the transform of everything at once would need several copies of the trajectory.
    for atom, mass in enumerate(masses):
        transform = np.fft.rfft(velocities[:, atom], n=2 * frames, axis=0)
        power += mass * (np.abs(transform) ** 2).sum(axis=1)
    correlation = np.fft.irfft(power, n=2 * frames)[:lags] / (frames - np.arange(lags))
    if not correlation[0] > 0:
        raise InputError("no atom moves, so there is no velocity autocorrelation.")
    return correlation / correlation[0]


def power_spectrum(
    velocities: Float[np.ndarray, "frames atoms 3"],
    masses: Float[np.ndarray, " atoms"],
    interval_fs: float,
    *,
    resolution_per_cm: float = 10.0,
) -> Spectrum:
    """Vibrational density of states: the cosine transform of the mass-weighted velocity autocorrelation.

    D(ν̃) ∝ ∫ w(τ) C(τ) cos(2π c ν̃ τ) dτ with Hann's window w(τ) = cos²(π τ/(2 T)), |τ| ≤ T, whose transform has a
    full width at half maximum of 1/T: T is chosen as 1/(c·resolution), or as the whole run where it is shorter.

    Args:
        velocities: at even intervals, any unit.
        masses: any unit.
        interval_fs: time between frames, fs; vibrations above the Nyquist limit 1/(2 c interval) are folded back, so
            C–H and O–H stretches need an interval of at most 4 fs.
        resolution_per_cm: full width at half maximum of a sharp line, cm⁻¹.

    Raises:
        InputError: for an interval or a resolution that is not positive, or fewer than 8 frames.
    """
    if not interval_fs > 0 or not resolution_per_cm > 0:
        raise InputError(f"interval {interval_fs} fs and resolution {resolution_per_cm} cm⁻¹ must be positive.")
    frames = len(velocities)
    if frames < 8:
        raise InputError(f"a spectrum needs at least 8 frames, received {frames}.")
    lags = min(frames, max(8, round(PERIOD_FS / resolution_per_cm / interval_fs)))
    window = np.cos(0.5 * np.pi * np.arange(lags) / lags) ** 2
    correlation = velocity_autocorrelation(velocities, masses, lags) * window
    points = 1 << (4 * lags - 1).bit_length()
    padded = np.zeros(points)
    padded[:lags] = correlation
    padded[points - lags + 1 :] = correlation[:0:-1]
    # Unbiased autocorrelations may give slightly negative density between lines.
    density = np.maximum(np.fft.rfft(padded).real, 0.0)
    wavenumbers = np.fft.rfftfreq(points, interval_fs) * PERIOD_FS
    return Spectrum(wavenumbers, density / np.trapezoid(density, wavenumbers))


def spectral_distance(first: Spectrum, second: Spectrum) -> float:
    """Wasserstein-1 distance in cm⁻¹: ∫ |F₁ − F₂| dν̃ of the cumulated spectra, the mean shift of spectral weight.

    Unlike an overlap it keeps growing when lines move apart. The spectra may have different grids.
    """
    return float(wasserstein_distance(first.wavenumbers, second.wavenumbers, first.density, second.density))
