"""The original's network once more, in plain NumPy on its own parameter names: what a conversion is checked against.

Nothing is shared with the package's network: every pair is visited from both ends, heads are einsums over the original
(heads, out, in) matrices, spherical harmonics come from SciPy's Legendre functions, forces are differences of energies.
Source: the equations of the article (Nat. Commun. 15, 6539), eqs. 15–27, and of SO3LR.
"""

from collections.abc import Callable, Mapping
from math import factorial, lgamma, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from so3krates._typing import Float, Int
from so3krates.io.foreign_terms import ForeignTerms

STEP = 2e-3
"""Å, of the differences; with the five-point formula their error is below 1e-8 eV/Å for energies of usual size."""
BERNSTEIN_DECAY = float(np.float32(0.5 / 0.52917720859))
"""Å⁻¹; the original rounds this constant to single precision."""
LAYER_NORM_EPSILON = 1e-6


class Molecule(NamedTuple):
    """Atoms in vacuum."""

    positions: Float[np.ndarray, "atoms 3"]
    numbers: Int[np.ndarray, " atoms"]
    charge: float = 0.0
    unpaired: float = 0.0


class _Directed(NamedTuple):
    """Every pair within the cutoff, seen from both ends: atom i receives from atom j."""

    i: Int[np.ndarray, " edges"]
    j: Int[np.ndarray, " edges"]
    basis: Float[np.ndarray, "edges functions"]
    cutoff: Float[np.ndarray, " edges"]
    harmonics: Float[np.ndarray, "edges orders"]


class ForeignNetwork:
    """Energies straight from the original's parameters and hyper-parameters."""

    def __init__(self, parameters: Mapping[str, np.ndarray], hyperparameters: Mapping[str, Any]) -> None:
        self._arrays = {k.removeprefix("params/"): np.asarray(v, np.float64) for k, v in parameters.items()}
        self._model = hyperparameters["model"]
        neighbors = self._model.get("avg_num_neighbors")
        self._neighbors = hyperparameters.get("data", {}).get("avg_num_neighbors") if neighbors is None else neighbors
        self._degrees = tuple(self._model["degrees"])

    def energy(self, molecule: Molecule) -> float:
        """Energy in eV."""
        edges = self._edges(molecule.positions)
        f = self._embedded(molecule)
        x = np.zeros((len(f), edges.harmonics.shape[1]))
        for layer in range(self._model["num_layers"]):
            f, x = self._layer(f"layers_{layer}", f, x, edges)
        terms = ForeignTerms(self._arrays, self._model, _CUTOFFS[self._model["cutoff_fn"]])
        analytic = terms.energy(molecule.positions, molecule.numbers, molecule.charge, f, self._dense)
        return float(np.sum(self._head(f, molecule.numbers))) + analytic

    def forces(self, molecule: Molecule) -> Float[np.ndarray, "atoms 3"]:
        """Forces in eV/Å: −dE/dr by five-point differences."""
        forces = np.zeros_like(molecule.positions)
        for atom, axis in np.ndindex(*forces.shape):
            forces[atom, axis] = -_derivative(lambda d: self.energy(_moved(molecule, atom, axis, d)))  # noqa: B023
        return forces

    def _edges(self, positions: Float[np.ndarray, "atoms 3"]) -> _Directed:
        model = self._model
        vectors = positions[None, :, :] - positions[:, None, :]
        distances = np.sqrt(np.sum(vectors**2, axis=-1))
        i, j = np.nonzero((distances < model["cutoff"]) & ~np.eye(len(positions), dtype=bool))
        r = distances[i, j]
        basis = _BASES[model["radial_basis_fn"]](r, model["num_radial_basis_fn"], model["cutoff"])
        cutoff = _CUTOFFS[model["cutoff_fn"]](r / model["cutoff"])
        return _Directed(i, j, basis, cutoff, _harmonics(vectors[i, j] / r[:, None], self._degrees))

    def _embedded(self, molecule: Molecule) -> Float[np.ndarray, "atoms features"]:
        """Sum of the embeddings over the root of their number."""
        switches = (("use_charge_embed", molecule.charge), ("use_spin_embed", molecule.unpaired))
        totals = [total for key, total in switches if self._model.get(key, False)]
        parts = [self._arrays["feature_embeddings_0/Embed_0/embedding"][molecule.numbers]]
        parts += [self._spread(f"feature_embeddings_{n + 1}", psi, molecule.numbers) for n, psi in enumerate(totals)]
        return np.sum(parts, axis=0) / sqrt(len(parts))

    def _spread(self, name: str, psi: float, numbers: Int[np.ndarray, " atoms"]) -> Float[np.ndarray, "atoms features"]:
        arrays = {k: self._arrays[f"{name}/ChargeSpinEmbedSparse_0/Embed_{k}/embedding"] for k in range(3)}
        row = 1 if psi < 0 else 0
        query, key, value = arrays[0][numbers], arrays[1][row], arrays[2][row]
        weight = np.log1p(np.exp(query @ key / sqrt(len(key))))
        u = np.outer(psi * weight / weight.sum(), value)
        first, second = (self._arrays[f"{name}/ChargeSpinEmbedSparse_0/Residual_0/layers_{k}/kernel"] for k in range(2))
        return u + _silu(_silu(u) @ first) @ second

    def _layer(self, name: str, f: np.ndarray, x: np.ndarray, edges: _Directed) -> tuple[np.ndarray, np.ndarray]:
        model = self._model
        delta_f, delta_x = self._attention(f"{name}/attention_block", f, x, edges)
        f, x = f + delta_f, x + delta_x
        if model.get("layer_normalization_1", False):
            f = self._norm(f"{name}/layer_normalization_1", f)
        if model.get("residual_mlp_1", False):
            hidden = self._dense(f"{name}/res_mlp_1_layer_1", _silu(f))
            f = f + self._dense(f"{name}/res_mlp_1_layer_2", _silu(hidden))
        mixed = self._dense(f"{name}/exchange_block/mlp_layer_2", np.hstack([f, _contracted(x, self._degrees)]))
        f, x = f + mixed[:, : f.shape[1]], x + _spread_degrees(mixed[:, f.shape[1] :], self._degrees) * x
        if model.get("layer_normalization_2", False):
            f = self._norm(f"{name}/layer_normalization_2", f)
        return f, x

    def _attention(self, name: str, f: np.ndarray, x: np.ndarray, edges: _Directed) -> tuple[np.ndarray, np.ndarray]:
        s = _contracted(x[edges.j] - x[edges.i], self._degrees)
        alpha = self._coefficients(name, 1, f, s, edges)
        value = self._arrays[f"{name}/Wv1"]
        messages = alpha[:, :, None] * np.einsum("hoi,nhi->nho", value, _heads(f, len(value)))[edges.j]
        beta = self._coefficients(name, 2, f, s, edges)
        delta_f, delta_x = np.zeros_like(f), np.zeros_like(x)
        np.add.at(delta_f, edges.i, messages.reshape(len(edges.i), f.shape[1]))
        np.add.at(delta_x, edges.i, _spread_degrees(beta, self._degrees) * edges.harmonics)
        return delta_f, delta_x

    def _coefficients(self, name: str, which: int, f: np.ndarray, s: np.ndarray, edges: _Directed) -> np.ndarray:
        query, key = self._arrays[f"{name}/Wq{which}"], self._arrays[f"{name}/Wk{which}"]
        heads, width = len(query), query.shape[1]
        chunks = _heads(f, heads)
        q, k = np.einsum("hoi,nhi->nho", query, chunks), np.einsum("hoi,nhi->nho", key, chunks)
        w = self._filter(f"{name}/radial_filter{which}", edges.basis)
        w = _heads(w + self._filter(f"{name}/spherical_filter{which}", s), heads)
        return np.sum(q[edges.i] * w * k[edges.j], axis=-1) * edges.cutoff[:, None] / self._normalisation(width)

    def _normalisation(self, width: int) -> float:
        match self._model["message_normalization"]:
            case "sqrt_num_features":
                return sqrt(width)
            case "avg_num_neighbors":
                return self._neighbors
            case _:
                return 1.0

    def _filter(self, name: str, inputs: np.ndarray) -> np.ndarray:
        return self._dense(f"{name}_layer_2", _silu(self._dense(f"{name}_layer_1", inputs)))

    def _dense(self, name: str, inputs: np.ndarray) -> np.ndarray:
        return inputs @ self._arrays[f"{name}/kernel"] + self._arrays[f"{name}/bias"]

    def _norm(self, name: str, f: np.ndarray) -> np.ndarray:
        centred = f - f.mean(axis=1, keepdims=True)
        unit = centred / np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + LAYER_NORM_EPSILON)
        return unit * self._arrays[f"{name}/scale"] + self._arrays[f"{name}/bias"]

    def _head(self, f: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        hidden = _silu(self._dense("observables_0/energy_dense_regression", f))
        energies = self._dense("observables_0/energy_dense_final", hidden)[:, 0]
        if self._model.get("energy_learn_atomic_type_scales", False):
            energies = energies * self._arrays["observables_0/atomic_scales"][numbers]
        if self._model.get("energy_learn_atomic_type_shifts", False):
            energies = energies + self._arrays["observables_0/energy_offset"][numbers]
        return energies


def _moved(molecule: Molecule, atom: int, axis: int, distance: float) -> Molecule:
    positions = molecule.positions.copy()
    positions[atom, axis] += distance
    return molecule._replace(positions=positions)


def _derivative(function: Callable[[float], float]) -> float:
    """Five-point central difference at zero."""
    near = function(STEP) - function(-STEP)
    far = function(2 * STEP) - function(-2 * STEP)
    return (8.0 * near - far) / (12.0 * STEP)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def _heads(features: np.ndarray, heads: int) -> np.ndarray:
    return features.reshape(len(features), heads, -1)


def _spread_degrees(per_degree: np.ndarray, degrees: tuple[int, ...]) -> np.ndarray:
    return np.repeat(per_degree, [2 * degree + 1 for degree in degrees], axis=1)


def _contracted(x: np.ndarray, degrees: tuple[int, ...]) -> np.ndarray:
    """Σ_m x_lm²/√(2l+1) for each degree."""
    ends = np.cumsum([2 * degree + 1 for degree in degrees])
    parts = np.split(x, ends[:-1], axis=1)
    return np.stack([np.sum(p**2, axis=1) / sqrt(2 * l + 1) for p, l in zip(parts, degrees, strict=True)], axis=1)


def _harmonics(unit: np.ndarray, degrees: tuple[int, ...]) -> np.ndarray:
    """Real orthonormal Y_lm, m = −l…l, from Legendre functions of cos θ and the azimuth."""
    from scipy.special import lpmv

    azimuth = np.arctan2(unit[:, 1], unit[:, 0])
    columns = []
    for degree in degrees:
        for m in range(-degree, degree + 1):
            order = abs(m)
            norm = sqrt((2 * degree + 1) / (4 * pi) * factorial(degree - order) / factorial(degree + order))
            # SciPy's functions carry the Condon-Shortley phase; it is taken out again.
            polar = (-1) ** order * norm * lpmv(order, degree, np.clip(unit[:, 2], -1.0, 1.0))
            angular = 1.0 if m == 0 else sqrt(2.0) * (np.cos(order * azimuth) if m > 0 else np.sin(order * azimuth))
            columns.append(polar * angular)
    return np.stack(columns, axis=1)


def _physnet(r: np.ndarray, functions: int, cutoff: float) -> np.ndarray:
    centers = np.linspace(np.exp(-cutoff), 1.0, functions)
    width = 2.0 / functions * (1.0 - np.exp(-cutoff))
    return np.exp(-(((np.exp(-r)[:, None] - centers) / width) ** 2))


def _bernstein(r: np.ndarray, functions: int, cutoff: float) -> np.ndarray:
    del cutoff
    top = functions - 1
    x = np.exp(-BERNSTEIN_DECAY * r)
    binomials = [np.exp(lgamma(top + 1) - lgamma(k + 1) - lgamma(top - k + 1)) for k in range(functions)]
    return np.stack([b * x**k * (1.0 - x) ** (top - k) for k, b in enumerate(binomials)], axis=1)


_BASES: Mapping[str, Callable[[np.ndarray, int, float], np.ndarray]] = {"physnet": _physnet, "bernstein": _bernstein}
_CUTOFFS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "cosine": lambda u: 0.5 * (1.0 + np.cos(pi * u)),
    "phys": lambda u: 1.0 - 6.0 * u**5 + 15.0 * u**4 - 10.0 * u**3,
    "exponential": lambda u: np.exp(-(u**2) / (1.0 - u**2)),
}
