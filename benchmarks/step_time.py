"""Time per step of molecular dynamics, side by side with other packages.

    python benchmarks/step_time.py --so3krates-torch-python ENV/bin/python --mace-python ENV/bin/python

Energy, forces and neighbour list in float32, model of the article's size, random parameters, molecules in vacuum.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import ase
import ase.build
import ase.io
import cyclopts
from options import Options
from results import compared, described, document, show, write
from rich.console import Console
from side_by_side import Quantity
from workers import Engine, running, this_python

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "step_time.json"
FILES = {
    "DHA": "dha.xyz",
    "AT-AT": "atat.xyz",
    "buckyball catcher": "bb.xyz",
    "Ala15": "ala15.xyz",
    "64 waters": "water_64.xyz",
}
PERIODIC = ("64 waters", "512 waters")
NAMES = ("ethanol", *FILES, "512 waters")
QUANTITY = Quantity("ms per step", higher_is_better=False)
GOALS = {
    "ethanol": 25.0,
    "DHA": 15.0,
    "AT-AT": 15.0,
    "buckyball catcher": 15.0,
    "Ala15": 15.0,
    "64 waters": 12.0,
    "512 waters": 12.0,
}
"""Over so3krates-torch."""


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


def geometries(given: Path | None) -> Path:
    """The folder of the start geometries."""
    return given or Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared")) / "structures"


def asked(only: Sequence[str] | None, quick: bool, known: Sequence[str]) -> list[str]:
    """The structures to measure."""
    names = list(only) if only else ["ethanol"] if quick else list(known)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"unknown structure '{unknown[0]}'; choose from {', '.join(known)}.")
    return names


def main(
    *,
    structures: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None,
    only: list[str] | None = None,
    options: Options | None = None,
) -> None:
    """Measure the time per step of every engine on every structure.

    Parameters
    ----------
    structures
        Folder of the start geometries; `structures` in SHARED_DIR, or in `shared` beside the repository.
    only
        Names of the structures to measure; all if not given.
    """
    options = options or Options()
    load = os.getloadavg()[0]
    folder, names = geometries(structures), asked(only, options.quick, NAMES)
    tasks = {name: as_task(structure(name, folder)) for name in names}
    engines = [
        Engine("so3krates", "so3krates_worker.py", this_python(), "md"),
        Engine("so3krates, ASE", "so3krates_worker.py", this_python(), "ase"),
        Engine("so3krates-torch, ASE", "so3krates_torch_worker.py", options.so3krates_torch_python, "ase"),
        Engine("mace-torch 96x0e, ASE", "mace_worker.py", options.mace_python, "ase"),
    ]
    console = Console()
    rows = {}
    with running(engines, options.threads) as workers:
        for name, task in tasks.items():
            console.print(f"measuring {name} ({len(task['numbers'])} atoms)", style="dim")
            row = compared(engines, workers, task, options.protocol, QUANTITY)
            rows[name] = {"atoms": len(task["numbers"]), **row}
        result = document("step_time", load, options.protocol, described(engines, workers), rows)
    show(result, engines, GOALS, console)
    target = options.target(RESULT)
    if target is not None:
        write(result, target)


if __name__ == "__main__":
    cyclopts.run(main)
