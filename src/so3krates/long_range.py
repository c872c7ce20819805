"""Long-range pairs of a graph, as a list or as a table of all pairs."""

import equinox as eqx
import jax
import jax.numpy as jnp

from so3krates._typing import AnyArray, Array, Bool, Float, Int
from so3krates.pair_table import columns, following, summed_to_atoms


class LongRangePairs(eqx.Module):
    """All pairs within a longer cutoff, for terms that need no more of them than the distance.

    Each pair once, the near ones included; padding as in `Graph`.
    """

    vectors: Float[AnyArray, "long 3"]
    lengths: Float[AnyArray, " long"]
    """Å; 1 for padding. What energies depend on: derivatives are taken with respect to these alone."""
    centers: Int[AnyArray, " long"]
    others: Int[AnyArray, " long"]
    mask: Bool[AnyArray, " long"]
    cutoff: Float[AnyArray, " structures"]
    """Å, of each structure; interactions are switched off towards it."""

    def ends(self, values: Float[AnyArray, " atoms"]) -> tuple[Float[Array, " long"], Float[Array, " long"]]:
        """Values of the first and of the second atom of every pair."""
        values = jnp.asarray(values)
        return values[self.centers], values[self.others]

    def to_atoms(
        self, to_centers: Float[Array, "long *rest"], to_others: Float[Array, "long *rest"], atoms: int
    ) -> Float[Array, "atoms *rest"]:
        """Sum over each atom's pairs: `to_centers` where it is the first atom, `to_others` where it is the second."""
        received = jax.ops.segment_sum(to_others, self.others, atoms)
        return jax.ops.segment_sum(to_centers, self.centers, atoms) + received


class AllPairs(eqx.Module):
    """The same of a single structure: every one of its pairs in the order of `pair_table`, masked by the cutoff."""

    vectors: Float[AnyArray, "long 3"]
    lengths: Float[AnyArray, " long"]
    mask: Bool[AnyArray, " long"]
    cutoff: Float[AnyArray, " structures"]
    atoms: int = eqx.field(static=True)

    @property
    def centers(self) -> Int[Array, " long"]:
        return jnp.arange(len(self.mask), dtype=jnp.int32) // columns(self.atoms)

    @property
    def others(self) -> Int[Array, " long"]:
        column = jnp.arange(len(self.mask), dtype=jnp.int32) % columns(self.atoms)
        return (self.centers + column + 1) % self.atoms

    def ends(self, values: Float[AnyArray, " atoms"]) -> tuple[Float[Array, " long"], Float[Array, " long"]]:
        """Values of the first and of the second atom of every pair."""
        values = jnp.asarray(values)
        second = following(values, columns(self.atoms))
        first = jnp.broadcast_to(values[:, None], second.shape)
        return first.reshape(-1), second.reshape(-1)

    def to_atoms(
        self, to_centers: Float[Array, "long *rest"], to_others: Float[Array, "long *rest"], atoms: int
    ) -> Float[Array, "atoms *rest"]:
        """Sum over each atom's pairs: `to_centers` where it is the first atom, `to_others` where it is the second."""
        assert atoms == self.atoms
        return summed_to_atoms(to_centers, to_others, atoms)
