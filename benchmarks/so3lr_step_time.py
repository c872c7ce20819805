"""Time per step of molecular dynamics with SO3LR, side by side with so3krates-torch, which ships the same weights.

    python benchmarks/so3lr_step_time.py so3lr.safetensors --so3krates-torch-python ENV/bin/python

Energy, forces and both neighbour lists in float32; molecules in vacuum. `so3krates convert so3lr` makes the model file.
"""

import os
from pathlib import Path
from typing import Annotated

import cyclopts
from options import Options
from results import compared, described, document, show, write
from rich.console import Console
from side_by_side import Quantity
from step_time import FILES, as_task, asked, geometries, structure
from workers import Engine, running, this_python

RESULT = Path(__file__).parent / "results" / "so3lr_step_time.json"
NAMES = ("ethanol", *FILES, "512 waters")
QUANTITY = Quantity("ms per step", higher_is_better=False)
GOALS = dict.fromkeys(("DHA", "AT-AT", "buckyball catcher", "Ala15", "64 waters", "512 waters"), 10.0)
"""Over so3krates-torch."""
LONG_RANGE_CUTOFF_A, IN_SMALL_BOX_A = 12.0, 6.0
"""The second for 64 waters, whose box is 12.4 Å long."""


def main(
    model: Path,
    /,
    *,
    structures: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None,
    only: list[str] | None = None,
    options: Options | None = None,
) -> None:
    """Measure the time per step of every engine on every structure.

    Parameters
    ----------
    model
        SO3LR as a model file of this package.
    structures
        Folder of the start geometries; `structures` in SHARED_DIR, or in `shared` beside the repository.
    only
        Names of the structures to measure; all if not given.
    """
    options = options or Options()
    load = os.getloadavg()[0]
    folder, names = geometries(structures), asked(only, options.quick, NAMES)
    engines = [
        Engine("so3krates", "so3krates_worker.py", this_python(), "md"),
        Engine("so3krates, ASE", "so3krates_worker.py", this_python(), "ase"),
        Engine("so3krates-torch, ASE", "so3krates_torch_worker.py", options.so3krates_torch_python, "ase"),
    ]
    console = Console()
    rows = {}
    with running(engines, options.threads) as workers:
        for name in names:
            cutoff = IN_SMALL_BOX_A if name == "64 waters" else LONG_RANGE_CUTOFF_A
            task = as_task(structure(name, folder)) | {"model": str(model.resolve()), "long_range_cutoff": cutoff}
            console.print(f"measuring {name} ({len(task['numbers'])} atoms)", style="dim")
            row = compared(engines, workers, task, options.protocol, QUANTITY)
            rows[name] = {"atoms": len(task["numbers"]), "long_range_cutoff_A": cutoff, **row}
        result = document("so3lr_step_time", load, options.protocol, described(engines, workers), rows)
    show(result, engines, GOALS, console)
    target = options.target(RESULT)
    if target is not None:
        write(result, target)


if __name__ == "__main__":
    cyclopts.run(main)
