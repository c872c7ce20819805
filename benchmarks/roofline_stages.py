"""The stages of a step that the roofline measures, each a compiled program that makes many rounds."""

import time
from collections.abc import Callable
from dataclasses import fields, replace

import ase
import jax
import jax.numpy as jnp
import numpy as np

from so3krates.evaluation import Topology, evaluate
from so3krates.graph import Graph
from so3krates.inference import TOLERANCE
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn.fused import FusedLayers, preferred
from so3krates.potential import Potential
from so3krates.system import System

ROUNDS, SAMPLES = 20, 9
TINY = 1e-30
"""Makes a round depend on the one before and changes no position."""


class Stages:
    """The article's model with random parameters on one structure; methods give seconds for a round."""

    def __init__(self, atoms: ase.Atoms) -> None:
        system = System.from_ase(atoms)
        self.potential = Potential(SO3krates(ModelConfig(), key=jax.random.key(0)), tolerance=TOLERANCE)
        model = self.potential.fast
        assert isinstance(model, SO3krates)
        self.model = model
        self.neighbors = self.potential.allocate(system)
        self.topology = Topology.of(system, "float32")
        self.positions = jnp.asarray(system.positions, "float32")
        self.cell = None if system.cell is None else jnp.asarray(system.cell, "float32")
        self.near = jax.jit(lambda x: self.neighbors.update(x, self.cell).near)(self.positions)
        self.atoms, self.pairs = len(system), int(jnp.sum(self.near.mask))
        self.graph = Graph(
            vectors=self.near.vectors,
            centers=self.near.centers,
            others=self.near.others,
            pair_mask=self.near.mask,
            numbers=self.topology.numbers,
            atom_mask=jnp.ones(self.atoms, bool),
            structure=jnp.zeros(self.atoms, jnp.int32),
            charge=self.topology.charge[None],
            unpaired=self.topology.unpaired[None],
            purpose="inference",
        )
        variant = preferred()
        self.kernel = "none" if variant is None else variant.name

    def search(self) -> float:
        def one(positions: jax.Array) -> jax.Array:
            near = self.neighbors.update(positions, self.cell).near
            return positions + TINY * (jnp.sum(near.vectors) + jnp.sum(near.centers.astype("float32")))

        return per_round(one, self.positions)

    def evaluate(self) -> float:
        def one(positions: jax.Array) -> jax.Array:
            found = evaluate(self.model, self.topology, self.neighbors, positions, self.cell)
            return positions + TINY * found.forces

        return per_round(one, self.positions)

    def layers(self, count: int) -> float:
        """The first layers, forward and back; of the kernel alone."""
        assert self.model.fused is not None
        fused = _first(self.model.fused, count)
        features = self.model._features(self.graph)

        def total(vectors: jax.Array) -> jax.Array:
            f, x = fused(features, None, replace(self.graph, vectors=vectors))
            return jnp.sum(f * f) + jnp.sum(x * x)

        return per_round(lambda vectors: vectors + TINY * jax.grad(total)(vectors), self.near.vectors)


def _first(fused: FusedLayers, count: int) -> FusedLayers:
    shared = ("knots", "cutoff", "shape")
    own = {each.name: getattr(fused, each.name)[:count] for each in fields(fused) if each.name not in shared}
    return replace(fused, **own, shape=fused.shape._replace(layers=count))


def per_round(one: Callable[[jax.Array], jax.Array], start: jax.Array) -> float:
    """Seconds; the median of several samples."""
    rounds = jax.jit(lambda x: jax.lax.fori_loop(0, ROUNDS, lambda _, x: one(x), x))
    return median_seconds(lambda: jax.block_until_ready(rounds(start))) / ROUNDS


def median_seconds(work: Callable[[], object]) -> float:
    """Of several calls, after one that compiles."""
    work()
    times = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
