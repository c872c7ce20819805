"""Gaussian noise as a pure function of key, step and component: Threefry-2x32-20 and Box–Muller.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The counter is (step, component), so nothing
has to be carried from step to step, and the rounds are written out, so that compilers fuse them into one loop: inside
a time loop on a CPU `jax.random.normal` costs as much as a small force field.
"""

import jax
import jax.numpy as jnp
from jaxtyping import UInt

from so3krates._typing import Array, Float, Int, PRNGKeyArray

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


STREAMS = 4
"""Independent sets of numbers for a step: 0 for thermostats, 1 for barostats, 2 for exchanges of replicas."""


def normal(
    key: PRNGKeyArray, step: Int[Array, ""], shape: tuple[int, ...], dtype: object, stream: int = 0
) -> Float[Array, "..."]:
    """Independent standard normal numbers for one step; another `stream` below STREAMS gives others."""
    size = 1
    for length in shape:
        size *= length
    half = (size + 1) // 2
    first, second = _words(key, step, half, stream)
    radius = jnp.sqrt(-2.0 * jnp.log(_uniform(first, dtype)))
    angle = (2.0 * jnp.pi) * _uniform(second, dtype)
    both = jnp.concatenate([radius * jnp.cos(angle), radius * jnp.sin(angle)])
    return both[:size].reshape(shape)


def uniform(
    key: PRNGKeyArray, step: Int[Array, ""], count: int, dtype: object, stream: int = 0
) -> Float[Array, " count"]:
    """Independent numbers in (0, 1] for one step."""
    return _uniform(_words(key, step, count, stream)[0], dtype)


def _words(
    key: PRNGKeyArray, step: Int[Array, ""], count: int, stream: int
) -> tuple[UInt[Array, " count"], UInt[Array, " count"]]:
    counter = jnp.arange(count, dtype=jnp.uint32) + jnp.uint32(stream * (2**32 // STREAMS))
    words = jax.random.key_data(key)
    return threefry(words[0], words[1], jnp.broadcast_to(step.astype(jnp.uint32), (count,)), counter)


def threefry(
    key0: UInt[Array, ""], key1: UInt[Array, ""], x0: UInt[Array, " n"], x1: UInt[Array, " n"]
) -> tuple[UInt[Array, " n"], UInt[Array, " n"]]:
    """Threefry-2x32 with 20 rounds: two random words for each pair of counters."""
    keys = (key0, key1, key0 ^ key1 ^ jnp.uint32(PARITY))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for block in range(5):
        for rotation in ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = ((x1 << jnp.uint32(rotation)) | (x1 >> jnp.uint32(32 - rotation))) ^ x0
        x0 = x0 + keys[(block + 1) % 3]
        x1 = x1 + keys[(block + 2) % 3] + jnp.uint32(block + 1)
    return x0, x1


def _uniform(bits: UInt[Array, " n"], dtype: object) -> Float[Array, " n"]:
    """Numbers in (0, 1], never zero, so that the logarithm is finite."""
    return (bits.astype(dtype) + 0.5) * 2.0**-32  # type: ignore[arg-type]
