"""The original's analytic terms once more, in plain NumPy on its own parameter names, for molecules in vacuum.

As in `foreign_check`, nothing is shared with the package's terms. Source: SO3LR (doi 10.1021/jacs.5c09558).
"""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import erf

from so3krates._typing import Float, Int
from so3krates.physics.free_atoms import C6_COEFFICIENTS, POLARIZABILITIES
from so3krates.units import BOHR, COULOMB, HARTREE

CUTOFF = 1000.0
"""Å; what the original takes for molecules."""
FINE_STRUCTURE = 0.0072973525693

Dense = Callable[[str, np.ndarray], np.ndarray]


class ForeignTerms:
    """Repulsion, electrostatics and dispersion straight from the original's parameters and hyper-parameters."""

    def __init__(self, arrays: Mapping[str, np.ndarray], model: Mapping[str, Any], cutoff: Callable) -> None:
        """`cutoff` is the network's cutoff function of r/r_c."""
        self._arrays, self._model, self._cutoff = arrays, model, cutoff

    def energy(
        self,
        positions: Float[np.ndarray, "atoms 3"],
        numbers: Int[np.ndarray, " atoms"],
        charge: float,
        features: Float[np.ndarray, "atoms features"],
        dense: Dense,
    ) -> float:
        """eV."""
        i, j = np.triu_indices(len(numbers), 1)
        r = np.linalg.norm(positions[j] - positions[i], axis=1)
        energy = 0.0
        if self._model.get("zbl_repulsion_bool", False):
            energy += np.sum(self._repulsion(r, numbers[i], numbers[j]))
        if self._model.get("electrostatic_energy_bool", False):
            q = self._charges(numbers, charge, features, dense)
            energy += np.sum(COULOMB * q[i] * q[j] * _coulomb(r, self._model["electrostatic_energy_scale"]))
        if self._model.get("dispersion_energy_bool", False):
            h = self._ratios(numbers, features, dense)
            alpha = np.array((np.nan, *POLARIZABILITIES))[numbers] * h
            c6 = np.array((np.nan, *C6_COEFFICIENTS))[numbers] * h**2
            scale = self._model["dispersion_energy_scale"]
            pairs = _dispersion(r / BOHR, alpha[i], alpha[j], c6[i], c6[j], scale)
            energy += HARTREE * np.sum(pairs * _step(r, CUTOFF - 2.0, CUTOFF))
        return float(energy)

    def _repulsion(self, r: np.ndarray, z_i: np.ndarray, z_j: np.ndarray) -> np.ndarray:
        positive = {k: np.log1p(np.exp(self._parameter(k))) for k in ("a1 a2 a3 a4 c1 c2 c3 c4 d p").split()}
        total = sum(positive[f"c{n}"] for n in (1, 2, 3, 4))
        x = r * positive["d"] * (z_i ** positive["p"] + z_j ** positive["p"])
        screening = sum(positive[f"c{n}"] / total * np.exp(-positive[f"a{n}"] * x) for n in (1, 2, 3, 4))
        u = np.minimum(r / self._model["cutoff"], 1.0)
        return _step(r, 0.0, 1.5) * self._cutoff(u) * COULOMB * z_i * z_j / r * screening

    def _parameter(self, name: str) -> float:
        return float(self._arrays[f"observables_0/zbl_repulsion/{name}"].reshape(()))

    def _charges(self, numbers: np.ndarray, total: float, features: np.ndarray, dense: Dense) -> np.ndarray:
        head = "observables_0/electrostatic_energy/partial_charges"
        raw = dense(f"{head}/charge_dense_final_vec", _silu(dense(f"{head}/charge_dense_regression_vec", features)))
        q = raw[:, 0] + self._arrays[f"{head}/Embed_0/embedding"][numbers, 0]
        return q + (total - q.sum()) / len(q)

    def _ratios(self, numbers: np.ndarray, features: np.ndarray, dense: Dense) -> np.ndarray:
        hidden = _silu(dense("observables_2/hirshfeld_ratios_dense_regression", features))
        key = dense("observables_2/hirshfeld_ratios_dense_final", hidden)
        shift = self._arrays["observables_2/Embed_0/embedding"][numbers, 0]
        return np.abs(
            shift + np.sum(self._arrays["observables_2/Embed_1/embedding"][numbers] * key, axis=1) / sqrt(key.shape[1])
        )


def _step(r: np.ndarray, on: float, off: float) -> np.ndarray:
    c = (r - on) / (off - on)
    rising, falling = _flat(c), _flat(1.0 - c)
    return falling / (falling + rising)


def _flat(x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(x > 0.0, np.exp(-1.0 / x), 0.0)


def _coulomb(r: np.ndarray, width: float) -> np.ndarray:
    shifted = erf(r / width) / r - erf(CUTOFF / width) / CUTOFF
    slope = 2.0 / sqrt(np.pi) / width * np.exp(-((CUTOFF / width) ** 2)) / CUTOFF - erf(CUTOFF / width) / CUTOFF**2
    near = _step(r, 0.45 * CUTOFF, CUTOFF)
    return np.where(r < CUTOFF, near * shifted + (1.0 - near) * (shifted - slope * (r - CUTOFF)), 0.0)


def _dispersion(
    r: np.ndarray, alpha_i: np.ndarray, alpha_j: np.ndarray, c6_i: np.ndarray, c6_j: np.ndarray, scale: float
) -> np.ndarray:
    alpha = (alpha_i + alpha_j) / 2.0
    c6 = 2.0 * c6_i * c6_j * alpha_i * alpha_j / (alpha_i**2 * c6_j + alpha_j**2 * c6_i)
    width = np.polyval(
        [-0.00078893, 0.04125273, 0.24428889, -0.00433008], FINE_STRUCTURE ** (-4 / 21) * alpha ** (1 / 7)
    )
    gamma = 1.0 / (2.0 * width**2)
    damping = scale * 2.0 * 2.54 * alpha ** (1 / 7)
    c8, c10 = 5.0 * c6 / gamma, 245.0 * c6 / (8.0 * gamma**2)
    return -np.sum([c / (r**n + damping**n) for n, c in ((6, c6), (8, c8), (10, c10))], axis=0)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))
