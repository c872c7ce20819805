"""Whether a molecule is still the one it was: bonds kept, no new ones."""

import ase
import numpy as np
from ase.data import covalent_radii

from so3krates._typing import Bool, Float

BONDED_BELOW = 1.3
"""Two atoms are bonded below this multiple of the sum of their covalent radii."""
BROKEN_ABOVE = 1.5
"""A bond is broken above this multiple of its length in the first structure."""
FORMED_BELOW = 1.0
"""A new bond is one below this multiple of the sum of the covalent radii."""


class BondWatch:
    """The bonds of a first structure, to hold later ones against."""

    def __init__(self, first: ase.Atoms) -> None:
        radii = covalent_radii[first.numbers]
        self._contact: Float[np.ndarray, "atoms atoms"] = radii[:, None] + radii[None, :]
        self._lengths = _distances(first)
        self._bonded: Bool[np.ndarray, "atoms atoms"] = self._lengths < BONDED_BELOW * self._contact

    def damage(self, atoms: ase.Atoms) -> str:
        """What is wrong with a structure, or an empty text."""
        if not np.isfinite(atoms.positions).all():
            return "positions are not finite"
        distances = _distances(atoms)
        broken = self._bonded & (distances > BROKEN_ABOVE * self._lengths)
        formed = ~self._bonded & (distances < FORMED_BELOW * self._contact)
        collapsed = self._bonded & (distances < self._lengths / BROKEN_ABOVE)
        for name, pairs in (("broken bond", broken), ("collapsed bond", collapsed), ("new bond", formed)):
            if pairs.any():
                i, j = (int(index) for index in np.argwhere(pairs)[0])
                who = f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]})"
                return f"{name} between {who}, {distances[i, j]:.2f} Å"
        return ""


def _distances(atoms: ase.Atoms) -> Float[np.ndarray, "atoms atoms"]:
    """All distances, Å, the nearest image in periodic directions; infinite on the diagonal."""
    distances = atoms.get_all_distances(mic=bool(np.any(atoms.pbc)))
    np.fill_diagonal(distances, np.inf)
    return distances
