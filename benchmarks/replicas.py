"""Throughput of replicas: steps of all of them per second, over those of one on its own.

    python benchmarks/replicas.py

Ethanol, model of the article's size, random parameters, float32, Langevin dynamics in memory, a frame every 10 fs. One
run and batches of replicas take turns in one process on the same cores. One replica alone already keeps the arithmetic
units of a core busy: its energy and forces take 1.3e7 floating-point operations, 0.07 ms on two cores at their peak, so
a batch can gain what a second core gives, and hardly more.
"""

import os
import sys
from pathlib import Path

import cyclopts
import numpy as np
from md_overhead import TEMPERATURE_K, still_potential
from options import Geometries, Measuring
from results import figures, finish, own_document
from structures import structure
from workers import pinned

from so3krates import md
from so3krates.potential import Potential
from so3krates.system import System

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from so3krates_worker import TIMESTEP_FS

RESULT = Path(__file__).parent / "results" / "replicas.json"
COUNTS = (1, 8, 64)
GOAL = {64: 6.0}
ROUNDS = 5
SECONDS = 8.0
BATH = md.Langevin(temperature_K=TEMPERATURE_K)


def alone(potential: Potential, system: System, steps: int) -> float:
    """Steps per second of one structure on its own."""
    _, run = md.simulate(potential, system, BATH, timestep_fs=TIMESTEP_FS, steps=steps)
    return run.summary.steps_per_second


def together(potential: Potential, system: System, count: int, steps: int) -> float:
    """Steps per second of so many replicas, all of them added up."""
    found = md.simulate_replicas(potential, system, [BATH] * count, timestep_fs=TIMESTEP_FS, steps=steps)
    assert found[0].run is not None and len(found.complete) == count
    return count * found[0].run.summary.steps_per_second


def main(
    *,
    geometries: Geometries | None = None,
    name: str = "ethanol",
    counts: tuple[int, ...] = COUNTS,
    options: Measuring | None = None,
) -> None:
    """Measure throughput.

    Parameters
    ----------
    name
        Of the structure.
    counts
        Numbers of replicas.
    """
    load, geometries, options = os.getloadavg()[0], geometries or Geometries(), options or Measuring()
    rounds, seconds = (1, 0.5) if options.quick else (ROUNDS, SECONDS)
    system = System.from_ase(structure(name, geometries.folder))
    potential = still_potential(system)
    with pinned(options.threads):
        guesses = {0: alone(potential, system, 200)} | {n: together(potential, system, n, 40) for n in counts}
        speeds: dict[int, list[float]] = {n: [] for n in guesses}
        for _ in range(rounds):
            for n, guess in guesses.items():
                steps = max(20, round(seconds * guess / max(n, 1)))
                speeds[n].append(together(potential, system, n, steps) if n else alone(potential, system, steps))
    base = np.array(speeds.pop(0))
    rows = {
        str(n): {
            "steps_per_second": round(float(np.median(found))),
            "over_one_alone": round(float(np.median(np.array(found) / base)), 2),
            "of_rounds": [round(float(ratio), 2) for ratio in np.array(found) / base],
        }
        for n, found in speeds.items()
    }
    protocol = {"rounds": rounds, "seconds": seconds, "threads": options.threads, "figure": "median"}
    result = own_document("replicas", load, protocol, rows)
    result |= {"structure": name, "one_alone_steps_per_second": round(float(np.median(base)))}
    table = figures(f"{name}, one alone: {np.median(base):,.0f}", "replicas", "steps/s of all", "over one alone")
    for n, row in rows.items():
        goal = f" (goal {GOAL[int(n)]:g})" if int(n) in GOAL else ""
        table.add_row(n, f"{row['steps_per_second']:,}", f"{row['over_one_alone']:.2f}{goal}")
    finish(result, table, options.target(RESULT, whole=name == "ethanol" and counts == COUNTS))


if __name__ == "__main__":
    cyclopts.run(main)
