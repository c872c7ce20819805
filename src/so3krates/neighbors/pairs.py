"""What a search in compiled code gives: a list of pairs with a fixed number of places."""

from dataclasses import replace
from math import ceil

import equinox as eqx
import jax.numpy as jnp

from so3krates._safe import masked_norm
from so3krates._typing import Array, Bool, Float, Int
from so3krates.long_range import AllPairs, LongRangePairs
from so3krates.neighbors.compress import first_true
from so3krates.neighbors.overflow import causes

SLACK = 1.05
SPARE = 8
"""Room given on allocation: a list of n pairs may grow to SLACK·n + SPARE, rounded up, before it overflows. A padded
pair costs as much as a real one; an overflow costs a chunk of steps and a compilation."""

FINENESS, COARSEST = 16, 64
"""Structures whose lists are about as long get lists of one length, and so share compiled programs: lengths are
multiples of a power of two that is at most this part of them, and at most so many pairs."""


class Pairs(eqx.Module):
    """A list of fixed capacity, each pair once; what an update returns."""

    vectors: Float[Array, "pairs 3"]
    centers: Int[Array, " pairs"]
    others: Int[Array, " pairs"]
    mask: Bool[Array, " pairs"]
    overflow: Int[Array, ""]
    """Not zero: the list is incomplete and everything computed with it is invalid; why, says `overflow.py`."""
    table_of: int | None = eqx.field(static=True, default=None)
    """Number of atoms, if these are all pairs in the order of `pair_table`."""

    def as_long_range(self, cutoff: float, structures: int = 1) -> LongRangePairs | AllPairs:
        """These pairs as the long-range ones of one structure or of several."""
        cutoffs = jnp.full((structures,), cutoff, self.vectors.dtype)
        lengths = masked_norm(self.vectors, self.mask)
        if self.table_of is not None:
            return AllPairs(self.vectors, lengths, self.mask, cutoffs, self.table_of)
        return LongRangePairs(self.vectors, lengths, self.centers, self.others, self.mask, cutoffs)

    def nearer(self, cutoff: float, capacity: int) -> "Pairs":
        """Those of the pairs that are closer than `cutoff` (Å), in a list of another capacity and the same order.

        It overflows where it has too little room itself; what these pairs lack, it lacks too.
        """
        squared = jnp.sum(self.vectors * self.vectors, axis=-1)
        inside = self.mask & (squared < cutoff**2)
        if capacity >= len(self.mask):
            return replace(self, mask=inside, overflow=jnp.zeros((), jnp.int32))
        chosen, found = first_true(inside, capacity)
        mask = jnp.arange(capacity, dtype=jnp.int32) < found
        chosen = jnp.where(mask, chosen, 0)
        return Pairs(
            jnp.where(mask[:, None], self.vectors[chosen], 0.0),
            jnp.where(mask, self.centers[chosen], 0),
            jnp.where(mask, self.others[chosen], 0),
            mask,
            causes(found > capacity, jnp.zeros((), bool)),
        )


def no_pairs(capacity: int, positions: Float[Array, "atoms 3"]) -> Pairs:
    """A list that holds none."""
    none = jnp.zeros((capacity,), jnp.int32)
    return Pairs(jnp.zeros((capacity, 3), positions.dtype), none, none, none > 0, jnp.zeros((), jnp.int32))


def with_slack(pairs: int) -> int:
    """Capacity of a list for structures like one with so many pairs."""
    return rounded(SLACK * pairs + SPARE)


def rounded(pairs: float) -> int:
    """Up to a multiple of SPARE, or of more for longer lists."""
    step = SPARE
    while 2 * step <= min(COARSEST, pairs / FINENESS):
        step *= 2
    return step * ceil(pairs / step)
