"""Compiled evaluations on padded graphs, and derivatives of weighted energies and forces."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._precision import precision_scope
from so3krates._typing import Array, Float
from so3krates.derivatives import GraphResult, compiled, energies_and_forces
from so3krates.graph import Geometry, Graph, Sizes, make_graph
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Term


def _weighted_derivatives(
    term: Term, graph: Graph, energy_weights: Float[Array, " atoms"], force_weights: Float[Array, "atoms 3"]
) -> tuple[Term, Geometry]:
    """Gradient of Σ w_i E_i + Σ c_i·F_i with respect to parameters and geometry."""
    parameters, rest = eqx.partition(term, eqx.is_inexact_array)

    def value(parameters: Term, geometry: Geometry) -> Float[Array, ""]:
        result = energies_and_forces(eqx.combine(parameters, rest), graph.with_geometry(geometry))
        return jnp.sum(energy_weights * result.energies) + jnp.sum(force_weights * result.forces)

    return jax.grad(value, argnums=(0, 1))(parameters, graph.geometry)


# Run a few times only, so compiling quickly matters more than running quickly.
_compiled_derivatives = eqx.filter_jit(  # type: ignore[call-overload]
    _weighted_derivatives, compiler_options={"xla_backend_optimization_level": 0}
)


def parameter_and_vector_gradients(
    potential: Potential, graph: Graph, energy_weights: np.ndarray, force_weights: np.ndarray
) -> tuple[Term, Geometry]:
    with precision_scope(potential.dtype):
        return jax.device_get(_compiled_derivatives(potential.model, graph, energy_weights, force_weights))


def vector_gradient(
    potential: Potential, graph: Graph, energy_weights: np.ndarray, force_weights: np.ndarray
) -> Geometry:
    return parameter_and_vector_gradients(potential, graph, energy_weights, force_weights)[1]


def padded_graph(potential: Potential, systems: list[System], sizes: Sizes) -> Graph:
    return make_graph(systems, [potential.find_pairs(s) for s in systems], potential.dtype, sizes)


def evaluated(potential: Potential, graph: Graph) -> GraphResult:
    with precision_scope(potential.dtype):
        return jax.device_get(compiled(potential.fast, replace(graph, purpose="inference")))
