"""Pairs of atoms that are near for what they are: below a multiple of the sum of their covalent radii."""

from typing import NamedTuple

import numpy as np
from ase.data import covalent_radii

from so3krates._typing import Bool, Float, Int
from so3krates.neighbors.host import find_pairs
from so3krates.system import System


class Contacts(NamedTuple):
    """Pairs, each once: r_ij = r_j − r_i + S·H."""

    centers: Int[np.ndarray, " contacts"]
    others: Int[np.ndarray, " contacts"]
    shifts: Int[np.ndarray, "contacts 3"]
    lengths: Float[np.ndarray, " contacts"]
    """Å."""


def find_contacts(system: System, factor: float, among: Bool[np.ndarray, " atoms"] | None = None) -> Contacts:
    """Pairs closer than `factor` times the sum of their covalent radii, those of an atom with its own images too.

    Args:
        system: structure.
        factor: bonds are below some 1.3; the radii are those of Cordero et al., Dalton Trans. 2832 (2008).
        among: only between these atoms; all if not given.
    """
    radii = covalent_radii[system.numbers]
    if among is None:
        among = np.ones(len(system), bool)
    pairs = find_pairs(system, 2.0 * factor * float(radii[among].max(initial=0.0)))
    lengths = np.linalg.norm(pairs.vectors, axis=1)
    near = lengths < factor * (radii[pairs.centers] + radii[pairs.others])
    near &= among[pairs.centers] & among[pairs.others]
    return Contacts(pairs.centers[near], pairs.others[near], pairs.shifts[near], lengths[near])
