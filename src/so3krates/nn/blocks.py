"""Work on many pairs block after block, so that what is made for each pair stays in the processor's cache."""

from collections.abc import Callable
from math import ceil
from typing import TypeVar

import jax
import jax.numpy as jnp

Sums = TypeVar("Sums")
Pairs = TypeVar("Pairs")
Each = TypeVar("Each")

FEW = 4096
"""Pairs that are worked on at once; their arrays are not much larger than the cache."""
BLOCK = 1024
"""Pairs in a block, if there are more."""
MOST_BLOCKS = 32
"""The derivative of a block is added to that of all atoms: with blocks of fixed size, time would grow with the square
of the number of atoms."""


def in_blocks(add: Callable[[Sums, Pairs], tuple[Sums, Each]], sums: Sums, pairs: Pairs) -> tuple[Sums, Each]:
    """`add(sums, pairs)`, block after block where there are many pairs.

    Args:
        add: from sums and pairs to the new sums and what belongs to each pair; pairs of zeros must add nothing.
        sums: what the sums begin with.
        pairs: arrays whose leading axis counts pairs.

    What a block computes on its way is computed again for derivatives instead of kept. On an accelerator, which has no
    such cache, all pairs are one block.
    """
    count = len(jax.tree.leaves(pairs)[0])
    blocks = _blocks(count)
    if blocks == 1:
        return add(sums, pairs)
    size = ceil(count / blocks)

    def cut(array: jax.Array) -> jax.Array:
        padded = jnp.pad(array, [(0, blocks * size - count), *[(0, 0)] * (array.ndim - 1)])
        return padded.reshape(blocks, size, *array.shape[1:])

    sums, each = jax.lax.scan(jax.checkpoint(add), sums, jax.tree.map(cut, pairs))
    return sums, jax.tree.map(lambda array: array.reshape(blocks * size, *array.shape[2:])[:count], each)


def _blocks(count: int) -> int:
    if count <= FEW or jax.default_backend() != "cpu":
        return 1
    return min(ceil(count / BLOCK), MOST_BLOCKS)
