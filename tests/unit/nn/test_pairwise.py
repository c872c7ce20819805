"""The form of attention that training differentiates twice, against the one that is differentiated once."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from so3krates import System
from so3krates._errors import InputError
from so3krates._precision import precision_scope
from so3krates.derivatives import energies_and_forces
from so3krates.graph import Graph, Sizes, make_graph
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn import pairwise
from so3krates.potential import Potential

CONFIG = ModelConfig(features=24, layers=2, heads=4, degrees=(1, 2, 3), radial_functions=8, cutoff=4.0)


def structures(rng: np.random.Generator) -> list[System]:
    """Molecules of several sizes, and a crystal so small that atoms are neighbours of their own images."""
    molecules = [
        System(numbers=np.full(count, 6), positions=1.3 * count ** (1 / 3) * rng.standard_normal((count, 3)))
        for count in (5, 2, 7)
    ]
    places = np.array([[0.0, 0.0, 0.0], [1.1, 0.9, 1.0]])
    crystal = System(numbers=np.array([6, 1]), positions=places, cell=2.9 * np.eye(3), pbc=(True, True, True))
    return [*molecules, crystal]


def loss_and_gradient(model: SO3krates, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    vector, unravel = ravel_pytree(parameters)

    @jax.jit
    def loss(vector: jax.Array) -> jax.Array:
        result = energies_and_forces(eqx.combine(unravel(vector), rest), graph)
        return jnp.sum(result.forces**2) + jnp.sum(jnp.sin(result.energies)) + jnp.sum(result.virial**2)

    value, gradient = jax.value_and_grad(loss)(vector)
    return np.asarray(value), np.asarray(gradient)


@pytest.mark.parametrize(
    ("largest", "dense"),
    [(0, True), *(pytest.param(each, True, marks=pytest.mark.slow) for each in (7, 12)), (12, False)],
)
def test_losses_and_their_gradients_are_those_of_the_other_form(
    largest: int, dense: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise, "DENSE_PER_PAIR", 32 if dense else 0)
    systems = structures(rng)
    with precision_scope("float64"):
        model = SO3krates(CONFIG, key=jax.random.key(1), dtype="float64")
        potential = Potential(model)
        lists = [potential.pair_lists(system) for system in systems]
        sizes = Sizes.of(systems, lists).grown(Sizes(6, 24, 0))._replace(largest=largest)
        graph = jax.tree.map(jnp.asarray, make_graph(systems, lists, "float64", sizes))
        value, gradient = loss_and_gradient(model, graph)
        expected, expected_gradient = loss_and_gradient(model, replace(graph, purpose="inference"))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12 * np.abs(expected_gradient).max())


def test_a_structure_larger_than_is_said_is_refused(rng: np.random.Generator) -> None:
    systems = structures(rng)
    potential = Potential(SO3krates(CONFIG, key=jax.random.key(1)))
    lists = [potential.pair_lists(system) for system in systems]
    with pytest.raises(InputError, match="7 atoms does not fit"):
        make_graph(systems, lists, "float32", Sizes.of(systems, lists)._replace(largest=6))
