"""Start geometries of the benchmarks, and where they and the data are."""

import os
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "DHA": "dha.xyz",
    "AT-AT": "atat.xyz",
    "buckyball catcher": "bb.xyz",
    "Ala15": "ala15.xyz",
    "64 waters": "water_64.xyz",
}
PERIODIC = ("64 waters", "512 waters")
NAMES = ("ethanol", *FILES, "512 waters")


def shared(name: str) -> Path:
    """A folder in SHARED_DIR, or in `shared` beside the repository."""
    return Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared")) / name


def structure(name: str, folder: Path) -> ase.Atoms:
    """A structure of the list: molecules without a box around the origin, as the peers' neighbour lists need them."""
    if name == "ethanol":
        atoms = ase.build.molecule("CH3CH2OH")
    elif name == "512 waters":
        atoms = ase.io.read(folder / FILES["64 waters"]).repeat((2, 2, 2))
    else:
        atoms = ase.io.read(folder / FILES[name])
    bare = ase.Atoms(numbers=atoms.numbers, positions=atoms.positions)
    if name in PERIODIC:
        bare.set_cell(atoms.cell)
        bare.pbc = True
    else:
        bare.positions -= bare.positions.mean(axis=0)
    return bare


def as_task(atoms: ase.Atoms) -> dict[str, Any]:
    """The structure as JSON."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
