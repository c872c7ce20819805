"""Time and memory of SO3LR on boxes of water from 192 to 12,288 atoms.

    python benchmarks/so3lr_scaling.py so3lr.safetensors

Energy, forces and stress by `Potential.predict` in float32, search on the host included. The long-range cutoff is
12 Å, 6 Å in the smallest box. Each size runs in a process of its own, so that its peak memory is its own.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from boxes import growth, peak_bytes, rows_of, said, water
from options import Boxes, Measuring
from results import figures, finish, own_document
from rich.table import Table

RESULT = Path(__file__).parent / "results" / "so3lr_scaling.json"
SIZES = (192, 1536, 3072, 6144, 12288)
SMALLEST = 192
SMALL_BOX_A, LONG_RANGE_CUTOFF_A = 6.0, 12.0
SAMPLES, QUICK_SAMPLES = 5, 1

app = cyclopts.App(help=__doc__)


@app.default
def main(model: Path, /, *, boxes: Boxes | None = None, options: Measuring | None = None) -> None:
    """Measure every size and fit how time grows.

    Parameters
    ----------
    model
        SO3LR as a model file of this package.
    """
    load, boxes, options = os.getloadavg()[0], boxes or Boxes(), options or Measuring()
    samples = QUICK_SAMPLES if options.quick else SAMPLES
    sizes = boxes.sizes(SIZES, quick=options.quick)
    rows = rows_of(__file__, sizes, lambda count: (model, boxes.folder, count, samples), options.threads)
    protocol = {"precision": "float32", "threads": options.threads, "samples": samples}
    result = own_document("so3lr_scaling", load, protocol, rows) | {"fit": fitted(rows)}
    finish(result, shown(result), options.target(RESULT, whole=len(rows) == len(SIZES)))


@app.command
def measure(model: Path, folder: Path, atoms: int, samples: int, /) -> None:
    """One size, in this process; prints JSON."""
    import so3krates as sk

    system = sk.System.from_ase(water(folder, atoms))
    cutoff = SMALL_BOX_A if atoms == SMALLEST else LONG_RANGE_CUTOFF_A
    potential = sk.load(model, long_range_cutoff=cutoff)
    before = peak_bytes()
    potential.predict([system])
    lists, whole = [], []
    for _ in range(samples):
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


def shown(result: dict[str, Any]) -> Table:
    table = figures("SO3LR on water", "atoms", "s per evaluation", "of it lists", "kB per atom")
    for atoms, row in result["rows"].items():
        seconds, lists = row["seconds"], row["seconds_for_the_lists"]
        table.add_row(atoms, f"{seconds:.3f}", f"{lists:.3f}", f"{row['bytes_per_atom'] / 1e3:.0f}")
    table.caption = said(result["fit"])
    return table


if __name__ == "__main__":
    app()
