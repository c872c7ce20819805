"""Frames: saved steps of a run on the host, and the names of what they hold."""

from dataclasses import dataclass, fields, replace

import numpy as np

from so3krates._typing import Float, Int

PARTICLES = {
    "positions": ("position", "Angstrom"),
    "velocities": ("velocity", "Angstrom fs-1"),
    "forces": ("force", "eV Angstrom-1"),
}
"""Quantities of atoms: name in H5MD and unit."""
OBSERVABLES = {
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "temperature": "K",
    "conserved": "eV",
    "closest": "Angstrom",
}
"""Scalars of every run, and their units."""
EXTRAS = {"pressure": "GPa", "volume": "Angstrom+3", "walker": "1"}
"""Scalars that only some runs have, and their units."""
WHOLE_NUMBERS = ("walker",)
"""Of these."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Saved frames on the host, one row each."""

    step: Int[np.ndarray, " frames"]
    time_fs: Float[np.ndarray, " frames"]
    positions: Float[np.ndarray, "frames atoms 3"]
    """Å."""
    velocities: Float[np.ndarray, "frames atoms 3"] | None
    """Å/fs; None if they were not recorded."""
    potential_energy: Float[np.ndarray, " frames"]
    """eV, without the reference energies of the elements."""
    kinetic_energy: Float[np.ndarray, " frames"]
    temperature: Float[np.ndarray, " frames"]
    """K, over the degrees of freedom of the ensemble."""
    conserved: Float[np.ndarray, " frames"]
    """Conserved quantity of the ensemble, eV."""
    closest: Float[np.ndarray, " frames"]
    """Smallest distance between two atoms, Å."""
    forces: Float[np.ndarray, "frames atoms 3"] | None = None
    """eV/Å, if they were asked for."""
    cells: Float[np.ndarray, "frames 3 3"] | None = None
    """Å, cell vectors in rows; only where the cell moves."""
    pressure: Float[np.ndarray, " frames"] | None = None
    """GPa, of structures that are periodic along three axes."""
    volume: Float[np.ndarray, " frames"] | None = None
    """Å³, where the cell moves."""
    walker: Int[np.ndarray, " frames"] | None = None
    """The start whose configuration a replica shows, where replicas exchange theirs."""

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, rows: slice) -> "Frames":
        return replace(self, **{name: values[rows] for name, values in self.present().items()})

    def series(self) -> dict[str, np.ndarray]:
        """The scalars of each frame by name, step and time included."""
        return {name: values for name, values in self.present().items() if values.ndim == 1}

    def present(self) -> dict[str, np.ndarray]:
        """The quantities that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in found.items() if values is not None}

    @classmethod
    def join(cls, parts: "list[Frames]") -> "Frames":
        """Frames of one run, one after the other."""
        joined = {name: np.concatenate([part.present()[name] for part in parts]) for name in parts[0].present()}
        return replace(parts[0], **joined)
