"""Repulsion of screened nuclei against the textbook formula."""

import equinox as eqx
import jax
import numpy as np
import pytest

from so3krates import testing
from so3krates.physics.zbl import ZBL
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.testing.evaluation import padded_graph

ZBL_TABLE = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""Coefficients and exponents of the universal screening function (Ziegler, Biersack, Littmark 1985)."""


def pair(z: tuple[int, int], r: float) -> System:
    return System(np.array([[0.0, 0.0, 0.0], [0.6 * r, 0.0, 0.8 * r]]), np.array(z))


def universal(z: tuple[int, int], r: float) -> float:
    """k_e Z Z′/r Φ(r/a), a = 0.8854 a₀/(Z^0.23 + Z′^0.23), eV."""
    x = r * (z[0] ** 0.23 + z[1] ** 0.23) / (0.8854 * 0.5291772105638411)
    screening = sum(c * np.exp(-a * x) for c, a in ZBL_TABLE) / sum(c for c, _ in ZBL_TABLE)
    return 14.399645351950548 * z[0] * z[1] / r * screening


@pytest.mark.parametrize("z", [(1, 1), (6, 8), (17, 1)])
@pytest.mark.parametrize("r", [0.1, 0.4, 0.9, 1.3])
def test_universal_potential_times_its_switches(z: tuple[int, int], r: float) -> None:
    c = r / 1.5
    step = np.exp(-1 / (1 - c)) / (np.exp(-1 / (1 - c)) + np.exp(-1 / c))
    u = r / 4.0
    cutoff = 1 - 6 * u**5 + 15 * u**4 - 10 * u**3
    energy = Potential(ZBL(4.0, "polynomial", dtype="float64")).energy(pair(z, r))
    assert energy == pytest.approx(universal(z, r) * step * cutoff, rel=1e-12)


def test_nothing_is_left_beyond_its_reach() -> None:
    energy, forces = Potential(ZBL(4.0, dtype="float64")).energy_and_forces(pair((6, 6), 1.5))
    assert energy == 0.0
    np.testing.assert_array_equal(forces, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_physical(dtype: str) -> None:
    squeezed = System(
        np.array([[0.0, 0.0, 0.0], [0.7, 0.2, 0.1], [-0.3, 0.8, 0.1], [0.2, 0.3, -0.9]]), np.array([8, 1, 6, 1])
    )
    crystal = System(
        np.array([[0.1, 0.0, 0.2], [0.8, 0.7, 0.9]]),
        np.array([11, 17]),
        np.array([[1.4, 0.2, 0.1], [0.3, 1.5, 0.2], [0.1, -0.4, 1.6]]),
        (True, True, True),
    )
    testing.assert_potential_is_physical(Potential(ZBL(3.0, "cosine", dtype=dtype)), [squeezed, crystal])


def test_every_constant_is_trainable() -> None:
    model = ZBL(4.0, dtype="float64")
    potential = Potential(model)
    systems = [pair((6, 8), 0.8)]
    graph = padded_graph(potential, systems, testing.room(potential, systems))
    gradient = eqx.filter_jit(jax.grad(lambda term, graph: term(graph).sum()))(model, graph)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.asarray(leaf) != 0.0)
