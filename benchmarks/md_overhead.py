"""What dynamics costs beyond energy and forces: steps of `simulate` against the compiled potential alone.

    python benchmarks/md_overhead.py

Model of the article's size, random parameters, float32. A step of `simulate` holds integrator, thermostat, monitor and
energy and forces with the neighbour list; frames every 10 fs and checkpoints go to a file. Beside it, energy and forces
with the list alone: in a compiled loop, which is what dynamics cannot do without, and called from Python step by step,
as other engines do. All take turns in one process on the same cores.
"""

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import cyclopts
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from options import Measuring, Molecules
from results import figures, finish, own_document
from structures import structure
from workers import pinned

from so3krates import md
from so3krates.evaluation import Topology, evaluate
from so3krates.inference import TOLERANCE
from so3krates.potential import Potential
from so3krates.system import System

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from so3krates_worker import TIMESTEP_FS, gentle_potential

RESULT = Path(__file__).parent / "results" / "md_overhead.json"
NAMES = ("ethanol", "AT-AT", "Ala15", "64 waters")
GOAL = 0.1
"""Overhead above `GOAL_ATOMS` atoms."""
GOAL_ATOMS = 50
STILLNESS = 1e-6
"""Of the forces, beside those of the other benchmarks, whose runs are shorter."""
TEMPERATURE_K = 1e-6
ROUNDS = 5
SECONDS = 10.0
"""Of each turn: five chunks of `simulate`, so that writing counts."""


def still_potential(system: System) -> Potential:
    """The article's model with random parameters and hardly any forces: the structure stays what it is."""
    gentle = gentle_potential(system)
    model = eqx.tree_at(lambda m: m.energy.scale, gentle.model, gentle.model.energy.scale * np.float32(STILLNESS))
    return Potential(model, tolerance=TOLERANCE)


class Bare:
    """Energy and forces of one structure, compiled."""

    def __init__(self, potential: Potential, system: System) -> None:
        topology, neighbors = Topology.of(system, potential.dtype), potential.allocate(system)
        positions = jnp.asarray(system.positions, potential.dtype)
        cell = None if system.cell is None else jnp.asarray(system.cell, potential.dtype)
        term = potential.fast
        called = eqx.filter_jit(lambda *moving: evaluate(term, topology, neighbors, *moving))

        @eqx.filter_jit
        def looped(count: jax.Array, positions: jax.Array, cell: jax.Array | None) -> jax.Array:
            # Forces move the atoms, if hardly: nothing can be computed once for all turns.
            return jax.lax.fori_loop(
                0, count, lambda _, x: x + STILLNESS * evaluate(term, topology, neighbors, x, cell).forces, positions
            )

        self.call = lambda: jax.block_until_ready(called(positions, cell))
        self.loop = lambda count: jax.block_until_ready(looped(jnp.asarray(count, jnp.int32), positions, cell))
        self.call()
        self.loop(1)

    def seconds_per_call(self, seconds: float) -> float:
        began, calls = perf_counter(), 0
        while perf_counter() - began < seconds or not calls:
            self.call()
            calls += 1
        return (perf_counter() - began) / calls

    def seconds_per_turn(self, count: int) -> float:
        began = perf_counter()
        self.loop(count)
        return (perf_counter() - began) / count


def seconds_per_step(potential: Potential, system: System, seconds: float, steps: int) -> tuple[float, int]:
    """Of a run of about so many seconds, and how many steps it made."""
    with tempfile.TemporaryDirectory() as folder:
        _, run = md.simulate(
            potential,
            system,
            md.Langevin(temperature_K=TEMPERATURE_K),
            timestep_fs=TIMESTEP_FS,
            steps=steps,
            to=Path(folder) / "run.h5",
        )
    per_step = 1.0 / run.summary.steps_per_second
    return per_step, max(1, round(seconds / per_step))


def measured(name: str, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """One row: both times and the overhead, as medians of the rounds."""
    system = System.from_ase(structure(name, folder))
    potential = still_potential(system)
    bare = Bare(potential, system)
    _, steps = seconds_per_step(potential, system, seconds, 50)
    times = []
    for _ in range(rounds):
        called, looped = bare.seconds_per_call(seconds), bare.seconds_per_turn(steps)
        stepped, steps = seconds_per_step(potential, system, seconds, steps)
        times.append((called, looped, stepped))
    calls, turns, moves = np.array(times).T
    return {
        "atoms": len(system),
        "energy_and_forces_called_us": round(1e6 * float(np.median(calls)), 2),
        "energy_and_forces_us": round(1e6 * float(np.median(turns)), 2),
        "step_us": round(1e6 * float(np.median(moves)), 2),
        "overhead": round(float(np.median(moves / turns - 1.0)), 4),
        "overhead_of_rounds": [round(float(ratio), 4) for ratio in moves / turns - 1.0],
        "overhead_over_calls": round(float(np.median(moves / calls - 1.0)), 4),
    }


def main(*, molecules: Molecules | None = None, options: Measuring | None = None) -> None:
    """Measure the overhead of dynamics."""
    load, molecules, options = os.getloadavg()[0], molecules or Molecules(), options or Measuring()
    rounds, seconds = (1, 1.0) if options.quick else (ROUNDS, SECONDS)
    names = molecules.names(NAMES, quick=options.quick)
    with pinned(options.threads):
        rows = {name: measured(name, molecules.folder, rounds, seconds) for name in names}
    protocol = {"rounds": rounds, "seconds": seconds, "threads": options.threads, "figure": "median"}
    columns = ("", "atoms", "energy and forces, µs", "in a loop, µs", "step, µs", "over the loop")
    table = figures("md_overhead", *columns)
    for name, row in rows.items():
        goal = f" (goal {GOAL:.0%})" if row["atoms"] > GOAL_ATOMS else ""
        keys = ("energy_and_forces_called_us", "energy_and_forces_us", "step_us")
        times = (f"{row[key]:,.0f}" for key in keys)
        table.add_row(name, str(row["atoms"]), *times, f"{row['overhead']:+.1%}{goal}")
    target = options.target(RESULT, whole=len(rows) == len(NAMES))
    finish(own_document("md_overhead", load, protocol, rows), table, target)


if __name__ == "__main__":
    cyclopts.run(main)
