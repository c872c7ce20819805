"""Options of every command that reads labelled data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

if TYPE_CHECKING:
    from so3krates.data.frames import Frames


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """What a data file does not say itself."""

    energy_unit: str | None = None
    """Unit of the energies, such as kcal/mol, where the file does not say it."""
    length_unit: str | None = None
    """Unit of positions and cells, such as Bohr."""
    force_unit: str | None = None
    """Unit of the forces if it is not energy/length."""
    stress_unit: str | None = None
    """Unit of the stress if it is not energy/length^3: GPa, kbar, vasp-kbar."""
    dipole_unit: str | None = None
    """Unit of the dipoles if it is not e times the length: Debye."""
    energy_key: str | None = None
    """Key of the energy in extxyz, traj and db files, if it is none of the usual."""
    forces_key: str | None = None
    """Key of the forces."""
    stress_key: str | None = None
    """Key of the stress."""
    virials_key: str | None = None
    """Key of the virials."""
    dipole_key: str | None = None
    """Key of the dipole."""
    hirshfeld_key: str | None = None
    """Key of the Hirshfeld ratios."""

    def open(self, file: Path | str) -> "Frames":
        """FILE, FILE@NAME or FILE@START:STOP."""
        from so3krates.data.readers import read_dataset

        return read_dataset(
            file,
            energy_unit=self.energy_unit,
            length_unit=self.length_unit,
            force_unit=self.force_unit,
            stress_unit=self.stress_unit,
            dipole_unit=self.dipole_unit,
            energy_key=self.energy_key,
            forces_key=self.forces_key,
            stress_key=self.stress_key,
            virials_key=self.virials_key,
            dipole_key=self.dipole_key,
            hirshfeld_key=self.hirshfeld_key,
        )
