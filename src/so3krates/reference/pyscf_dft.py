"""Kohn–Sham DFT by PySCF as an ASE calculator: energies and forces that are exact derivatives of each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, CalculatorSetupError, SCFError, all_changes

from so3krates.system import System
from so3krates.units import BOHR, HARTREE

COARSE_LEVEL = 0
COARSE_TOLERANCE = 1e-4
"""Hartree; the coarse grid's density only starts the iterations on the final grid."""


class PySCF(Calculator):
    """Molecular Kohn–Sham DFT with density fitting and the response of grid and fitting basis in the gradient.

    Without the grid response the forces differ from the derivative of the energy by several meV/Å on the usual
    grids; with it they agree to the convergence of the iterations, so that a small grid is a small, smooth and
    consistent error. Each structure is computed on its own: first on a coarse grid, whose density starts the
    iterations on the final one. The result does not depend on structures computed before.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (the name and type ASE prescribes)

    def __init__(
        self,
        *,
        xc: str = "PBE",
        basis: str = "def2-SVP",
        auxbasis: str | None = None,
        grid: int | Mapping[str, Sequence[int]] = 4,
        convergence: float = 1e-9,
        charge: int | None = None,
        unpaired: int | None = None,
        max_cycle: int = 100,
        max_memory_MB: int = 2000,
    ) -> None:
        """Choose the method.

        Args:
            xc: functional, in PySCF's names.
            basis: orbital basis.
            auxbasis: fitting basis; PySCF's choice for the orbital basis and functional if None.
            grid: level from 0 to 9, or element symbol to (radial, angular) points before pruning.
            convergence: of the energy in Hartree; the orbital gradient converges to its square root.
            charge: total charge in e; None takes `total_charge` or `charge` of `atoms.info`, or 0.
            unpaired: number of unpaired electrons; None takes the multiplicity in `atoms.info`, or 0.
            max_cycle: iterations before a structure counts as failed.
            max_memory_MB: hint to PySCF for the size of its blocks.

        Raises:
            ImportError: PySCF is not installed.
        """
        import pyscf

        super().__init__()
        self.level_of_theory = f"{xc}/{basis}"
        self.code = f"PySCF {pyscf.__version__}"
        self._xc, self._basis, self._auxbasis = xc, basis, auxbasis
        self._grid = grid if isinstance(grid, int) else {k: (int(v[0]), int(v[1])) for k, v in grid.items()}
        self._convergence, self._max_cycle, self._max_memory_MB = convergence, max_cycle, max_memory_MB
        self._charge, self._unpaired = charge, unpaired

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy (eV) and forces (eV/Å).

        Raises:
            CalculatorSetupError: the structure is periodic or its electrons do not fit charge and spin.
            SCFError: the iterations did not converge.
        """
        super().calculate(atoms, properties, system_changes)
        molecule = self._molecule(self.atoms if atoms is None else atoms)
        method = self._method(molecule)
        method.kernel(dm0=self._coarse_density(molecule, method))
        if not method.converged:
            raise SCFError(f"the SCF iterations did not converge in {self._max_cycle} cycles")
        gradient = method.nuc_grad_method()
        gradient.grid_response = True
        energy = float(method.e_tot) * HARTREE
        forces = -np.asarray(gradient.kernel(), dtype=np.float64) * (HARTREE / BOHR)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}

    def _molecule(self, atoms: Any) -> Any:
        from pyscf import gto

        system = System.from_ase(atoms)
        if system.periodic:
            raise CalculatorSetupError("this calculator is for molecules; the structure has periodic axes")
        charge = round(system.charge) if self._charge is None else self._charge
        unpaired = round(system.unpaired) if self._unpaired is None else self._unpaired
        try:
            return gto.M(
                atom=[(int(z), tuple(r)) for z, r in zip(system.numbers, system.positions / BOHR, strict=True)],
                unit="Bohr",
                basis=self._basis,
                charge=charge,
                spin=unpaired,
                max_memory=self._max_memory_MB,
                verbose=0,
            )
        except RuntimeError as error:
            raise CalculatorSetupError(f"charge {charge} with {unpaired} unpaired electrons: {error}") from error

    def _method(self, molecule: Any) -> Any:
        from pyscf import dft

        kind = dft.UKS if molecule.spin else dft.RKS
        method: Any = kind(molecule, xc=self._xc).density_fit(auxbasis=self._auxbasis)
        # PySCF opens a scratch file for restarts and leaves it to the garbage collector.
        method.chkfile = None
        if (scratch := getattr(method, "_chkfile", None)) is not None:
            scratch.close()
        method.conv_tol = self._convergence
        method.max_cycle = self._max_cycle
        # The extra cycle after convergence checks it once more; the tolerance here leaves nothing for it to do.
        method.conv_check = False
        if isinstance(self._grid, int):
            method.grids.level = self._grid
        else:
            method.grids.atom_grid = self._grid
        return method

    def _coarse_density(self, molecule: Any, method: Any) -> Any:
        """The density on a coarse grid; shares the fitted integrals, which know no grid."""
        coarse = self._method(molecule)
        coarse.with_df = method.with_df
        coarse.grids.atom_grid = {}
        coarse.grids.level = COARSE_LEVEL
        coarse.conv_tol = COARSE_TOLERANCE
        coarse.conv_tol_grad = COARSE_TOLERANCE**0.5
        coarse.kernel()
        return coarse.make_rdm1()
