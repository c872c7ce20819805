"""A small argon cluster: cheap, smooth, and with nothing the network could hide."""

from collections.abc import Callable

import numpy as np
import pytest

from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System

EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 9.0


@pytest.fixture
def cluster(rng: np.random.Generator) -> System:
    """Thirteen argon atoms near the sites of a simple cubic lattice."""
    axis = 3.75 * np.arange(3)
    sites = np.stack(np.meshgrid(axis, axis, axis[:2], indexing="ij"), axis=-1).reshape(-1, 3)[:13]
    return System(sites + 0.05 * rng.standard_normal(sites.shape), np.full(13, 18))


@pytest.fixture
def argon() -> Callable[[str], Potential]:
    return lambda dtype: Potential(LennardJones(EPSILON, SIGMA, CUTOFF, dtype=dtype))
