"""Precision is an argument: scopes that leave no trace."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates._precision import checked_dtype, precision_scope


def test_float64_exists_inside_the_scope_and_the_setting_comes_back() -> None:
    with jax.enable_x64(False):
        assert jnp.asarray(1.0).dtype == jnp.float32
        with precision_scope("float64"):
            assert jnp.zeros(3, jnp.float64).dtype == jnp.float64
        assert jnp.asarray(1.0).dtype == jnp.float32
        with pytest.raises(ZeroDivisionError), precision_scope("float64"):
            raise ZeroDivisionError
        assert not jax.config.jax_enable_x64


def test_scope_of_float32_changes_nothing() -> None:
    before = jax.config.jax_enable_x64
    with precision_scope("float32"):
        assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("dtype", ["float32", np.float64, np.dtype("float64"), jnp.float32])
def test_accepts_every_spelling(dtype: object) -> None:
    assert checked_dtype(dtype) == np.dtype(dtype)  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", ["float16", "int32", "double precision", "bfloat16", 3.5])
def test_refuses_others(dtype: object) -> None:
    with pytest.raises(InputError, match="dtype"):
        checked_dtype(dtype)


def test_making_and_evaluating_float64_models_changes_no_setting() -> None:
    """In a fresh interpreter without the settings of the tests."""
    program = """
import jax, numpy as np
before = {k: v for k, v in jax.config.values.items() if isinstance(v, (bool, str, int, type(None)))}
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.model import ModelConfig, SO3krates
model = SO3krates(ModelConfig(features=12), key=jax.random.key(0), dtype="float64")
assert Potential(model).dtype == np.float64
assert Potential(LennardJones(0.01, 3.0, 8.0)).astype("float64").dtype == np.float64
potential = Potential(LennardJones(0.01, 3.0, 8.0, dtype="float64"))
assert potential.dtype == np.float64
energy = potential.energy(System(np.array([[0.0, 0, 0], [3.3, 0, 0]]), np.array([18, 18])))
r6 = (3.0 / 3.3) ** 6
assert abs(energy - 4 * 0.01 * (r6 * r6 - r6)) < 1e-15, energy
after = {k: v for k, v in jax.config.values.items() if k in before}
assert after == before, (before, after)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
