"""Real orthonormal spherical harmonics from SciPy's complex ones, m = −l…l, without the Condon–Shortley phase."""

import numpy as np
from scipy.special import sph_harm_y


def real_harmonics(unit: np.ndarray, degree: int) -> np.ndarray:
    theta = np.arccos(np.clip(unit[:, 2], -1.0, 1.0))
    azimuth = np.arctan2(unit[:, 1], unit[:, 0])
    columns = []
    for m in range(-degree, degree + 1):
        value = sph_harm_y(degree, abs(m), theta, azimuth)
        # SciPy's Y_lm holds (−1)^m, which is undone.
        phase = (-1.0) ** m * np.sqrt(2.0)
        columns.append(value.real if m == 0 else phase * (value.real if m > 0 else value.imag))
    return np.stack(columns, axis=-1)
