"""Positions of true flags inside compiled code, by the bit: 32 flags are a word.

The word of a place in the result is found by counting the words that begin up to there, and the bit by halving the
word. The scatter behind `jnp.nonzero` writes every flag and is far slower on a CPU; here it writes once for every word.
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


def set_bits(
    words: UInt[Array, " words"], size: int
) -> tuple[Int[Array, " size"], Int[Array, " size"], Int[Array, ""]]:
    """Word and place in it of the first `size` bits that are set, in order, and how many are set.

    Beyond those, any word and place.
    """
    counts = jax.lax.population_count(words).astype(jnp.int32)
    running = jnp.cumsum(counts)
    before = running - counts
    # A word is that of the places from `before` on until the next word's: of several that begin at one place, all but
    # the last are empty.
    begins = jnp.zeros((size,), jnp.int32).at[before].add(1, mode="drop")
    word = jnp.cumsum(begins) - 1
    nth = jnp.arange(size, dtype=jnp.int32) - before[word]
    return word, _nth_bit(words[word], nth), running[-1]


def first_set(words: UInt[Array, " words"], size: int) -> tuple[Int[Array, " size"], Int[Array, ""]]:
    """Positions of the first `size` bits that are set, in order, and how many are set. Beyond those, any position."""
    word, bit, found = set_bits(words, size)
    return word * BITS + bit, found


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
