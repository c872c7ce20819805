"""An ASE calculator for any potential."""

import warnings
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from so3krates._typing import Float
from so3krates.graph import Sizes
from so3krates.potential import Potential
from so3krates.prediction import Prediction
from so3krates.system import CHARGE_KEYS, MULTIPLICITY_KEYS, System


class SO3kratesCalculator(Calculator):
    """Energy, free energy, per-atom energies, forces and stress in ASE's units and signs; charges and dipole of models
    that predict them.

    Charge and multiplicity come from `atoms.info` (`total_charge` or `charge`; `total_spin`, `spin_multiplicity` or
    `multiplicity`, as 2S + 1). The stress needs three cell vectors and a periodic axis; it is σ = (1/V) ∂E/∂ε in
    eV/Å³ and Voigt order (xx, yy, zz, yz, xz, xy).

    Structures are padded to the largest sizes this calculator has met, so that it compiles again only when a structure
    needs more. After a large structure, a second calculator serves small ones faster.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        if potential.predicts_charges:
            self.implemented_properties = [*self.implemented_properties, "charges", "dipole"]
        self.sizes = Sizes(1, 0, 0)
        """Padded sizes of the compiled function in use."""
        self.prediction: Prediction | None = None
        """Everything of the last calculation, also what ASE has no name for: energy components, Hirshfeld ratios."""
        self._remarked: set[str] = set()

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all properties at once.

        Raises:
            InputError: for an element the potential does not know, or a structure that is not valid.
            PropertyNotImplementedError: for the stress of a structure without a cell.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None, "the calculator has no atoms; attach it to some first"
        has_stress = bool(np.any(self.atoms.pbc)) and self.atoms.cell.rank == 3
        if "stress" in properties and not has_stress:
            raise PropertyNotImplementedError(
                f"{self.atoms.get_chemical_formula()} has no stress: it needs three cell vectors and a periodic axis."
            )
        system = System.from_ase(self.atoms)
        self._say_what_is_ignored(system)
        pairs = self.potential.find_pairs(system)
        self.sizes = self.sizes.grown(Sizes.of([system], [pairs]))
        prediction = self.potential.predict([system], self.sizes, [pairs])[0]
        self.results = {
            "energy": prediction.energy,
            "free_energy": prediction.energy,
            "energies": prediction.energies,
            "forces": prediction.forces,
        }
        if prediction.charges is not None:
            self.results |= {"charges": prediction.charges, "dipole": prediction.dipole}
        self.prediction = prediction
        if has_stress:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress)

    def _say_what_is_ignored(self, system: System) -> None:
        """Once for every kind of remark."""
        for kind, remark in self.potential.remarks(system).items():
            if kind not in self._remarked:
                self._remarked.add(kind)
                warnings.warn(remark, UserWarning, stacklevel=4)

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; charge and multiplicity count, which ASE leaves out."""
        changes = super().check_state(atoms, tol=tol)
        if self.atoms is not None and _electronic(self.atoms) != _electronic(atoms):
            changes.append("info")
        return changes

    def get_hessian(self, atoms: ase.Atoms) -> Float[np.ndarray, "coordinates coordinates"]:
        """Second derivatives of the energy, eV/Å²; 3N × 3N, atom after atom, as `ase.vibrations` takes it."""
        size = 3 * len(atoms)
        return self.potential.hessian(System.from_ase(atoms)).reshape(size, size)


def _electronic(atoms: ase.Atoms) -> dict[str, Any]:
    return {key: atoms.info[key] for key in (*CHARGE_KEYS, *MULTIPLICITY_KEYS) if key in atoms.info}
