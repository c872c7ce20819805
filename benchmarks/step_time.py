"""Time per step of molecular dynamics, side by side with other packages.

    python benchmarks/step_time.py --so3krates-torch-python ENV/bin/python --mace-python ENV/bin/python

Energy, forces and neighbour list in float32, model of the article's size, random parameters, molecules in vacuum.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cyclopts
from comparison import Task, compare
from options import Comparing, Molecules
from side_by_side import Quantity
from structures import NAMES, as_task, structure
from workers import Engine, this_python

RESULT = Path(__file__).parent / "results" / "step_time.json"
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


def engines(options: Comparing) -> list[Engine]:
    """Dynamics of this package, its calculator, and the peer that runs the same networks."""
    return [
        Engine("so3krates", "so3krates_worker.py", this_python(), "md"),
        Engine("so3krates, ASE", "so3krates_worker.py", this_python(), "ase"),
        Engine("so3krates-torch, ASE", "so3krates_torch_worker.py", options.so3krates_torch_python, "ase"),
    ]


def tasks(names: Sequence[str], folder: Path) -> Iterator[Task]:
    for name in names:
        atoms = structure(name, folder)
        yield Task(name, as_task(atoms), {"atoms": len(atoms)})


def main(*, molecules: Molecules | None = None, options: Comparing | None = None) -> None:
    """Measure the time per step of every engine on every structure."""
    molecules, options = molecules or Molecules(), options or Comparing()
    names = molecules.names(NAMES, quick=options.quick)
    every = [*engines(options), Engine("mace-torch 96x0e, ASE", "mace_worker.py", options.mace_python, "ase")]
    whole = len(names) == len(NAMES)
    compare("step_time", every, tasks(names, molecules.folder), options, QUANTITY, GOALS, RESULT, whole=whole)


if __name__ == "__main__":
    cyclopts.run(main)
