"""Time and memory of SO3LR on boxes of water from 192 to 12,288 atoms.

    python benchmarks/so3lr_scaling.py so3lr.safetensors

Energy, forces and stress by `Potential.predict` in float32, search on the host included. The long-range cutoff is
12 Å, 6 Å in the smallest box. Each size runs in a process of its own, so that its peak memory is its own.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from boxes import chosen, growth, peak_bytes, rows_of, water
from results import BUSY, machine, write
from rich.console import Console
from rich.table import Table
from step_time import geometries

RESULT = Path(__file__).parent / "results" / "so3lr_scaling.json"
SIZES = (192, 1536, 3072, 6144, 12288)
SMALLEST = 192
SMALL_BOX_A, LONG_RANGE_CUTOFF_A = 6.0, 12.0
SAMPLES = 5

app = cyclopts.App(help=__doc__)


@app.default
def main(
    model: Path,
    /,
    *,
    structures: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None,
    atoms: list[int] | None = None,
    threads: int = 2,
    output: Path | None = None,
) -> None:
    """Measure every size and fit how time grows.

    Parameters
    ----------
    model
        SO3LR as a model file of this package.
    structures
        Folder of the start geometries; `structures` in SHARED_DIR, or in `shared` beside the repository.
    atoms
        Sizes to measure; all if not given.
    threads
        Cores and threads to use.
    output
        Where to store the result; that of the repository if not given and all sizes are measured.
    """
    load = os.getloadavg()[0]
    folder = geometries(structures)
    rows = rows_of(__file__, chosen(atoms, SIZES), lambda count: (model, folder, count), threads)
    result: dict[str, Any] = {
        "benchmark": "so3lr_scaling",
        "machine": machine(load),
        "protocol": {"precision": "float32", "threads": threads, "samples": SAMPLES},
        "rows": rows,
        "fit": fitted(rows),
    }
    show(result)
    target = output or (None if atoms else RESULT)
    if target is not None:
        write(result, target)


@app.command
def measure(model: Path, folder: Path, atoms: int, /) -> None:
    """One size, in this process; prints JSON."""
    import so3krates as sk

    system = sk.System.from_ase(water(folder, atoms))
    cutoff = SMALL_BOX_A if atoms == SMALLEST else LONG_RANGE_CUTOFF_A
    potential = sk.load(model, long_range_cutoff=cutoff)
    before = peak_bytes()
    potential.predict([system])
    lists, whole = [], []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        pairs = potential.find_pairs(system)
        lists.append(time.perf_counter() - start)
        potential.predict([system], lists=[pairs])
        whole.append(time.perf_counter() - start)
    near, far = pairs.counts
    print(
        json.dumps(
            {
                "long_range_cutoff_A": cutoff,
                "pairs": near,
                "long_range_pairs": far,
                "seconds": round(float(np.median(whole)), 4),
                "seconds_for_the_lists": round(float(np.median(lists)), 4),
                "bytes_per_atom": round((peak_bytes() - before) / atoms),
            }
        )
    )


def fitted(rows: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Exponent of time against atoms, over the boxes with the same long-range cutoff."""
    alike = {atoms: row for atoms, row in rows.items() if row["long_range_cutoff_A"] == LONG_RANGE_CUTOFF_A}
    return growth(alike, "seconds")


def show(result: dict[str, Any]) -> None:
    table = Table(title="SO3LR on water")
    for title in ("atoms", "s per evaluation", "of it lists", "kB per atom"):
        table.add_column(title, justify="right")
    for atoms, row in result["rows"].items():
        seconds, lists = row["seconds"], row["seconds_for_the_lists"]
        table.add_row(atoms, f"{seconds:.3f}", f"{lists:.3f}", f"{row['bytes_per_atom'] / 1e3:.0f}")
    Console().print(table)
    if result["fit"]:
        Console().print(f"time ~ atoms^{result['fit']['time_grows_like_atoms_to_the']}")
    if result["machine"]["load_average_before"] > BUSY:
        Console().print("The machine was busy: the times mean nothing.", style="bold yellow")


if __name__ == "__main__":
    app()
