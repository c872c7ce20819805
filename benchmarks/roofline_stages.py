"""The stages of a step that the roofline measures, each a compiled program that makes many rounds."""

import time
from collections.abc import Callable

import ase
import jax
import jax.numpy as jnp
import numpy as np

from so3krates.evaluation import Topology, evaluate
from so3krates.inference import TOLERANCE
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn.fused import Edges, fused_attention, preferred
from so3krates.nn.tabulated import TabulatedAttention
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

    def attention(self, number: int) -> float:
        """Forward and back; of the kernel alone."""
        attention = self.model.layers[number].attention
        assert isinstance(attention, TabulatedAttention) and attention.kernel is not None
        kernel, config = attention.kernel, self.model.config
        rng = np.random.default_rng(0)
        orders = 0 if attention.starts_at_zero else sum(2 * degree + 1 for degree in config.degrees)
        f, x = (jnp.asarray(rng.normal(size=(self.atoms, n)), "float32") for n in (config.features, orders))
        edges = Edges(self.near.centers, self.near.others, self.near.mask)

        def total(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            delta_f, delta_x = fused_attention(*inputs, edges, kernel)
            return jnp.sum(delta_f * delta_f) + jnp.sum(delta_x * delta_x)

        def one(vectors: jax.Array) -> jax.Array:
            back_f, back_x, back = jax.grad(total)((f, x, vectors))
            return vectors + TINY * (back + jnp.sum(back_f) + jnp.sum(back_x))

        return per_round(one, self.near.vectors)


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
