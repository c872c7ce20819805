"""The neighbour lists of a potential in compiled code: near pairs for the network, far pairs for long-range terms."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float
from so3krates.neighbors.choice import Searched, allocate, enlarged, restored
from so3krates.neighbors.dense import WORTH_A_TABLE, DenseNeighbors
from so3krates.neighbors.pairs import Pairs
from so3krates.system import System


class Found(NamedTuple):
    """What an update gives."""

    near: Pairs
    far: Pairs | None

    @property
    def overflow(self) -> Bool[Array, ""]:
        return self.near.overflow if self.far is None else self.near.overflow | self.far.overflow


class Neighbors(eqx.Module):
    """One list, or two with cutoffs of their own."""

    near: Searched
    far: Searched | None = None
    mesh: tuple[int, int, int] = eqx.field(static=True, default=(0, 0, 0))
    """Points along the cell vectors for sums over all periodic images; zeros where no term makes any."""

    @classmethod
    def of(
        cls, system: System, cutoff: float, far_cutoff: float | None = None, far_system: System | None = None
    ) -> "Neighbors":
        """Room for structures like `system`, and like `far_system` for long-range terms; cutoffs in Å."""
        far = None if far_cutoff is None else allocate(far_system or system, far_cutoff, table_from=WORTH_A_TABLE)
        return cls(allocate(system, cutoff), far)

    @property
    def far_cutoff(self) -> float:
        assert self.far is not None
        return self.far.cutoff

    @property
    def lists(self) -> tuple[Searched, ...]:
        return (self.near,) if self.far is None else (self.near, self.far)

    def restored(self, records: Sequence[Sequence[Any]]) -> "Neighbors":
        """Lists for the same structure with searches and capacities that `recorded` gave, in the order of `lists`."""
        near, *far = (restored(each, record) for each, record in zip(self.lists, records, strict=True))
        return Neighbors(near, far[0] if far else None, self.mesh)

    def update(self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None) -> Found:
        """The pairs at these positions; see `DenseNeighbors.update`.

        One search over all pairs serves both lists; in cells, a second search costs less than to go through the far
        pairs.
        """
        if self.far is None:
            return Found(self.near.update(positions, cell), None)
        far = self.far.update(positions, cell)
        alike = 0.0 < self.near.cutoff <= self.far.cutoff and self.near.pbc == self.far.pbc
        if alike and isinstance(self.far, DenseNeighbors):
            return Found(far.nearer(self.near.cutoff, self.near.capacity), far)
        return Found(self.near.update(positions, cell), far)

    def larger(self, system: System) -> "Neighbors":
        """Both lists with more room."""
        far = None if self.far is None else enlarged(self.far, system)
        return Neighbors(enlarged(self.near, system), far, self.mesh)

    def closest(self, found: Found) -> Float[Array, ""]:
        """Smallest distance between two atoms, Å; the near cutoff if no pair is that near."""
        pairs, cutoff = found.near, self.near.cutoff
        if cutoff == 0.0 and found.far is not None:
            pairs, cutoff = found.far, self.far_cutoff
        squared = jnp.sum(pairs.vectors * pairs.vectors, axis=-1)
        return jnp.sqrt(jnp.min(jnp.where(pairs.mask, squared, cutoff**2)))
