"""Sample: one structure with its labels and where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.system import System

LABELS = ("energy", "forces", "stress", "dipole", "hirshfeld_ratios")
"""Names of the labels a sample may have, in the order in which losses and errors are listed."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A structure with reference labels; a label that is None (or was NaN in the file) is missing.

    Attributes:
        system: the structure.
        energy: total energy, eV.
        forces: eV/Å.
        stress: eV/Å³, tension positive.
        dipole: e·Å; of a charged structure from its centre of mass.
        hirshfeld_ratios: volumes of the atoms over those of free atoms.
        origin: file and frame, for messages, such as "train.extxyz, frame 12".
        isolated_atom: a single atom in vacuum whose energy may serve as the reference energy of its element.
        group: a name shared by consecutive frames of one trajectory, if the file tells.
        nan_labels: names of labels the file holds but gives as NaN throughout; they count as missing.

    Raises:
        InputError: for labels whose shapes do not fit the structure.
    """

    system: System
    energy: float | None = None
    forces: Float[np.ndarray, "atoms 3"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    dipole: Float[np.ndarray, " 3"] | None = None
    hirshfeld_ratios: Float[np.ndarray, " atoms"] | None = None
    origin: str = ""
    isolated_atom: bool = False
    group: str = ""
    nan_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        atoms = len(self.system)
        shapes = {"forces": (atoms, 3), "stress": (3, 3), "dipole": (3,), "hirshfeld_ratios": (atoms,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise InputError(f"{self.origin}: {name} has shape {np.shape(value)}, expected {shape}.")


# At run time the bare sequence: a checker of types that draws an item would read it from disk.
if TYPE_CHECKING:
    Dataset = Sequence[Sample]
else:
    Dataset = Sequence
"""Anything indexable that yields samples; readers for large files read a frame only when it is asked for."""
