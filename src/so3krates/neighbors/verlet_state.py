"""What a run keeps of its neighbour lists between steps: where candidates were last searched for, and candidates.

A pair within the cutoff c at x = x₀F + u, with F = H₀⁻¹H of the cell, was at most ‖F⁻¹‖(c + 2 max|u|) apart at x₀. As
long as that is no more than c and the skin, it is among the candidates of x₀; then they are searched for anew.

The reference x₀, H₀ is part of the state of a run, and candidates follow from it: a run that is read back makes the
same ones in the same order, whenever its checkpoints were written, and goes on bit for bit.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Float
from so3krates.neighbors.cell_list import Numbered
from so3krates.neighbors.grid import ROUNDING, ULPS
from so3krates.neighbors.verlet import VerletNeighbors


class Candidates(NamedTuple):
    """Of all lists with a skin."""

    known: Bool[Array, ""]
    """Whether they are those of the reference, or still to be searched for."""
    lists: tuple[Numbered, ...]


class VerletState(eqx.Module):
    """The reference, and candidates if there is room for any."""

    positions: Float[Array, "atoms 3"]
    cell: Float[Array, "3 3"] | None
    candidates: Candidates | None = None

    def reference(self) -> "VerletState":
        """Without candidates, as it is stored."""
        return replace(self, candidates=None)

    def with_room(self, lists: Sequence[VerletNeighbors]) -> "VerletState":
        """With room for the candidates of these lists; what fits is kept."""

        def none() -> Candidates:
            return Candidates(jnp.zeros((), bool), tuple(each.none() for each in lists))

        if self.candidates is not None and _shapes(jax.eval_shape(none)) == _shapes(self.candidates):
            return self
        return replace(self, candidates=none() if lists else None)

    def renewed(
        self, lists: Sequence[VerletNeighbors], positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
    ) -> "VerletState":
        """With candidates that hold at these positions: the present ones if they do."""
        assert self.candidates is not None
        left = ~jnp.all(jnp.stack([self._holds(each, positions, cell) for each in lists]))
        here = jnp.where(left, positions, self.positions)
        box = None if cell is None or self.cell is None else jnp.where(left, cell, self.cell)

        def search(candidates: Candidates) -> Candidates:
            found = tuple(each.search.numbered(here, box) for each in lists)
            return Candidates(jnp.ones((), bool), found)

        # A loop of one turn or none: unlike the branches of a condition it leaves its arrays where they are.
        candidates = jax.lax.while_loop(
            lambda candidates: ~candidates.known,
            search,
            self.candidates._replace(known=self.candidates.known & ~left),
        )
        return VerletState(here, box, candidates)

    def _holds(
        self, listed: VerletNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None
    ) -> Bool[Array, ""]:
        """Whether all pairs within the cutoff are candidates; never if a position is not a number."""
        cutoff, reach, stretch, carried = listed.cutoff, listed.search.cutoff, 1.0, self.positions
        if cell is not None and self.cell is not None:
            unit = jnp.eye(3, dtype=cell.dtype)
            carried = carried + carried @ (jnp.linalg.inv(self.cell) @ (cell - self.cell))
            # ‖F⁻¹‖ ≤ 1 + ‖F⁻¹ − 1‖, the latter by the sum of squares.
            stretch = 1.0 + jnp.linalg.norm(jnp.linalg.inv(cell) @ self.cell - unit)
        farthest = jnp.sqrt(jnp.max(jnp.sum((positions - carried) ** 2, axis=1)))
        rounding = ROUNDING * cutoff + ULPS * float(np.finfo(positions.dtype).eps) * jnp.max(jnp.abs(positions))
        return stretch * (cutoff + 2.0 * farthest + rounding) <= reach


def _shapes(candidates: Candidates) -> list[tuple[int, ...]]:
    return [leaf.shape for leaf in jax.tree.leaves(candidates)]
