"""The compiled kernel against the same attention in JAX: messages, derivatives, every option, hostile graphs."""

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
from so3krates.nn.tabulated import TabulatedAttention
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
def attention(name: str, dtype: str, variant: str) -> TabulatedAttention:
    """That of the last layer."""
    with precision_scope(dtype):
        model = random_model(ALL[name], dtype=dtype).tabulated(1e-3, variant_called(variant))
    found = model.layers[-1].attention
    assert isinstance(found, TabulatedAttention) and found.kernel is not None
    return found


class Hostile:
    """Atoms and pairs without any order: pairs of an atom with itself, repeated pairs, lonely atoms, pairs beyond the
    cutoff, padding of zeros among them."""

    def __init__(self, seed: int, atoms: int, pairs: int, cutoff: float, masked: float) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.atoms = atoms
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
            inference=inference,
        )


@eqx.filter_jit
def messages(
    network: SO3krates, own: TabulatedAttention, f: jax.Array, x: jax.Array | None, graph: Graph
) -> tuple[jax.Array, jax.Array]:
    delta_f, delta_x, _ = own(f, x, network._geometry(graph), graph)
    return delta_f, delta_x


@eqx.filter_jit
def with_derivatives(network, own, f, x, graph, weights):  # type: ignore[no-untyped-def]
    def total(inputs):  # type: ignore[no-untyped-def]
        f, x, vectors = inputs
        found = messages(network, own, f, x, replace(graph, vectors=vectors))
        return sum(jnp.sum(w * each) for w, each in zip(weights, found, strict=True)), found

    gradient, found = jax.grad(total, has_aux=True)((f, x, graph.vectors))
    return found, gradient


def assert_close(found: object, expected: object, dtype: str) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        scale = float(np.abs(np.asarray(b)).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-30))


def compare(name: str, dtype: str, hostile: Hostile, chosen: list[str] = VARIANTS) -> None:
    """All variants of the kernel with one evaluation in JAX."""
    config = ALL[name]
    network = random_model(config.model_copy(update={"layers": 1}), dtype=dtype)
    rng = np.random.default_rng(3)
    orders = sum(2 * degree + 1 for degree in config.degrees)
    shape_f, shape_x = (hostile.atoms, config.features), (hostile.atoms, orders)
    f, weight_f = (jnp.asarray(rng.normal(size=shape_f), dtype) for _ in range(2))
    x, weight_x = (jnp.asarray(rng.normal(size=shape_x), dtype) for _ in range(2))
    given = None if attention(name, dtype, chosen[0]).starts_at_zero else x
    found = {
        variant: with_derivatives(
            network, attention(name, dtype, variant), f, given, hostile.graph(dtype, True), (weight_f, weight_x)
        )
        for variant in chosen
    }
    # The reference in double precision: what single precision loses on the way is not the kernel's to repeat.
    wide = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float64) if eqx.is_inexact_array(a) else a, attention(name, dtype, chosen[0])
    )
    f, given, weight_f, weight_x = (
        None if a is None else jnp.asarray(a, jnp.float64) for a in (f, given, weight_f, weight_x)
    )
    graph = hostile.graph(dtype, False)
    graph = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) if eqx.is_inexact_array(a) else a, graph)
    expected = with_derivatives(network, wide, f, given, graph, (weight_f, weight_x))
    for variant in chosen:
        assert_close(found[variant], expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ALL)
def test_messages_and_their_derivatives_are_those_of_jax(name: str, dtype: str) -> None:
    compare(name, dtype, Hostile(1, atoms=13, pairs=70, cutoff=ALL[name].cutoff, masked=0.2))


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
)
@settings(max_examples=25, deadline=None)
def test_any_graph(seed: int, atoms: int, pairs: int, masked: float) -> None:
    compare("article", "float64", Hostile(seed, atoms, pairs, CONFIGS["article"].cutoff, masked), VARIANTS[:1])


def test_several_parts_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """More parts than threads, too: sums do not depend on who computes them."""
    monkeypatch.setattr(fused, "_cores", lambda: 5)
    monkeypatch.setattr(fused, "PAIRS_PER_PART", 16)
    jax.clear_caches()
    compare("wide", "float64", Hostile(4, atoms=60, pairs=400, cutoff=WIDE.cutoff, masked=0.1), VARIANTS[:1])
    jax.clear_caches()


def test_repeated_calls_are_equal_bit_for_bit() -> None:
    own, network = (
        attention("wide", "float32", VARIANTS[0]),
        random_model(WIDE.model_copy(update={"layers": 1}), dtype="float32"),
    )
    hostile = Hostile(5, atoms=200, pairs=3000, cutoff=WIDE.cutoff, masked=0.1)
    rng = np.random.default_rng(0)
    f = jnp.asarray(rng.normal(size=(200, 132)), "float32")
    x = jnp.asarray(rng.normal(size=(200, 15)), "float32")
    graph = hostile.graph("float32", True)
    first = with_derivatives(network, own, f, x, graph, (f, x))
    for _ in range(20):
        again = with_derivatives(network, own, f, x, graph, (f, x))
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(first), strict=True):
            np.testing.assert_array_equal(a, b)


def methane(seed: int) -> System:
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    return System(corners + rng.normal(scale=0.05, size=(5, 3)), np.array([6, 1, 1, 1, 1]))


def test_batches_of_replicas_are_what_each_is_alone() -> None:
    model = for_inference(random_model(CONFIGS["article"]), 1e-4)
    systems = [methane(seed) for seed in range(4)]
    graphs = [replace(make_graph([s], [find_pair_lists(s, model.cutoff)], "float64"), inference=True) for s in systems]
    graphs = [jax.tree.map(jnp.asarray, graph) for graph in graphs]
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *graphs)
    forces = jax.grad(lambda vectors, graph: jnp.sum(model(replace(graph, vectors=vectors))))
    batched = jax.jit(jax.vmap(forces))(stacked.vectors, stacked)
    for n, graph in enumerate(graphs):
        np.testing.assert_allclose(batched[n], forces(graph.vectors, graph), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["article", "so3lr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
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
    assert all(layer.attention.kernel is None for layer in without.fast.layers)  # type: ignore[union-attr]
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
    gradient = eqx.filter_jit(eqx.filter_grad(lambda model: jnp.sum(model(replace(graph, inference=True)))))(fast)
    assert np.isnan(gradient.layers[0].attention.kernel.radial).all()


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
    """Euclidean variables thirty times as large as usual saturate the filters' network."""
    own, network = (
        attention("wide", "float32", VARIANTS[0]),
        random_model(WIDE.model_copy(update={"layers": 1}), dtype="float32"),
    )
    hostile = Hostile(6, atoms=9, pairs=40, cutoff=WIDE.cutoff, masked=0.0)
    rng = np.random.default_rng(1)
    f, x = jnp.asarray(rng.normal(size=(9, 132)), "float32"), jnp.asarray(30 * rng.normal(size=(9, 15)), "float32")
    for graph in (hostile.graph("float32", True), hostile.graph("float32", False)):
        found = with_derivatives(network, own, f, x, graph, (f, x))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_a_potential_can_be_made_fast_while_a_program_is_traced() -> None:
    potential = Potential(random_model(CONFIGS["article"]), tolerance=1e-4)
    pairs = find_pair_lists(methane(3), potential.cutoff)
    graph = jax.tree.map(jnp.asarray, make_graph([methane(3)], [pairs], "float64"))
    energies = jax.jit(lambda vectors: potential.fast(replace(graph, vectors=vectors, inference=True)))(graph.vectors)
    expected = eqx.filter_jit(potential.fast)(replace(graph, inference=True))
    np.testing.assert_allclose(energies, expected, rtol=1e-14)
