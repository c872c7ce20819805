"""Time and memory of dynamics on boxes of water from 1,536 to 98,304 atoms.

    python benchmarks/scaling.py

NVE in the compiled chunk of `so3krates.simulate`, as in `step_time.py`: neighbour search, forces, integrator, monitor.
Model of the article's size, float32, random parameters. Each size runs in a process of its own, so that its peak memory
is its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from boxes import growth, peak_bytes, rows_of, said, water
from options import Boxes, Measuring
from results import figures, finish, own_document
from rich.table import Table
from workers import PEERS

RESULT = Path(__file__).parent / "results" / "scaling.json"
SIZES = (1536, 15360, 98304)
SMALLEST = 192
"""Atoms of the box for which the potential is made, so that this is no part of the peak memory."""
SAMPLES, QUICK_SAMPLES = 7, 1
STEPS = 6e4
"""Atoms times steps of a sample."""

app = cyclopts.App(help=__doc__)


@app.default
def main(*, boxes: Boxes | None = None, options: Measuring | None = None) -> None:
    """Measure every size and fit how time grows."""
    load, boxes, options = os.getloadavg()[0], boxes or Boxes(), options or Measuring()
    samples = QUICK_SAMPLES if options.quick else SAMPLES
    sizes = boxes.sizes(SIZES, quick=options.quick)
    rows = rows_of(__file__, sizes, lambda count: (boxes.folder, count, samples), options.threads)
    protocol = {"precision": "float32", "threads": options.threads, "samples": samples}
    result = own_document("scaling", load, protocol, rows) | {"fit": growth(rows, "seconds_per_step")}
    finish(result, shown(result), options.target(RESULT, whole=len(rows) == len(SIZES)))


@app.command
def measure(folder: Path, atoms: int, samples: int, /) -> None:
    """One size, in this process; prints JSON."""
    sys.path.insert(0, str(PEERS))
    import jax
    from so3krates_worker import Dynamics, gentle_potential

    import so3krates as sk

    potential = gentle_potential(sk.System.from_ase(water(folder, SMALLEST)))
    before, start = peak_bytes(), time.perf_counter()
    dynamics = Dynamics(potential, sk.System.from_ase(water(folder, atoms)))
    dynamics.steps = max(2, round(STEPS / atoms))
    dynamics.chunk()
    prepared = time.perf_counter() - start
    steps = [value / dynamics.steps for value in _seconds(dynamics.chunk, samples)]
    peak = peak_bytes()
    state, search = dynamics.start, jax.jit(dynamics.neighbors.update)
    searches = _seconds(lambda: jax.block_until_ready(search(state.positions, state.cell)), samples + 1)[1:]
    step = float(np.median(steps))
    print(
        json.dumps(
            {
                "search": type(dynamics.neighbors.near).__name__,
                "places_for_pairs": dynamics.neighbors.near.capacity,
                "steps_per_sample": dynamics.steps,
                "seconds_to_prepare": round(prepared, 2),
                "seconds_per_step": round(step, 4),
                "fastest_seconds_per_step": round(min(steps), 4),
                "microseconds_per_atom_and_step": round(1e6 * step / atoms, 2),
                "share_of_the_search": round(float(np.median(searches)) / step, 4),
                "bytes_per_atom": round((peak - before) / atoms),
            }
        )
    )


def shown(result: dict[str, Any]) -> Table:
    table = figures("Dynamics of water", "atoms", "s per step", "µs per atom", "of it search", "kB per atom")
    for atoms, row in result["rows"].items():
        table.add_row(
            atoms,
            f"{row['seconds_per_step']:.3f}",
            f"{row['microseconds_per_atom_and_step']:.1f}",
            f"{100 * row['share_of_the_search']:.1f} %",
            f"{row['bytes_per_atom'] / 1e3:.1f}",
        )
    table.caption = said(result["fit"])
    return table


def _seconds(work: Callable[[], object], samples: int) -> list[float]:
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return taken


if __name__ == "__main__":
    app()
