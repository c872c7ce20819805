"""What a potential says about a structure, and the constant energies of the elements it knows."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from so3krates._typing import Float, Int
from so3krates.config import Config
from so3krates.system import System


class ElementTable(Config):
    """Elements a potential knows and the constant reference energy of each, in eV."""

    numbers: tuple[int, ...]
    energies: tuple[float, ...]

    def of(self, numbers: Int[np.ndarray, " atoms"]) -> Float[np.ndarray, " atoms"]:
        """E_ref(Z_i) of each atom, in float64 on the host: these energies are too large for float32 differences."""
        table = dict(zip(self.numbers, self.energies, strict=True))
        return np.array([table[z] for z in numbers.tolist()], np.float64)


class Prediction(NamedTuple):
    """What a potential says about one structure; NumPy, float64."""

    energy: float
    """Total energy, eV."""
    energies: Float[np.ndarray, " atoms"]
    """Per-atom energies, reference energies included, eV."""
    forces: Float[np.ndarray, "atoms 3"]
    """eV/Å."""
    stress: Float[np.ndarray, "3 3"] | None
    """eV/Å³, tension positive; None without a cell."""
    components: Mapping[str, float] = MappingProxyType({})
    """Parts of the energy by the name of their term, eV; they add up to the energy less the reference energies of the
    elements."""
    charges: Float[np.ndarray, " atoms"] | None = None
    """Partial charges in e; None for a model that predicts none."""
    dipole: Float[np.ndarray, " 3"] | None = None
    """Σ q_i r_i in e·Å with the positions as they are given, wrapped or not, from the centre of mass; that matters
    where the charges do not add up to zero."""
    hirshfeld_ratios: Float[np.ndarray, " atoms"] | None = None


def dipole(system: System, charges: Float[np.ndarray, " atoms"]) -> Float[np.ndarray, " 3"]:
    """Σ q_i (r_i − r_0) in e·Å, r_0 the centre of mass.

    For neutral structures r_0 does not matter, but charges in float32 add up to zero only nearly, which would show far
    from the origin.
    """
    return charges @ (system.positions - system.center_of_mass) if len(system) else np.zeros(3)
