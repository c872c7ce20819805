"""The compiled kernel against the same layers in JAX: features, derivatives, every option, hostile graphs."""

from copy import copy
from dataclasses import replace
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.models import CONFIGS, random_model

from so3krates import InputError, testing
from so3krates._precision import precision_scope
from so3krates.graph import Graph, make_graph
from so3krates.inference import for_inference
from so3krates.model import ModelConfig, SO3krates
from so3krates.neighbors.host import find_pair_lists
from so3krates.nn import fused
from so3krates.nn.fused import Variant, variants
from so3krates.potential import Potential
from so3krates.system import System

VARIANTS = [variant.name for variant in variants()]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
WIDE = ModelConfig(features=132, layers=2, heads=4, cutoff=3.5)
INVARIANT = ModelConfig(features=132, layers=1, heads=1, degrees=(0,), cutoff=3.5)
"""Chunks so wide that they are cut into several runs."""
ALL = {**CONFIGS, "wide": WIDE, "one wide chunk": INVARIANT}

pytestmark = pytest.mark.skipif(not VARIANTS, reason="installed without a compiler, so there is no kernel")


def variant_called(name: str) -> Variant:
    return next(variant for variant in variants() if variant.name == name)


@cache
def fast_network(name: str, dtype: str, variant: str) -> SO3krates:
    with precision_scope(dtype):
        model = random_model(ALL[name], dtype=dtype).tabulated(1e-3, variant_called(variant))
    assert model.fused is not None
    return model


class Hostile:
    """Atoms and pairs without any order: pairs of an atom with itself, repeated pairs, lonely atoms, pairs beyond the
    cutoff, padding of zeros among them. Atoms of so many types begin with the same features."""

    def __init__(self, seed: int, atoms: int, pairs: int, cutoff: float, masked: float, types: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.atoms = atoms
        self.type = rng.integers(0, types, size=atoms)
        self.mask = rng.random(pairs) >= masked
        directions = rng.normal(size=(pairs, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.vectors = directions * rng.uniform(0.3, 1.1 * cutoff, size=(pairs, 1)) * self.mask[:, None]
        self.centers = rng.integers(0, max(atoms - 1, 1), size=pairs) * self.mask
        self.others = rng.integers(0, max(atoms - 1, 1), size=pairs) * self.mask

    def graph(self, dtype: str, inference: bool) -> Graph:
        return Graph(
            vectors=jnp.asarray(self.vectors, dtype),
            centers=jnp.asarray(self.centers, jnp.int32),
            others=jnp.asarray(self.others, jnp.int32),
            pair_mask=jnp.asarray(self.mask),
            numbers=jnp.ones(self.atoms, jnp.int32),
            atom_mask=jnp.ones(self.atoms, bool),
            structure=jnp.zeros(self.atoms, jnp.int32),
            charge=jnp.zeros(1, dtype),
            unpaired=jnp.zeros(1, dtype),
            purpose="inference" if inference else "any",
        )


@eqx.filter_jit
def with_derivatives(network, f, x, graph, weights):  # type: ignore[no-untyped-def]
    """Final f and x, and the gradient of a weighted sum of them with respect to the first x and the vectors."""

    def total(inputs):  # type: ignore[no-untyped-def]
        x, vectors = inputs
        moved = replace(graph, vectors=vectors)
        if graph.inference:
            found = network.fused(f, x, moved)
        else:
            geometry, found = network._geometry(moved), (f, x)
            for layer in network.layers:
                found = layer(*found, geometry, moved)[:2]
        return sum(jnp.sum(w * each) for w, each in zip(weights, found, strict=True)), found

    gradient, found = jax.grad(total, has_aux=True)((x, graph.vectors))
    return found, gradient


def random_inputs(name: str, hostile: Hostile, dtype: str) -> tuple:
    """f, x where it is not zero at the start, and weights of the final ones."""
    config, rng = ALL[name], np.random.default_rng(3)
    orders = sum(2 * degree + 1 for degree in config.degrees)
    f = 0.5 * rng.normal(size=(hostile.type.max() + 1, config.features))[hostile.type]
    x = None if config.euclidean_start == "zero" else jnp.asarray(rng.normal(size=(hostile.atoms, orders)), dtype)
    weights = (rng.normal(size=(hostile.atoms, size)) for size in (config.features, orders))
    return jnp.asarray(f, dtype), x, tuple(jnp.asarray(each, dtype) for each in weights)


def assert_close(found: object, expected: object, dtype: str) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        scale = float(np.abs(np.asarray(b)).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-30))


def compare(name: str, dtype: str, hostile: Hostile, chosen: list[str] = VARIANTS) -> None:
    """All variants of the kernel with one evaluation in JAX."""
    f, x, weights = random_inputs(name, hostile, dtype)
    graph = hostile.graph(dtype, True)
    found = {each: with_derivatives(fast_network(name, dtype, each), f, x, graph, weights) for each in chosen}
    # The reference in double precision: what single precision loses on the way is not the kernel's to repeat.
    network = fast_network(name, dtype, chosen[0])
    wide = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float64) if eqx.is_inexact_array(a) else a,
        (eqx.tree_at(lambda model: model.fused, network, None), f, x, hostile.graph(dtype, False), weights),
    )
    expected = with_derivatives(*wide)
    for variant in chosen:
        assert_close(found[variant], expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("types", [3, 13])
@pytest.mark.parametrize("name", ALL)
def test_layers_and_their_derivatives_are_those_of_jax(name: str, types: int, dtype: str) -> None:
    """With few types of atoms, and with more than the first layer's tables are made for."""
    compare(name, dtype, Hostile(1, atoms=26, pairs=130, cutoff=ALL[name].cutoff, masked=0.2, types=types))


@pytest.mark.parametrize(
    ("atoms", "pairs", "masked"), [(1, 0, 0.0), (1, 1, 0.0), (2, 1, 0.0), (3, 5, 1.0), (2, 600, 0.0)]
)
def test_the_smallest_graphs_and_three_hundred_neighbors(atoms: int, pairs: int, masked: float) -> None:
    compare("so3lr", "float64", Hostile(2, atoms, pairs, CONFIGS["so3lr"].cutoff, masked))


@given(
    seed=st.integers(0, 2**31),
    atoms=st.sampled_from([1, 2, 17]),
    pairs=st.sampled_from([0, 1, 25, 96]),
    masked=st.sampled_from([0.0, 0.3, 0.9]),
    types=st.sampled_from([1, 4, 17]),
)
@settings(max_examples=25, deadline=None)
def test_any_graph(seed: int, atoms: int, pairs: int, masked: float, types: int) -> None:
    compare("article", "float64", Hostile(seed, atoms, pairs, CONFIGS["article"].cutoff, masked, types), VARIANTS[:1])


def test_several_parts_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """More parts than threads, too: sums do not depend on who computes them."""
    monkeypatch.setattr(fused, "cores", lambda: 5)
    monkeypatch.setattr(fused, "PAIRS_PER_PART", 16)
    jax.clear_caches()
    compare("wide", "float64", Hostile(4, atoms=60, pairs=400, cutoff=WIDE.cutoff, masked=0.1), VARIANTS[:1])
    jax.clear_caches()


@pytest.mark.parametrize("types", [3, 200])
def test_repeated_calls_are_equal_bit_for_bit(types: int) -> None:
    network = fast_network("wide", "float32", VARIANTS[0])
    hostile = Hostile(5, atoms=200, pairs=3000, cutoff=WIDE.cutoff, masked=0.1, types=types)
    f, x, weights = random_inputs("wide", hostile, "float32")
    graph = hostile.graph("float32", True)
    first = with_derivatives(network, f, x, graph, weights)
    for _ in range(20):
        again = with_derivatives(network, f, x, graph, weights)
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(first), strict=True):
            np.testing.assert_array_equal(a, b)


def test_padding_changes_no_bit_of_the_first_layer() -> None:
    """Padded atoms have features of their own, which are no type: with eight elements there is no room for another."""
    network = fast_network("article", "float64", VARIANTS[0])
    hostile = Hostile(7, atoms=40, pairs=160, cutoff=CONFIGS["article"].cutoff, masked=0.0, types=8)
    assert len(set(hostile.type)) == 8
    f, x, weights = random_inputs("article", hostile, "float64")
    graph = hostile.graph("float64", True)
    alone = with_derivatives(network, f, x, graph, weights)
    more = jnp.arange(3, dtype=f.dtype)[:, None] + jnp.zeros((3, f.shape[1]))
    padded = replace(
        graph,
        numbers=jnp.concatenate([graph.numbers, jnp.zeros(3, jnp.int32)]),
        atom_mask=jnp.concatenate([graph.atom_mask, jnp.zeros(3, bool)]),
        structure=jnp.concatenate([graph.structure, jnp.zeros(3, jnp.int32)]),
    )
    weights = tuple(jnp.concatenate([each, jnp.zeros((3, each.shape[1]))]) for each in weights)
    (f_padded, x_padded), gradient = with_derivatives(network, jnp.concatenate([f, more]), x, padded, weights)
    np.testing.assert_array_equal(f_padded[:40], alone[0][0])
    np.testing.assert_array_equal(x_padded[:40], alone[0][1])
    np.testing.assert_array_equal(gradient[1], alone[1][1])


def test_types_are_found_once_before_a_loop() -> None:
    """The first layer's tables cost as much as a step of a small molecule; they do not change while atoms move."""
    network = fast_network("article", "float64", VARIANTS[0])
    hostile = Hostile(8, atoms=9, pairs=30, cutoff=CONFIGS["article"].cutoff, masked=0.0)
    f, _, weights = random_inputs("article", hostile, "float64")
    arrays, rest = eqx.partition((network, f, hostile.graph("float64", True), weights), eqx.is_array)

    def steps(arrays):  # type: ignore[no-untyped-def]
        network, f, graph, weights = eqx.combine(arrays, rest)

        def step(_, vectors):  # type: ignore[no-untyped-def]
            moved = replace(graph, vectors=vectors)
            return vectors - 1e-3 * with_derivatives(network, f, None, moved, weights)[1][1]

        return jax.lax.fori_loop(0, 5, step, graph.vectors)

    computation, where = "", {}
    for line in jax.jit(steps).lower(arrays).compile().as_text().splitlines():
        if line.endswith("{") and not line.startswith(" "):
            computation = line.split()[0]
        for name in ("so3krates_types_f64", "so3krates_layers_f64", "so3krates_layers_back_f64"):
            if f'custom_call_target="{name}"' in line:
                where[name] = computation
    assert where.pop("so3krates_types_f64") == "ENTRY"
    assert len(where) == 2 and "ENTRY" not in where.values()


def methane(seed: int) -> System:
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    return System(corners + rng.normal(scale=0.05, size=(5, 3)), np.array([6, 1, 1, 1, 1]))


def test_batches_of_replicas_are_what_each_is_alone() -> None:
    model = for_inference(random_model(CONFIGS["article"]), 1e-4)
    systems = [methane(seed) for seed in range(4)]
    graphs = [
        replace(make_graph([s], [find_pair_lists(s, model.cutoff)], "float64"), purpose="inference") for s in systems
    ]
    graphs = [jax.tree.map(jnp.asarray, graph) for graph in graphs]
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *graphs)
    forces = jax.grad(lambda vectors, graph: jnp.sum(model(replace(graph, vectors=vectors))))
    batched = jax.jit(jax.vmap(forces))(stacked.vectors, stacked)
    for n, graph in enumerate(graphs):
        np.testing.assert_allclose(batched[n], forces(graph.vectors, graph), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["article", pytest.param("so3lr", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_potentials_with_the_kernel_are_physical(name: str, dtype: str) -> None:
    potential = Potential(random_model(CONFIGS[name], dtype=dtype), tolerance=1e-4)
    crystal = System(
        np.array([[0.1, 0.2, 0.3], [1.2, 1.0, 1.9]]),
        np.array([11, 17]),
        np.array([[3.1, 0.2, 0.0], [0.5, 3.4, -0.3], [0.1, 0.4, 4.0]]),
        (True, True, True),
    )
    testing.assert_potential_is_physical(potential, [methane(0), crystal])


@pytest.mark.parametrize("name", CONFIGS)
def test_forces_change_by_less_than_the_tolerance(name: str) -> None:
    exact = Potential(random_model(CONFIGS[name]))
    fast = replace(exact, tolerance=1e-3)
    assert fast.fast is not exact.fast
    for seed in range(5):
        (one,), (other,) = exact.predict([methane(seed)]), fast.predict([methane(seed)])
        assert 0.0 < np.abs(one.forces - other.forces).max() < 1e-3
        assert abs(one.energy - other.energy) < 1e-3


def test_without_a_kernel_the_same_runs_in_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Potential(random_model(CONFIGS["article"]))
    with_kernel = replace(exact, tolerance=1e-4).predict([methane(1)])[0]
    monkeypatch.setattr("so3krates.inference.preferred", lambda: None)
    without = replace(exact, tolerance=1e-4)
    assert without.fast.fused is None  # type: ignore[union-attr]
    prediction = without.predict([methane(1)])[0]
    np.testing.assert_allclose(prediction.forces, with_kernel.forces, rtol=0, atol=1e-12)
    assert prediction.energy == pytest.approx(with_kernel.energy, abs=1e-12)


def test_hessians_take_the_network_itself() -> None:
    exact = Potential(random_model(CONFIGS["article"]))
    np.testing.assert_array_equal(replace(exact, tolerance=1e-2).hessian(methane(2)), exact.hessian(methane(2)))


@pytest.mark.parametrize("tolerance", [0.0, -1e-4, float("nan")])
def test_a_tolerance_must_be_positive(tolerance: float) -> None:
    with pytest.raises(InputError, match="positive"):
        for_inference(random_model(CONFIGS["article"]), tolerance)


def test_derivatives_with_respect_to_parameters_are_no_numbers() -> None:
    """The kernel has none: training with it by mistake must not pass unnoticed."""
    fast = for_inference(random_model(CONFIGS["article"]), 1e-4)
    graph = jax.tree.map(jnp.asarray, make_graph([methane(4)], [find_pair_lists(methane(4), fast.cutoff)], "float64"))
    gradient = eqx.filter_jit(eqx.filter_grad(lambda model: jnp.sum(model(replace(graph, purpose="inference")))))(fast)
    assert np.isnan(gradient.fused.radial).all()


def test_what_was_sent_to_another_process_is_made_fast_there() -> None:
    """Nothing of this processor's instruction set travels."""
    potential = Potential(random_model(CONFIGS["article"]), tolerance=1e-4)
    forces = potential.predict([methane(5)])[0].forces
    assert "fast" in potential.__dict__ and "fast" not in potential.__getstate__()
    again = copy(potential)
    assert "fast" not in again.__dict__
    np.testing.assert_array_equal(again.predict([methane(5)])[0].forces, forces)


def test_a_kernel_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise ImportError("libstdc++.so.6: version not found")

    monkeypatch.setattr(fused, "import_module", broken)
    found = fused.kernels.__wrapped__()
    assert found.variants == () and "libstdc++" in found.missing


def test_large_arguments_of_silu_stay_finite() -> None:
    """Euclidean variables that run away, to 1e13 in the second layer, saturate the filters' network."""
    network = fast_network("neighbors", "float32", VARIANTS[0])
    hostile = Hostile(6, atoms=9, pairs=40, cutoff=CONFIGS["neighbors"].cutoff, masked=0.0)
    f, x, weights = random_inputs("neighbors", hostile, "float32")
    found, expected = (
        jax.tree.leaves(with_derivatives(network, f, 3.0 * x, hostile.graph("float32", inference), weights))
        for inference in (True, False)
    )
    for own, other in zip(found, expected, strict=True):
        assert np.isfinite(own).all() and np.abs(other).max() > 1e13
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-5 * float(jnp.abs(other).max()))


def test_a_potential_can_be_made_fast_while_a_program_is_traced() -> None:
    potential = Potential(random_model(CONFIGS["article"]), tolerance=1e-4)
    pairs = find_pair_lists(methane(3), potential.cutoff)
    graph = jax.tree.map(jnp.asarray, make_graph([methane(3)], [pairs], "float64"))
    energies = jax.jit(lambda vectors: potential.fast(replace(graph, vectors=vectors, purpose="inference")))(
        graph.vectors
    )
    expected = eqx.filter_jit(potential.fast)(replace(graph, purpose="inference"))
    np.testing.assert_allclose(energies, expected, rtol=1e-14)
