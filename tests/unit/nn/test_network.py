"""The network, every option of it, against loops over directed pairs in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import network
from oracles.models import CONFIGS, random_model

from so3krates.graph import make_graph
from so3krates.model import SO3krates
from so3krates.neighbors.host import find_pair_lists
from so3krates.nn.embedding import ElectronicEmbedding
from so3krates.system import System


def molecule(charge: float = 0.0, unpaired: float = 0.0) -> System:
    """Five atoms without any symmetry; one of them lonely, beyond the cutoff of all others."""
    rng = np.random.default_rng(5)
    positions = np.concatenate([rng.uniform(-1.5, 1.5, size=(4, 3)), [[9.0, 0.0, 0.0]]])
    return System(positions, np.array([8, 1, 6, 1, 7]), charge=charge, unpaired=unpaired)


def crystal() -> System:
    """Two atoms in a triclinic cell shorter than the cutoff: many images, self-images among them."""
    cell = np.array([[3.1, 0.2, 0.0], [0.5, 3.4, -0.3], [0.1, 0.4, 4.0]])
    return System(np.array([[0.1, 0.2, 0.3], [1.2, 1.0, 1.9]]), np.array([11, 17]), cell, (True, True, True))


SYSTEMS = {"molecule": molecule(), "anion": molecule(-1.0, 1.0), "cation": molecule(2.0), "crystal": crystal()}


@pytest.mark.parametrize("name", CONFIGS)
def test_energies_equal_the_loops(name: str) -> None:
    model = random_model(CONFIGS[name])
    systems = list(SYSTEMS.values())
    graph = make_graph(systems, [find_pair_lists(s, model.cutoff) for s in systems], "float64")
    found = np.asarray(eqx.filter_jit(model)(graph))
    start = 0
    for label, system in SYSTEMS.items():
        expected = network.energies(model, system)
        part = found[start : start + len(system)]
        np.testing.assert_allclose(part, expected, rtol=1e-11, atol=1e-11, err_msg=label)
        start += len(system)
    assert (found[start:] == 0.0).all()


def test_details_agree_with_the_loops() -> None:
    """Attention coefficients of both directions and the Euclidean variables of the first layer."""
    model = random_model(CONFIGS["neighbors"])
    system, config = crystal(), model.config
    pairs = find_pair_lists(system, model.cutoff)
    details = eqx.filter_jit(model.details)(make_graph([system], [pairs], "float64"))
    directed = network.directed_pairs(system, config.cutoff)
    f = np.asarray(model.embedding.table)[system.numbers]
    x = network.start(config, len(system), directed)
    width = config.features // config.heads
    coefficients = details.attention[0]
    for number in range(0, len(pairs.near.centers), 7):
        i, j, r_ij = int(pairs.near.centers[number]), int(pairs.near.others[number]), pairs.near.vectors[number]
        for a, b, r, found in (
            (i, j, r_ij, coefficients.features_to_centers),
            (j, i, -r_ij, coefficients.features_to_others),
        ):
            distance = float(np.linalg.norm(r))
            block = model.layers[0].attention
            basis = network.radial_basis(config.radial_basis, distance, config.radial_functions, config.cutoff)
            s = network.invariants(x[b] - x[a], config.degrees)
            w = network.mlp(basis, block.filter_f.radial) + network.mlp(s, block.filter_f.spherical)
            query = network.chunked(np.asarray(block.query_f), f[a])
            key = network.chunked(np.asarray(block.key_f), f[b])
            phi = network.cutoff_function(config.cutoff_function, distance, config.cutoff)
            expected = [phi * (query[h] * w[h * width : (h + 1) * width] * key[h]).sum() for h in range(config.heads)]
            np.testing.assert_allclose(found[number], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("total", [0.0, 2.0, -1.0, -3.0])
def test_electronic_embedding_equals_the_loop(total: float) -> None:
    module = ElectronicEmbedding(8, rng=np.random.default_rng(0), dtype="float64")
    system = molecule(charge=total)
    other = molecule(charge=5.0)
    graph = make_graph([other, system], [find_pair_lists(s, 3.0) for s in (other, system)], "float64")
    found = np.asarray(module(jnp.asarray(graph.charge), graph))[len(other) : len(other) + len(system)]
    np.testing.assert_allclose(found, network.electronic(total, system, module), atol=1e-14)
    if total == 0.0:
        assert (found == 0.0).all()


def test_charge_and_spin_change_the_energy() -> None:
    model = random_model(CONFIGS["so3lr"])
    systems = [molecule(), molecule(1.0), molecule(-1.0), molecule(0.0, 2.0)]
    graph = make_graph(systems, [find_pair_lists(s, model.cutoff) for s in systems], "float64")
    energies = np.asarray(graph.sum_structures(eqx.filter_jit(model)(graph)))
    assert len(np.unique(np.round(energies, 6))) == 4


@pytest.mark.parametrize("name", CONFIGS)
def test_single_precision_stays_single_and_agrees(name: str) -> None:
    config = CONFIGS[name]
    system = molecule()
    results = []
    for dtype in ("float32", "float64"):
        model = random_model(config, dtype=dtype)
        energies = eqx.filter_jit(model)(make_graph([system], [find_pair_lists(system, model.cutoff)], dtype))
        assert energies.dtype == dtype
        results.append(np.asarray(energies, np.float64))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4 * np.abs(results[1]).max())


def test_float32_and_float64_start_from_the_same_numbers() -> None:
    a, b = (SO3krates(CONFIGS["article"], key=jax.random.key(3), dtype=d) for d in ("float32", "float64"))
    np.testing.assert_allclose(a.layers[0].attention.query_f, b.layers[0].attention.query_f, rtol=1e-6)
