"""Fresh parameters: nothing begins dead and nothing runs away, whatever the basis, in a molecule and in a liquid."""

import ase.build
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.lattice.cubic import FaceCenteredCubic

from so3krates._typing import Array
from so3krates.graph import Graph, make_graph
from so3krates.model import Details, ModelConfig, SO3krates
from so3krates.neighbors.host import find_pair_lists
from so3krates.nn.degrees import invariants
from so3krates.nn.radial import RADIAL_BASES
from so3krates.system import System


def molecule() -> System:
    return System.from_ase(ase.build.molecule("CH3CH2OH"))


def liquid() -> System:
    """Argon atoms at the number density of water's atoms, shaken: fifty neighbours within 5 Å."""
    atoms = FaceCenteredCubic("Ar", latticeconstant=3.4, size=(3, 3, 3))
    atoms.rattle(0.3, seed=1)
    return System.from_ase(atoms)


OPTIONS = {
    **{basis: {"radial_basis": basis} for basis in RADIAL_BASES},
    "mean neighbours": {"attention_scale": "mean_neighbors"},
    "no divisor": {"attention_scale": "none"},
    "start at neighbours": {"euclidean_start": "neighbors"},
    "charge and spin": {"charge_embedding": True, "spin_embedding": True},
    "norms": {"attention_norm": True, "residual_mlp": True, "exchange_norm": True},
}


def size(values: Array) -> float:
    return float(jnp.sqrt(jnp.mean(values * values)))


@pytest.mark.parametrize("system", [molecule(), liquid()], ids=["molecule", "liquid"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_part_of_the_network_begins_alive_and_bounded(options: dict, seed: int, system: System) -> None:
    pairs = find_pair_lists(system, 5.0)
    config = ModelConfig(**options, mean_neighbors=2.0 * len(pairs.near.centers) / len(system))
    model = SO3krates(config, key=jax.random.key(seed))
    graph = make_graph([system], [pairs], "float32")
    details: Details = eqx.filter_jit(SO3krates.details)(model, graph)
    atoms, real = np.asarray(graph.atom_mask), np.asarray(graph.pair_mask)
    # A divisor larger than the usual one makes for smaller coefficients; that is what it is for.
    usual = config.attention_scales()[0] * np.sqrt(config.features / config.heads)
    for coefficients in details.attention:
        assert 1e-3 * min(usual, 1.0) < size(coefficients.features_to_centers[real]) < 0.5
        assert 1e-3 * min(usual, 1.0) < size(coefficients.euclidean_to_centers[real]) < 0.5
    assert 0.3 < size(details.features[atoms]) < 2.0
    assert 1e-2 * min(usual, 1.0) < size(details.euclidean[atoms]) < 1.0
    # What turns the filters by orientation; the square of a small number where Euclidean variables are too small.
    assert 1e-4 < size(compared(details.euclidean, graph, config)[real]) < 10.0
    assert abs(float(details.energies.sum())) < 0.5 * len(system)


def compared(x: Array, graph: Graph, config: ModelConfig) -> Array:
    """Invariants of the differences of Euclidean variables: the input of the Euclidean filter."""
    return invariants(x[graph.others] - x[graph.centers], config.degrees)
