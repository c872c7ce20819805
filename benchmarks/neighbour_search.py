"""What it saves to keep candidate pairs between the steps of dynamics (a Verlet skin), in boxes of water.

    python benchmarks/neighbour_search.py --model so3lr.safetensors

For every list: the search as it is without a skin, in every step; the choice of the pairs within the cutoff from
candidates, in every step; and the search for those candidates, which is needed whenever an atom has moved by half of
the skin. The whole step beside it is neighbour search, energy and forces without a skin. One thread on one core,
processor time of the process, all turns interleaved: competing load changes such times much less than those of a clock.
Each box runs in a process of its own.
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
from boxes import rows_of, water
from options import Boxes, Storing
from results import figures, finish, own_document
from rich.table import Table
from workers import PEERS

RESULT = Path(__file__).parent / "results" / "neighbour_search.json"
SIZES = (1536, 12288)
SMALLEST = 192
SKINS_A = (0.5, 1.0)
ROUNDS, QUICK_ROUNDS = 7, 1
LONG_RANGE_CUTOFF_A = 12.0
TIMESTEP_FS, TEMPERATURE_K = 0.5, 300.0
"""Of the water whose fastest atom says how often candidates are searched for."""
SPEED_OF_THE_FASTEST = 5.0
"""Of hydrogen, in units of √(k_BT/m): Maxwell's distribution has one atom in some ten thousands beyond."""

app = cyclopts.App(help=__doc__)


@app.default
def main(*, boxes: Boxes | None = None, model: Path | None = None, options: Storing | None = None) -> None:
    """Measure every box.

    Parameters
    ----------
    model
        SO3LR as a model file of this package, for near and far lists; without it the model of the article's size alone.
    """
    load, boxes, options = os.getloadavg()[0], boxes or Boxes(), options or Storing()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    sizes = boxes.sizes(SIZES, quick=options.quick)
    rows = {
        name: rows_of(__file__, sizes, lambda count, file=file: (boxes.folder, count, rounds, *file), 1)
        for name, file in {"article": (), **({} if model is None else {"so3lr": (model,)})}.items()
    }
    protocol = {
        "precision": "float32",
        "threads": 1,
        "rounds": rounds,
        "time": "of the processor",
        "steps_between_searches_with_a_skin": {f"{skin:g} Å": interval(skin) for skin in SKINS_A},
    }
    whole = model is not None and len(sizes) == len(SIZES)
    finish(own_document("neighbour_search", load, protocol, rows), shown(rows), options.target(RESULT, whole=whole))


def interval(skin: float) -> int:
    """Steps until the fastest of some ten thousand atoms of hydrogen has moved by half of the skin, if it flies
    straight on. Bonds turn it round, so candidates last longer; `gain_if_candidates_were_free` is the bound."""
    from ase import units

    thermal = np.sqrt(units.kB * TEMPERATURE_K / 1.008) * units.fs
    return max(1, int(0.5 * skin / (SPEED_OF_THE_FASTEST * thermal * TIMESTEP_FS)))


@app.command
def measure(folder: Path, atoms: int, rounds: int, model: Path | None = None, /) -> None:
    """One box, in this process; prints JSON."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    sys.path.insert(0, str(PEERS))
    import jax
    import jax.numpy as jnp
    from so3krates_worker import gentle_potential

    import so3krates as sk
    from so3krates.evaluation import Topology, evaluate

    system = sk.System.from_ase(water(folder, atoms))
    if model is None:
        potential = gentle_potential(sk.System.from_ase(water(folder, SMALLEST)))
    else:
        potential = sk.load(model, long_range_cutoff=LONG_RANGE_CUTOFF_A)
    neighbors, topology = potential.allocate(system), Topology.of(system, potential.dtype)
    cell = jnp.asarray(system.cell, potential.dtype)
    rng = np.random.default_rng(0)
    moved = system.positions + rng.uniform(-0.1, 0.1, system.positions.shape)
    positions = [jnp.asarray(each, potential.dtype) for each in (system.positions, moved)]
    # Arguments, not constants of the program.
    step = jax.jit(lambda x, h: evaluate(potential.fast, topology, neighbors, x, h))
    work: dict[tuple, Callable[[], object]] = {("step",): lambda: step(positions[1], cell)}
    for name, searched in zip(("near", "far"), neighbors.lists, strict=False):
        _add_list(work, name, searched, system, positions, cell)
    for each in work.values():
        jax.block_until_ready(each())
    taken: dict[tuple, list[float]] = {key: [] for key in work}
    for _ in range(rounds):
        for key, each in work.items():
            start = time.process_time()
            jax.block_until_ready(each())
            taken[key].append(time.process_time() - start)
    print(json.dumps(_summary(neighbors, {key: float(np.median(values)) for key, values in taken.items()})))


def _add_list(
    work: dict[tuple, Callable[[], object]], name: str, searched: Any, system: Any, positions: list[Any], cell: Any
) -> None:
    """Search, and for each skin candidates and choice, of one list; the choice must be what the search finds."""
    import jax
    import jax.numpy as jnp

    from so3krates.neighbors.choice import with_skin
    from so3krates.neighbors.verlet import VerletNeighbors

    search = jax.jit(searched.update)
    work["search", name] = lambda: search(positions[1], cell)
    expected = search(positions[1], cell)
    for skin in SKINS_A:
        listed = with_skin(searched, system, skin, compressed=name == "near")
        if not isinstance(listed, VerletNeighbors):
            continue
        find, choose = jax.jit(listed.search.numbered), jax.jit(listed.chosen)
        kept = find(positions[0], cell)
        ours = choose(kept, positions[1], cell)
        complete = not int(ours.overflow) and not int(expected.overflow)
        if not complete or int(jnp.sum(ours.mask)) != int(jnp.sum(expected.mask)):
            raise SystemExit(f"{name} pairs with a skin of {skin:g} Å are not those of the search.")
        work["candidates", name, skin] = lambda find=find: find(positions[1], cell)
        work["choose", name, skin] = lambda choose=choose, kept=kept: choose(kept, positions[1], cell)


def _summary(neighbors: Any, taken: dict[tuple, float]) -> dict[str, Any]:
    step = taken["step",]
    summary: dict[str, Any] = {"seconds_per_step": round(step, 4)}
    for name, searched in zip(("near", "far"), neighbors.lists, strict=False):
        search = taken["search", name]
        rows = {}
        for skin in SKINS_A:
            if ("choose", name, skin) not in taken:
                continue
            choose, candidates = taken["choose", name, skin], taken["candidates", name, skin]
            with_skin = choose + candidates / interval(skin)
            rows[f"{skin:g} Å"] = {
                "seconds_to_choose": round(choose, 5),
                "seconds_for_candidates": round(candidates, 5),
                "gain_as_share_of_a_step": round((search - with_skin) / step, 4),
                "gain_if_candidates_were_free": round((search - choose) / step, 4),
            }
        summary[name] = {
            "search": type(searched).__name__,
            "cutoff_A": searched.cutoff,
            "places_for_pairs": searched.capacity,
            "seconds_to_search": round(search, 5),
            "share_of_the_search": round(search / step, 4),
            "skins": rows,
        }
    return summary


def shown(found: dict[str, dict[str, dict[str, Any]]]) -> Table:
    columns = ("model, atoms", "list", "s per step", "of it search", "skin", "choice, ms", "candidates, ms", "gain")
    table = figures("Search in every step, and with a skin", *columns)
    for model, rows in found.items():
        for atoms, row in rows.items():
            for name in ("near", "far"):
                for skin, each in row.get(name, {"skins": {}})["skins"].items():
                    table.add_row(
                        f"{model}, {atoms}",
                        name,
                        f"{row['seconds_per_step']:.3f}",
                        f"{100 * row[name]['share_of_the_search']:.2f} %",
                        skin,
                        f"{1e3 * each['seconds_to_choose']:.1f}",
                        f"{1e3 * each['seconds_for_candidates']:.1f}",
                        f"{100 * each['gain_as_share_of_a_step']:+.2f} %",
                    )
    return table


if __name__ == "__main__":
    app()
