"""What a potential needs of a structure in compiled code: near pairs for the network, far pairs for long-range terms, a
mesh for sums over all periodic images."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from so3krates._typing import Array, Float, Int
from so3krates.neighbors.choice import Searched, allocate, described, enlarged, recorded, restored, with_skin
from so3krates.neighbors.dense import WORTH_A_TABLE, DenseNeighbors
from so3krates.neighbors.mesh import Points, finer, too_coarse
from so3krates.neighbors.overflow import COARSE, FAR, LIST, ROOM
from so3krates.neighbors.pairs import Pairs
from so3krates.neighbors.verlet import VerletNeighbors
from so3krates.neighbors.verlet_state import VerletState
from so3krates.system import System


class Found(NamedTuple):
    """What an update gives."""

    near: Pairs
    far: Pairs | None
    overflow: Int[Array, ""]
    """Not zero: something is missing; what, says `overflow.py`."""
    verlet: VerletState | None
    """What was given, with candidates that hold at these positions."""


class Neighbors(eqx.Module):
    """One list, or two with cutoffs of their own."""

    near: Searched
    far: Searched | None = None
    mesh: Points = eqx.field(static=True, default=(0, 0, 0))
    """Points along the cell vectors for sums over all periodic images; zeros where no term makes any."""
    mesh_spacing: float = eqx.field(static=True, default=0.0)
    """Distance of points that the terms ask for, Å."""

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

    def recorded(self) -> dict[str, Any]:
        """What `restored` needs to make them again, as JSON."""
        return {"lists": [recorded(each) for each in self.lists], "mesh": self.mesh}

    def restored(self, record: Mapping[str, Any]) -> "Neighbors":
        """Lists and mesh for the same structure as `recorded` gave them."""
        near, *far = (restored(each, kept) for each, kept in zip(self.lists, record["lists"], strict=True))
        a, b, c = record["mesh"]
        return replace(self, near=near, far=far[0] if far else None, mesh=(a, b, c))

    def with_skin(self, system: System, skin: float) -> "Neighbors":
        """For many steps with structures like `system`: lists in cells keep candidates between steps; skin in Å."""
        if self._near_from_far:
            return self
        near = with_skin(self.near, system, skin, compressed=True)
        # A far pair costs hardly more than to leave it out.
        far = None if self.far is None else with_skin(self.far, system, skin, compressed=False)
        return replace(self, near=near, far=far)

    @property
    def verlet_lists(self) -> tuple[VerletNeighbors, ...]:
        """The lists that choose from candidates."""
        if self._near_from_far:
            return ()
        return tuple(each for each in self.lists if isinstance(each, VerletNeighbors))

    def update(
        self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None, verlet: VerletState | None = None
    ) -> Found:
        """The pairs at these positions; see `DenseNeighbors.update`. A mesh too coarse for the cell overflows too.

        One search over all pairs serves both lists; in cells, a second search costs less than to go through the far
        pairs.

        Args:
            positions: Å.
            cell: Å.
            verlet: of earlier steps, with room for candidates; all lists search at these positions if not given.
        """
        if verlet is not None and self.verlet_lists:
            verlet = verlet.renewed(self.verlet_lists, positions, cell)
        near, far = self._update(positions, cell, verlet)
        overflow = near.overflow if far is None else near.overflow | (far.overflow << FAR)
        if all(self.mesh):
            assert cell is not None
            coarse = too_coarse(self.mesh, self.mesh_spacing, cell)
            overflow = overflow | jnp.where(coarse, COARSE, 0).astype(jnp.int32)
        return Found(near, far, overflow, verlet)

    def _update(
        self, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"] | None, verlet: VerletState | None
    ) -> tuple[Pairs, Pairs | None]:
        candidates = iter(() if verlet is None or verlet.candidates is None else verlet.candidates.lists)

        def pairs(searched: Searched) -> Pairs:
            if isinstance(searched, VerletNeighbors) and verlet is not None:
                return searched.chosen(next(candidates), positions, cell)
            return searched.update(positions, cell)

        if self._near_from_far:
            assert self.far is not None
            far = self.far.update(positions, cell)
            return far.nearer(self.near.cutoff, self.near.capacity), far
        return pairs(self.near), None if self.far is None else pairs(self.far)

    @property
    def _near_from_far(self) -> bool:
        """Whether near pairs are chosen from the far ones, all of which were compared."""
        if not isinstance(self.far, DenseNeighbors):
            return False
        return 0.0 < self.near.cutoff <= self.far.cutoff and self.near.pbc == self.far.pbc

    def larger(self, system: System, overflow: int = ROOM | ROOM << FAR) -> "Neighbors":
        """More of what `overflow` says was short, for `system` and for what may follow; the rest stays as it is.

        Args:
            system: a structure for which they are to hold, such as that before the steps in which they overflowed.
            overflow: what `update` gave; both lists lacked room if not given.
        """
        near, far, mesh = self.near, self.far, self.mesh
        if overflow & LIST:
            near = enlarged(near, system, overflow & LIST)
        if far is not None and overflow >> FAR & LIST:
            far = enlarged(far, system, overflow >> FAR & LIST)
        if overflow & COARSE:
            assert system.cell is not None
            mesh = finer(mesh, self.mesh_spacing, system.cell)
        return replace(self, near=near, far=far, mesh=mesh)

    def change(self, larger: "Neighbors") -> str:
        """What `larger` has more of, for a log: one clause for each list that changed and for the mesh."""
        clauses = [
            f"{name} pairs: {described(before)} → {described(after)}"
            for name, before, after in zip(("near", "far"), self.lists, larger.lists, strict=False)
            if before != after
        ]
        if self.mesh != larger.mesh:
            before, after = (" × ".join(map(str, mesh)) for mesh in (self.mesh, larger.mesh))
            clauses.append(f"mesh: {before} → {after} points")
        return "; ".join(clauses)

    def closest(self, found: Found) -> Float[Array, ""]:
        """Smallest distance between two atoms, Å; the near cutoff if no pair is that near."""
        pairs, cutoff = found.near, self.near.cutoff
        if cutoff == 0.0 and found.far is not None:
            pairs, cutoff = found.far, self.far_cutoff
        squared = jnp.sum(pairs.vectors * pairs.vectors, axis=-1)
        return jnp.sqrt(jnp.min(jnp.where(pairs.mask, squared, cutoff**2)))


def roomiest(lists: Iterable[Neighbors]) -> Neighbors:
    """Of lists for several structures the one with most room; where each is the largest in something, an overflow will
    find that out."""
    return max(lists, key=lambda each: [(sum(getattr(one, "images", ())), one.capacity) for one in each.lists])
