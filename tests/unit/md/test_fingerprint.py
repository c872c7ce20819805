"""Whether a potential is the one a run began with."""

import subprocess
import sys
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates.md import fingerprint
from so3krates.md.fingerprint import potential_hash
from so3krates.model import ModelConfig, SO3krates
from so3krates.physics.lennard_jones import LennardJones
from so3krates.physics.zbl import ZBL
from so3krates.potential import Potential
from so3krates.term import Sum

SMALL = ModelConfig(features=8, layers=1, heads=2, degrees=(1, 2), cutoff=4.0)


def network(config: ModelConfig = SMALL) -> Potential:
    return Potential(Sum((SO3krates(config, key=jax.random.key(0)), ZBL(config.cutoff))))


def test_the_same_potential_made_twice_is_one() -> None:
    assert potential_hash(network()) == potential_hash(network())


def test_the_smallest_change_of_a_parameter_is_another_potential(argon: Callable[[str], Potential]) -> None:
    model = argon("float64").model
    above = eqx.tree_at(lambda each: each.sigma, model, jnp.nextafter(model.sigma, jnp.inf))
    assert potential_hash(Potential(above)) != potential_hash(argon("float64"))


@pytest.mark.parametrize("change", [{"cutoff": 4.5}, {"cutoff_function": "polynomial"}, {"heads": 4}])
def test_another_setting_is_another_potential(change: dict) -> None:
    assert potential_hash(network(SMALL.model_copy(update=change))) != potential_hash(network())


def test_what_is_not_a_parameter_counts(argon: Callable[[str], Potential]) -> None:
    model = LennardJones(0.0104, 3.4, 8.9, dtype="float64")
    assert potential_hash(Potential(model)) != potential_hash(argon("float64"))


def test_exact_and_tabulated_inference_are_two() -> None:
    exact = network()
    assert potential_hash(Potential(exact.model, tolerance=1e-5)) != potential_hash(exact)


class Own(eqx.Module):
    """Of somebody's own, with everything a field may be."""

    factors: dict[str, jax.Array]
    shape: Callable = eqx.field(static=True)
    mark: object = eqx.field(static=True)
    name: str = eqx.field(static=True, default="own")
    cutoff: float = eqx.field(static=True, default=4.0)


def test_fields_of_every_kind_are_told_apart_and_no_address_is_among_them() -> None:
    def parts(shape: Callable = jnp.exp, mark: object = None, factor: float = 1.0) -> list[bytes]:
        own = Own({"b": jnp.asarray(factor), "a": np.zeros(2)}, shape, mark)  # type: ignore[arg-type]
        return list(fingerprint._parts(own, "model"))

    assert parts() == parts()
    assert parts(mark=object()) == parts(mark=object())
    assert parts(jnp.sin) != parts()
    assert parts(factor=2.0) != parts()
    assert parts(mark=(1, 2)) != parts(mark=(2, 1))
    assert parts(jax.tree_util.Partial(jnp.power, 2)) != parts(jax.tree_util.Partial(jnp.power, 3))


def test_nothing_of_jax_is_in_it() -> None:
    """Its text for trees is its own, and may be another in the next version."""
    names = b"\n".join(part for part in fingerprint._parts(network().model, "model") if part.startswith(b"model"))
    assert b"so3krates.model.SO3krates" in names
    for word in (b"PyTreeDef", b"CustomNode", b"Missing", b"jaxlib", b"equinox"):
        assert word not in names


def test_another_process_finds_the_same(tmp_path) -> None:
    from so3krates.io.model_file import load, save

    save(network(), tmp_path / "model.safetensors")
    code = (
        "import sys; from so3krates.io.model_file import load; from so3krates.md.fingerprint import potential_hash;"
        "print(potential_hash(load(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.safetensors")]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]
    assert found == [potential_hash(load(tmp_path / "model.safetensors"))] * 2
