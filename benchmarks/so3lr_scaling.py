"""Time and memory of SO3LR on boxes of water from 192 to 12,288 atoms.

    python benchmarks/so3lr_scaling.py so3lr.safetensors

Energy, forces and stress by `Potential.predict` in float32, search on the host included. The long-range cutoff is
12 Å, 6 Å in the smallest box. Each size runs in a process of its own, so that its peak memory is its own.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from results import BUSY, machine, write
from rich.console import Console
from rich.table import Table
from step_time import geometries
from workers import pinned

RESULT = Path(__file__).parent / "results" / "so3lr_scaling.json"
REPEATS = {192: (1, 1, 1), 1536: (2, 2, 2), 3072: (4, 2, 2), 6144: (4, 4, 2), 12288: (4, 4, 4)}
"""Of the box of 64 waters, 12.4 Å long."""
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
    unknown = sorted(set(atoms or ()) - set(REPEATS))
    if unknown:
        raise SystemExit(f"no box of {unknown[0]} atoms; choose from {', '.join(map(str, REPEATS))}.")
    rows = {}
    for count in atoms or REPEATS:
        Console().print(f"measuring {count} atoms", style="dim")
        command = [sys.executable, __file__, "measure", str(model), str(folder / "water_64.xyz"), str(count)]
        with pinned(threads):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{count} atoms: {done.stderr.strip().splitlines()[-1]}")
        rows[str(count)] = json.loads(done.stdout.splitlines()[-1])
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
def measure(model: Path, structure: Path, atoms: int, /) -> None:
    """One size, in this process; prints JSON."""
    import ase.io

    import so3krates as sk

    box = ase.io.read(structure)
    assert isinstance(box, ase.Atoms)
    system = sk.System.from_ase(box.repeat(REPEATS[atoms]))
    cutoff = SMALL_BOX_A if REPEATS[atoms] == (1, 1, 1) else LONG_RANGE_CUTOFF_A
    potential = sk.load(model, long_range_cutoff=cutoff)
    before = _peak_bytes()
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
                "bytes_per_atom": round((_peak_bytes() - before) / atoms),
            }
        )
    )


def fitted(rows: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Exponent of time against atoms, over the boxes with the same long-range cutoff."""
    alike = {int(atoms): row for atoms, row in rows.items() if row["long_range_cutoff_A"] == LONG_RANGE_CUTOFF_A}
    if len(alike) < 2:
        return None
    slope, _ = np.polyfit(np.log(list(alike)), np.log([row["seconds"] for row in alike.values()]), 1)
    return {"time_grows_like_atoms_to_the": round(float(slope), 3)}


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


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    app()
