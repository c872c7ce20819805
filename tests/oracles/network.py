"""SO3krates written down once more, from the equations, with loops over directed pairs; NumPy, float64, no sharing.

Nothing of the network's code is used: only its parameters, by name.
"""

from itertools import product
from math import comb, exp, pi, sqrt

import numpy as np
from oracles.harmonics import real_harmonics
from scipy.special import expit

from so3krates.model import ModelConfig, SO3krates
from so3krates.system import System

GAMMA = 0.9448630809783936


def silu(x: np.ndarray) -> np.ndarray:
    return x * expit(x)


def array(leaf: object) -> np.ndarray:
    return np.asarray(leaf, np.float64)


def dense(x: np.ndarray, layer: object) -> np.ndarray:
    y = x @ array(layer.weight)
    return y if layer.bias is None else y + array(layer.bias)


def mlp(x: np.ndarray, layers: object) -> np.ndarray:
    for layer in layers.layers[:-1]:
        x = silu(dense(x, layer))
    return dense(x, layers.layers[-1])


def cutoff_function(name: str, r: float, cutoff: float) -> float:
    if r >= cutoff:
        return 0.0
    u = r / cutoff
    return {
        "cosine": lambda: 0.5 * (1.0 + np.cos(pi * u)),
        "polynomial": lambda: 1.0 - 6.0 * u**5 + 15.0 * u**4 - 10.0 * u**3,
        "exponential": lambda: exp(-(r**2) / ((cutoff - r) * (cutoff + r))),
    }[name]()


def radial_basis(name: str, r: float, functions: int, cutoff: float) -> np.ndarray:
    k = np.arange(functions)
    if name == "physnet":
        centers = np.linspace(exp(-cutoff), 1.0, functions)
        return np.exp(-((2.0 / functions * (1.0 - exp(-cutoff))) ** -2) * (exp(-r) - centers) ** 2)
    if name == "bernstein":
        x = exp(-GAMMA * r)
        return np.array([comb(functions - 1, n) * x**n * (1.0 - x) ** (functions - 1 - n) for n in range(functions)])
    if name == "gaussian":
        spacing = cutoff / (functions - 1)
        return np.exp(-((r - k * spacing) ** 2) / (2.0 * spacing**2))
    return sqrt(2.0 / cutoff) * np.sin((k + 1) * pi * r / cutoff) / r


def directed_pairs(system: System, cutoff: float) -> list[tuple[int, int, np.ndarray]]:
    """Every (i, j, r_ij) with |r_ij| < r_c, both directions, every image."""
    cell = np.zeros((3, 3)) if system.cell is None else system.cell
    images = 0 if system.cell is None else 6
    found = []
    for shift in product(*(range(-images, images + 1) if p else (0,) for p in system.pbc)):
        for i, j in product(range(len(system)), repeat=2):
            r = system.positions[j] + np.array(shift) @ cell - system.positions[i]
            if 0.0 < np.linalg.norm(r) < cutoff:
                found.append((i, j, r))
    return found


def degree_slices(degrees: tuple[int, ...]) -> list[slice]:
    ends = np.cumsum([2 * l + 1 for l in degrees])
    return [slice(int(end) - 2 * l - 1, int(end)) for end, l in zip(ends, degrees, strict=True)]


def invariants(x: np.ndarray, degrees: tuple[int, ...]) -> np.ndarray:
    return np.array([(x[s] ** 2).sum() / sqrt(2 * l + 1) for s, l in zip(degree_slices(degrees), degrees, strict=True)])


def electronic(total: float, system: System, module: object) -> np.ndarray:
    row = 1 if total < 0 else 0
    key, value = array(module.key)[row], array(module.value)[row]
    query = array(module.query)[system.numbers]
    weights = np.array([np.log1p(np.exp(q @ key / sqrt(len(key)))) for q in query])
    result = []
    for weight in weights:
        u = total * weight / weights.sum() * value
        result.append(u + silu(silu(u) @ array(module.first.weight)) @ array(module.second.weight))
    return np.array(result)


def layer_norm(f: np.ndarray, norm: object) -> np.ndarray:
    centred = f - f.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * array(norm.weight) + array(norm.bias)


def chunked(matrices: np.ndarray, f: np.ndarray) -> list[np.ndarray]:
    width = matrices.shape[1]
    return [f[h * width : (h + 1) * width] @ matrices[h] for h in range(len(matrices))]


def attention(layer: object, config: ModelConfig, f: np.ndarray, x: np.ndarray, pairs: list) -> tuple:
    """Δf, Δx: sums over directed pairs, one at a time."""
    block, degrees = layer.attention, config.degrees
    delta_f, delta_x = np.zeros_like(f), np.zeros_like(x)
    for i, j, r_ij in pairs:
        r = float(np.linalg.norm(r_ij))
        basis = radial_basis(config.radial_basis, r, config.radial_functions, config.cutoff)
        phi = cutoff_function(config.cutoff_function, r, config.cutoff)
        s = invariants(x[j] - x[i], degrees)
        w_f = mlp(basis, block.filter_f.radial) + mlp(s, block.filter_f.spherical)
        w_x = mlp(basis, block.filter_x.radial) + mlp(s, block.filter_x.spherical)
        width, chunk = config.features // config.heads, config.features // len(degrees)
        value = chunked(array(block.value_f), f[j])
        query, key = chunked(array(block.query_f), f[i]), chunked(array(block.key_f), f[j])
        for h in range(config.heads):
            part = slice(h * width, (h + 1) * width)
            alpha = phi / scale(config, width) * (query[h] * w_f[part] * key[h]).sum()
            delta_f[i, part] += alpha * value[h]
        query, key = chunked(array(block.query_x), f[i]), chunked(array(block.key_x), f[j])
        for n, (degree, orders) in enumerate(zip(degrees, degree_slices(degrees), strict=True)):
            part = slice(n * chunk, (n + 1) * chunk)
            alpha = phi / scale(config, chunk) * (query[n] * w_x[part] * key[n]).sum()
            delta_x[i, orders] += alpha * real_harmonics(r_ij[None] / r, degree)[0]
    return delta_f, delta_x


def scale(config: ModelConfig, width: int) -> float:
    return {"sqrt_head_features": sqrt(width), "mean_neighbors": config.mean_neighbors, "none": 1.0}[
        config.attention_scale
    ]


def start(config: ModelConfig, atoms: int, pairs: list) -> np.ndarray:
    x = np.zeros((atoms, sum(2 * l + 1 for l in config.degrees)))
    if config.euclidean_start == "neighbors":
        for i, _, r_ij in pairs:
            r = float(np.linalg.norm(r_ij))
            phi = cutoff_function(config.cutoff_function, r, config.cutoff)
            harmonics = [real_harmonics(r_ij[None] / r, l)[0] for l in config.degrees]
            x[i] += phi * np.concatenate(harmonics) / config.mean_neighbors
    return x


def exchange(block: object, config: ModelConfig, f: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    delta_f, delta_x = np.zeros_like(f), np.zeros_like(x)
    for i in range(len(f)):
        mixed = dense(np.concatenate([f[i], invariants(x[i], config.degrees)]), block.linear)
        delta_f[i] = mixed[: config.features]
        for b, orders in zip(mixed[config.features :], degree_slices(config.degrees), strict=True):
            delta_x[i, orders] = b * x[i, orders]
    return delta_f, delta_x


def energies(model: SO3krates, system: System) -> np.ndarray:
    """Per-atom energies, eV."""
    config = model.config
    pairs = directed_pairs(system, config.cutoff)
    parts = [array(model.embedding.table)[system.numbers]]
    if model.charge_embedding is not None:
        parts.append(electronic(system.charge, system, model.charge_embedding))
    if model.spin_embedding is not None:
        parts.append(electronic(system.unpaired, system, model.spin_embedding))
    f, x = sum(parts) / sqrt(len(parts)), start(config, len(system), pairs)
    for layer in model.layers:
        delta_f, delta_x = attention(layer, config, f, x, pairs)
        f, x = f + delta_f, x + delta_x
        if layer.attention_norm is not None:
            f = layer_norm(f, layer.attention_norm)
        if layer.residual is not None:
            f = f + dense(silu(dense(silu(f), layer.residual.first)), layer.residual.second)
        delta_f, delta_x = exchange(layer.exchange, config, f, x)
        f, x = f + delta_f, x + delta_x
        if layer.exchange_norm is not None:
            f = layer_norm(f, layer.exchange_norm)
    raw = dense(silu(dense(f, model.energy.hidden)), model.energy.final)[:, 0]
    return array(model.energy.scale)[system.numbers] * raw + array(model.energy.shift)[system.numbers]
