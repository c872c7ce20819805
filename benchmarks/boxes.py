"""What benchmarks over growing boxes of water share: the boxes, a process for each, peak memory, growth with size."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from rich.console import Console
from workers import pinned

REPEATS = {
    192: (1, 1, 1),
    1536: (2, 2, 2),
    3072: (4, 2, 2),
    6144: (4, 4, 2),
    12288: (4, 4, 4),
    15360: (4, 4, 5),
    98304: (8, 8, 8),
}
"""Of the box of 64 waters, 12.4 Å long."""


def water(folder: Path, atoms: int) -> ase.Atoms:
    """The box of so many atoms."""
    box = ase.io.read(folder / "water_64.xyz")
    assert isinstance(box, ase.Atoms)
    return box.repeat(REPEATS[atoms])


def apart(script: str, arguments: Iterable[object], threads: int) -> dict[str, Any]:
    """The JSON that `script measure` prints, run in a process whose peak memory is its own."""
    command = [sys.executable, script, "measure", *map(str, arguments)]
    with pinned(threads):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise SystemExit(f"{' '.join(map(str, arguments))}: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(
    script: str, sizes: Iterable[int], arguments: Callable[[int], Iterable[object]], threads: int
) -> dict[str, dict[str, Any]]:
    """What `script measure` prints for each size, one after another."""
    rows = {}
    for atoms in sizes:
        Console().print(f"measuring {atoms} atoms", style="dim")
        rows[str(atoms)] = apart(script, arguments(atoms), threads)
    return rows


def peak_bytes() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def growth(rows: Mapping[str, Mapping[str, Any]], seconds: str) -> dict[str, float] | None:
    """Exponent of time against atoms; None for fewer than two sizes."""
    if len(rows) < 2:
        return None
    atoms = [int(count) for count in rows]
    slope, _ = np.polyfit(np.log(atoms), np.log([row[seconds] for row in rows.values()]), 1)
    return {"time_grows_like_atoms_to_the": round(float(slope), 3)}


def said(fit: Mapping[str, float] | None) -> str | None:
    """The growth in a few words."""
    return None if fit is None else f"time ~ atoms^{fit['time_grows_like_atoms_to_the']}"
