"""The compiled kernel for training against the form that XLA compiles, and against differences of losses."""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from oracles.models import CONFIGS, random_model

from so3krates import System
from so3krates._precision import precision_scope
from so3krates.derivatives import energies_and_forces
from so3krates.graph import Graph, Kinds, Sizes, make_graph
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn import fused, trained_pairs
from so3krates.nn.fused import preferred, variants
from so3krates.potential import Potential

pytestmark = pytest.mark.skipif(preferred() is None, reason="there is no compiled kernel for this device")

RARE = (
    "invariant",
    "neighbors",
    "embedded charge",
    "high degrees",
    "narrow chunks",
    "one wide chunk",
    "wide",
    "charges and ratios",
)
RELATIVE = {"float64": 1e-11, "float32": 2e-4}
ALL = {
    **CONFIGS,
    "wide": ModelConfig(features=132, layers=2, heads=4, cutoff=3.5),
    "embedded charge": ModelConfig(
        features=24, layers=2, heads=4, radial_functions=8, cutoff=4.0, charge_embedding=True
    ),
    "charges and ratios": ModelConfig(
        features=24, layers=2, heads=4, radial_functions=8, cutoff=4.0, charges=True, hirshfeld_ratios=True
    ),
    "narrow chunks": ModelConfig(features=6, layers=3, heads=3, degrees=(1, 2), radial_functions=5, cutoff=4.0),
    "one wide chunk": ModelConfig(features=50, layers=1, heads=1, degrees=(3,), radial_functions=8, cutoff=4.0),
}


CASES = [pytest.param(name, "float64", marks=[pytest.mark.slow] * (name in RARE)) for name in ALL]


def structures(rng: np.random.Generator) -> list[System]:
    """Molecules of several sizes and elements, a lonely atom, and a crystal so small that atoms are neighbours of their
    own images."""
    molecules = [
        System(
            numbers=rng.choice([1, 6, 8], size=count),
            positions=1.3 * count ** (1 / 3) * rng.standard_normal((count, 3)),
            charge=charge,
        )
        for count, charge in ((5, 0.0), (1, 1.0), (7, -1.0))
    ]
    places = np.array([[0.0, 0.0, 0.0], [1.1, 0.9, 1.0]])
    crystal = System(numbers=np.array([6, 1]), positions=places, cell=2.9 * np.eye(3), pbc=(True, True, True))
    return [*molecules, crystal]


def batch(model: SO3krates, rng: np.random.Generator, kinds: int = 4) -> Graph:
    """Padded, as a batch in training is."""
    systems = structures(rng)
    lists = [Potential(model).pair_lists(system) for system in systems]
    sizes = Sizes.of(systems, lists).grown(Sizes(6, 24, 0))._replace(largest=7, kinds=kinds)
    return jax.tree.map(jnp.asarray, make_graph(systems, lists, model.dtype, sizes))


EVERYTHING, FORCES, ENERGIES = (1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def loss(model: SO3krates, graph: Graph, weights: Sequence[float] | jax.Array = EVERYTHING) -> jax.Array:
    result = energies_and_forces(model, graph)
    parts = (result.forces**2, jnp.sin(result.energies), result.virial**2)
    others = [each for each in (result.outputs.charges, result.outputs.hirshfeld_ratios) if each is not None]
    return weights[0] * sum(jnp.sum(each**2) for each in others) + sum(
        weight * jnp.sum(part) for weight, part in zip(weights, parts, strict=True)
    )


def losses_and_gradients(
    model: SO3krates, graph: Graph, kinds_of_loss: Sequence[tuple[float, ...]] = (EVERYTHING,)
) -> list[tuple[np.ndarray, np.ndarray]]:
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    vector, unravel = ravel_pytree(parameters)
    function = jax.jit(jax.value_and_grad(lambda v, weights: loss(eqx.combine(unravel(v), rest), graph, weights)))
    found = (function(vector, jnp.asarray(weights, vector.dtype)) for weights in kinds_of_loss)
    return [(np.asarray(value), np.asarray(gradient)) for value, gradient in found]


def made(name: str, dtype: str = "float64") -> SO3krates:
    with precision_scope(dtype):
        return random_model(ALL[name], dtype=dtype)


Found = list[tuple[np.ndarray, np.ndarray]]


def assert_same(found: Found, expected: Found, relative: float) -> None:
    for (value, gradient), (other_value, other_gradient) in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other_value, rtol=relative)
        largest = np.abs(other_gradient).max()
        np.testing.assert_allclose(gradient, other_gradient, rtol=relative, atol=relative * largest)


@pytest.mark.parametrize(("name", "dtype"), [*CASES, pytest.param("wide", "float32", marks=pytest.mark.slow)])
def test_losses_and_gradients_are_those_of_xla(name: str, dtype: str, rng: np.random.Generator) -> None:
    model, relative = made(name, dtype), RELATIVE[dtype]
    with precision_scope(dtype):
        graph = batch(model, rng)
        of = (EVERYTHING, FORCES, ENERGIES)
        expected = losses_and_gradients(model, graph, of)
        assert_same(losses_and_gradients(model, replace(graph, purpose="training"), of), expected, relative)


@pytest.mark.parametrize("kinds", [3, *(pytest.param(kinds, marks=pytest.mark.slow) for kinds in (0, 9))])
def test_a_first_layer_by_kinds_is_one_by_atoms(kinds: int, rng: np.random.Generator) -> None:
    """Not said, just enough, and with room for more."""
    model = made("article")
    with precision_scope("float64"):
        graph = batch(model, rng, kinds)
        expected = losses_and_gradients(model, graph)
        assert_same(losses_and_gradients(model, replace(graph, purpose="training")), expected, 1e-11)


@pytest.mark.parametrize("name", ["article", pytest.param("so3lr", marks=pytest.mark.slow)])
def test_gradients_are_differences_of_losses(name: str, rng: np.random.Generator) -> None:
    model = made(name)
    with precision_scope("float64"):
        graph = replace(batch(model, rng), purpose="training")
        parameters, rest = eqx.partition(model, eqx.is_inexact_array)
        vector, unravel = ravel_pytree(parameters)
        ((_, gradient),) = losses_and_gradients(model, graph, (FORCES,))
        value = jax.jit(lambda v: loss(eqx.combine(unravel(v), rest), graph, FORCES))
        for _ in range(3):
            direction = rng.normal(size=len(vector))
            direction /= np.linalg.norm(direction)
            steps = [float(value(vector + step * direction)) for step in (1e-4, -1e-4, 5e-5, -5e-5)]
            coarse, fine = (steps[0] - steps[1]) / 2e-4, (steps[2] - steps[3]) / 1e-4
            difference = (4 * fine - coarse) / 3
            assert gradient @ direction == pytest.approx(difference, rel=1e-6, abs=1e-9 * np.linalg.norm(gradient))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_instruction_set(dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("article", dtype)
    with precision_scope(dtype):
        graph = batch(model, rng)
        expected = losses_and_gradients(model, graph)
        for variant in variants():
            monkeypatch.setattr(trained_pairs, "preferred", lambda variant=variant: variant)
            found = losses_and_gradients(model, replace(graph, purpose="training"))
            assert_same(found, expected, RELATIVE[dtype])


def any_graph(seed: int, atoms: int, pairs: int, masked: float) -> Graph:
    """Pairs in no order: of an atom with itself, repeated, beyond the cutoff, and padding among them."""
    rng = np.random.default_rng(seed)
    mask = rng.random(pairs) >= masked
    directions = rng.normal(size=(pairs, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    numbers = rng.choice([1, 6, 8], size=atoms)
    _, examples, kind = np.unique(numbers, return_index=True, return_inverse=True)
    return Graph(
        vectors=jnp.asarray(directions * rng.uniform(0.5, 3.9, size=(pairs, 1)) * mask[:, None]),
        centers=jnp.asarray(rng.integers(0, atoms, size=pairs) * mask, jnp.int32),
        others=jnp.asarray(rng.integers(0, atoms, size=pairs) * mask, jnp.int32),
        pair_mask=jnp.asarray(mask),
        numbers=jnp.asarray(numbers, jnp.int32),
        atom_mask=jnp.ones(atoms, bool),
        structure=jnp.zeros(atoms, jnp.int32),
        charge=jnp.zeros(1),
        unpaired=jnp.zeros(1),
        kinds=Kinds(jnp.asarray(kind, jnp.int32), jnp.asarray(examples, jnp.int32)),
    )


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    atoms=st.sampled_from([1, 12]),
    pairs=st.sampled_from([0, 1, 48, 130, 300]),
    masked=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_any_graph(seed: int, atoms: int, pairs: int, masked: float) -> None:
    model = made("article")
    with precision_scope("float64"):
        graph = any_graph(seed, atoms, pairs, masked)
        expected = losses_and_gradients(model, graph)
        assert_same(losses_and_gradients(model, replace(graph, purpose="training")), expected, 1e-10)


@pytest.mark.slow
def test_parts_add_up_and_repeated_calls_are_equal_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("article")
    with precision_scope("float64"):
        graph = replace(any_graph(3, 12, 700, 0.1), purpose="training")
        found = {}
        for cores in (1, 5):
            monkeypatch.setattr(fused, "cores", lambda cores=cores: cores)
            found[cores] = losses_and_gradients(model, graph)
            again = losses_and_gradients(model, graph)
            for first, second in zip(found[cores][0], again[0], strict=True):
                np.testing.assert_array_equal(first, second)
        assert_same(found[5], found[1], 1e-11)


def test_the_kernel_runs_in_training_alone(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("article", "float32")
    graph = batch(model, rng)

    def calls(purpose: str) -> str:
        return str(jax.make_jaxpr(lambda g: energies_and_forces(model, g).forces)(replace(graph, purpose=purpose)))

    assert "so3krates_trained_back_f32" in calls("training")
    assert "so3krates_trained" not in calls("any")
    monkeypatch.setattr(trained_pairs, "preferred", lambda: None)
    assert "so3krates_trained" not in calls("training")


@pytest.mark.slow
def test_what_training_does_not_ask_for_is_nan(rng: np.random.Generator) -> None:
    """Parameters without forces on the way, and the geometry twice."""
    model = made("one wide chunk")
    with precision_scope("float64"):
        graph = replace(batch(model, rng), purpose="training")
        gradient = eqx.filter_grad(lambda model: jnp.sum(model(graph)))(model)
        assert np.isnan(gradient.layers[0].attention.filter_f.radial.layers[0].weight).all()

        def force(vectors: jax.Array) -> jax.Array:
            return energies_and_forces(model, replace(graph, vectors=vectors)).forces[0, 0]

        assert np.isnan(jax.grad(force)(graph.vectors)).any()
