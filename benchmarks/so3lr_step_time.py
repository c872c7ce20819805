"""Time per step of molecular dynamics with SO3LR, side by side with so3krates-torch, which ships the same weights.

    python benchmarks/so3lr_step_time.py so3lr.safetensors --so3krates-torch-python ENV/bin/python

Energy, forces and both neighbour lists in float32; molecules in vacuum. `so3krates convert so3lr` makes the model file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cyclopts
from comparison import Task, compare
from options import Comparing, Molecules
from step_time import QUANTITY, engines
from structures import NAMES, as_task, structure

RESULT = Path(__file__).parent / "results" / "so3lr_step_time.json"
GOALS = dict.fromkeys(("DHA", "AT-AT", "buckyball catcher", "Ala15", "64 waters", "512 waters"), 10.0)
"""Over so3krates-torch."""
LONG_RANGE_CUTOFF_A, IN_SMALL_BOX_A = 12.0, 6.0
"""The second for 64 waters, whose box is 12.4 Å long."""


def tasks(names: Sequence[str], folder: Path, model: Path) -> Iterator[Task]:
    for name in names:
        atoms = structure(name, folder)
        cutoff = IN_SMALL_BOX_A if name == "64 waters" else LONG_RANGE_CUTOFF_A
        asked = as_task(atoms) | {"model": str(model.resolve()), "long_range_cutoff": cutoff}
        yield Task(name, asked, {"atoms": len(atoms), "long_range_cutoff_A": cutoff})


def main(model: Path, /, *, molecules: Molecules | None = None, options: Comparing | None = None) -> None:
    """Measure the time per step of every engine on every structure.

    Parameters
    ----------
    model
        SO3LR as a model file of this package.
    """
    molecules, options = molecules or Molecules(), options or Comparing()
    names = molecules.names(NAMES, quick=options.quick)
    rows, whole = tasks(names, molecules.folder, model), len(names) == len(NAMES)
    compare("so3lr_step_time", engines(options), rows, options, QUANTITY, GOALS, RESULT, whole=whole)


if __name__ == "__main__":
    cyclopts.run(main)
