"""What docs/so3lr.md says of energies at different cutoffs, and of Hirshfeld ratios in a liquid."""

from pathlib import Path

import ase.build
import numpy as np
import pytest

from so3krates.io.model_file import load
from so3krates.system import System
from so3krates.units import COULOMB

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "so3lr.md").read_text(encoding="utf-8")


def water() -> System:
    return System.from_ase(ase.build.molecule("H2O"))


def liquid(reference: Path) -> tuple[System, dict[str, np.ndarray]]:
    values = dict(np.load(reference / "so3lr_water64_lr6.npz"))
    return System(values["positions"], values["numbers"], values["cell"], (True, True, True)), values


def test_the_cutoff_moves_the_energy_of_one_water(so3lr_file: Path) -> None:
    """By k_e Σq²/2R, in electrostatics alone, as the table says."""
    cutoffs = (12.0, 20.0, 1000.0)
    found = [load(so3lr_file, "float64", long_range_cutoff=cutoff).predict([water()])[0] for cutoff in cutoffs]
    shown = " | ".join(f"{prediction.energy:.3f}".replace("-", "−") for prediction in found)
    assert f"| energy, eV | {shown} |" in PAGE
    near, _, far = found
    assert f"{near.energy - far.energy:.2f} eV for one water molecule between 12 Å and none" in PAGE
    forces = np.linalg.norm((near.forces - far.forces)[0])
    assert f"on the oxygen by {forces:.2f} eV/Å between 12 Å and none" in " ".join(PAGE.split())
    assert near.charges is not None
    for prediction, cutoff in zip(found, cutoffs, strict=True):
        shift = 0.5 * COULOMB * np.sum(near.charges**2) * (1.0 / cutoff - 1.0 / 1000.0)
        assert prediction.energy - far.energy == pytest.approx(shift, abs=1e-4)
        for name in ("network", "zbl", "dispersion"):
            assert prediction.components[name] == pytest.approx(far.components[name], abs=1e-9)


@pytest.mark.slow
def test_a_liquid_against_a_molecule(reference: Path, so3lr_file: Path) -> None:
    """Unbound with the defaults, bound at one cutoff, and by another amount with all images."""
    box, _ = liquid(reference)
    bound = {}
    for name, options in (("defaults", {}), ("12", {"long_range_cutoff": 12.0}), ("all", {"full_range": True})):
        alone = load(so3lr_file) if name != "12" else load(so3lr_file, **options)
        bound[name] = load(so3lr_file, **options).energy(box) / 64 - alone.energy(water())
    page = " ".join(PAGE.split())
    assert f"{bound['defaults']:.2f} eV per molecule *above* the single one" in page
    assert f"With 12 Å for both they lie {-bound['12']:.2f} eV below" in page
    assert f"no cutoff for the molecule give {-bound['all']:.2f} eV" in page


def test_hirshfeld_ratios_of_oxygen_in_the_liquid(reference: Path, so3lr_file: Path) -> None:
    """Of the original, which test_so3lr.py finds again in ours."""
    _, values = liquid(reference)
    mean = values["hirshfeld_ratios"][values["numbers"] == 8].mean()
    ratios = load(so3lr_file).predict([water()])[0].hirshfeld_ratios
    assert ratios is not None
    assert f"gets ratios of {mean:.2f} on average, {ratios[0]:.2f} in a single molecule" in " ".join(PAGE.split())
