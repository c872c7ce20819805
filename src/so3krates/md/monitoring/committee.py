"""A committee of potentials: where they disagree about forces, the one that runs is extrapolating."""

from collections.abc import Sequence

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float, Int
from so3krates.graph import Sizes
from so3krates.md.fingerprint import potential_hash
from so3krates.md.monitoring.findings import Disagreement
from so3krates.md.monitoring.monitor import Monitor
from so3krates.potential import Potential
from so3krates.system import System

BATCH_ATOMS = 256
"""Frames are evaluated in batches of about so many atoms."""


class Committee:
    """Other potentials, asked about frames that one of them has made."""

    def __init__(self, members: Sequence[Potential]) -> None:
        self._members = tuple(members)
        self._sizes: list[Sizes | None] = [None] * len(self._members)

    @classmethod
    def of(cls, own_hash: str, members: Sequence[Potential], system: System, monitor: Monitor) -> "Committee | None":
        """The committee of a run whose potential has the hash `own_hash`; None without other members.

        Raises:
            InputError: for what is no potential, does not know the elements, or is the potential of the run once more,
                and for a limit where there is no committee.
        """
        if not members:
            if monitor.max_force_disagreement not in (None, Monitor().max_force_disagreement):
                raise InputError(
                    f"max_force_disagreement is {monitor.max_force_disagreement:g} eV/Å, but there is no committee "
                    "that could disagree; give other potentials as `committee`, or leave it out."
                )
            return None
        hashes = [own_hash]
        for n, member in enumerate(members):
            if not isinstance(member, Potential):
                raise InputError(
                    f"committee[{n}] is a {type(member).__name__}; give potentials, as `load` returns them."
                )
            try:
                member.check(system)
            except InputError as error:
                raise InputError(f"committee[{n}]: {error}") from error
            hashes.append(potential_hash(member))
            if hashes[-1] in hashes[:-1]:
                raise InputError(
                    f"committee[{n}] is the potential of the run or of another member once more; "
                    "give others, such as the same model trained with another seed."
                )
        return cls(members)

    def disagreement(
        self, step: Int[np.ndarray, " frames"], systems: list[System], forces: Float[np.ndarray, "frames atoms 3"]
    ) -> Disagreement:
        """How far the forces of all members and those of the run (eV/Å) lie apart, for each frame.

        As the model deviation of Zhang et al., Phys. Rev. Mater. 3, 023804 (2019).
        """
        if not systems:
            return Disagreement.none()
        own = forces.astype(np.float64)
        others = [self._forces(member, systems) for member in range(len(self._members))]
        spread = np.sqrt(np.square(np.stack([own, *others]) - np.mean([own, *others], axis=0)).sum(-1).mean(0))
        atom = spread.argmax(axis=1)
        return Disagreement(step, spread[np.arange(len(step)), atom], atom)

    def _forces(self, member: int, systems: list[System]) -> Float[np.ndarray, "frames atoms 3"]:
        count = max(1, BATCH_ATOMS // len(systems[0]))
        found = []
        for start in range(0, len(systems), count):
            batch = systems[start : start + count]
            # Batches are filled up, so that all of them share one compiled program.
            found += self._batch(member, [*batch, *[batch[-1]] * (count - len(batch))])[: len(batch)]
        return np.stack(found)

    def _batch(self, member: int, systems: list[System]) -> list[np.ndarray]:
        potential, known = self._members[member], self._sizes[member]
        lists = [potential.pair_lists(system) for system in systems]
        needed = Sizes.of(systems, lists)
        self._sizes[member] = sizes = needed if known is None else known.grown(needed)
        return [prediction.forces for prediction in potential.predict(systems, sizes, lists)]
