"""Positions of true flags inside compiled code, by the bit: 32 flags are a word.

A binary search in the running count of bits: the scatter behind `jnp.nonzero` is far slower on a CPU, and counts of
words stay in the cache where counts of flags do not.
"""

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Int, UInt

BITS = 32


def packed(flags: Bool[Array, "*rest words 32"]) -> UInt[Array, "*rest words"]:
    """One word for every 32 flags, the first in the lowest bit."""
    bits = jnp.asarray(2 ** np.arange(BITS, dtype=np.uint64), jnp.uint32)
    return jnp.sum(jnp.where(flags, bits, jnp.uint32(0)), axis=-1, dtype=jnp.uint32)


def first_set(words: UInt[Array, " words"], size: int) -> tuple[Int[Array, " size"], Int[Array, ""]]:
    """Positions of the first `size` bits that are set, in order, and how many are set. Beyond those, any position."""
    running = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32))
    wanted = jnp.arange(size, dtype=jnp.int32)
    word = jnp.searchsorted(running, wanted, side="right").astype(jnp.int32)
    word = jnp.minimum(word, len(words) - 1)
    before = jnp.where(word > 0, running[word - 1], 0)
    return word * BITS + _nth_bit(words[word], wanted - before), running[-1]


def first_true(flags: Bool[Array, " n"], size: int) -> tuple[Int[Array, " size"], Int[Array, ""]]:
    """The same for flags in a row."""
    padded = jnp.pad(flags, (0, -len(flags) % BITS))
    return first_set(packed(padded.reshape(-1, BITS)), size)


def _nth_bit(word: UInt[Array, " size"], n: Int[Array, " size"]) -> Int[Array, " size"]:
    """Position of the n-th set bit, n from 0: which half it is in, which half of that, and so on."""
    position = jnp.zeros_like(n)
    for width in (16, 8, 4, 2, 1):
        low = word & jnp.uint32((1 << width) - 1)
        count = jax.lax.population_count(low).astype(jnp.int32)
        above = n >= count
        n = jnp.where(above, n - count, n)
        position = position + jnp.where(above, width, 0)
        word = jnp.where(above, word >> width, low)
    return position
