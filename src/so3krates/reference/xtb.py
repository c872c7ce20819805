"""GFN2-xTB by tblite, with the charge and spin that the structure tells."""

from ase import Atoms
from ase.calculators.calculator import all_changes
from tblite.ase import TBLite

from so3krates.system import System


class XTB(TBLite):
    """tblite's calculator, which would take every structure for neutral and closed-shell unless told otherwise.

    Arguments are tblite's; `charge` and `multiplicity` given there go before those of `atoms.info`.
    """

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything tblite offers; energies in eV, forces in eV/Å, stress in eV/Å³."""
        if atoms is None:
            atoms = self.atoms
        super().calculate(_telling_electrons(atoms), properties, system_changes)
        self.atoms = atoms.copy()


def _telling_electrons(atoms: Atoms) -> Atoms:
    """A copy whose initial charges and magnetic moments, which tblite sums up, are those of `atoms.info`."""
    system, told = System.from_ase(atoms), atoms.copy()
    rest = [0.0] * (len(atoms) - 1)
    if system.charge:
        told.set_initial_charges([system.charge, *rest])
    if system.unpaired:
        told.set_initial_magnetic_moments([system.unpaired, *rest])
    return told
