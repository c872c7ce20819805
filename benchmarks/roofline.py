"""How far every stage of a step is from what the machine can do.

    python benchmarks/roofline.py

Counts floating-point operations and bytes of main memory per pair and per atom for a configuration, measures the two
ceilings of this machine (a large matrix product, a large copy), and prints the time of each stage over its floor: the
longer of operations at the measured rate and bytes at the measured bandwidth. An operation is an addition or a
multiplication that the equations ask for; left out of account are padding, what is computed again on the way back, and
what the first layer saves where atoms of an element are alike.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import cyclopts
import numpy as np
from options import Geometries
from results import figures, finish, machine
from rich.table import Table
from structures import structure
from workers import pinned

RESULT = Path(__file__).parent / "results" / "roofline.json"
NAME = "buckyball catcher"
MATRIX = 2048
COPY_BYTES = 2**28

app = cyclopts.App(help=__doc__)


class Work(NamedTuple):
    """What a stage must do at least."""

    operations: float
    bytes: float

    def floor_ms(self, rate: float, bandwidth: float) -> float:
        """`rate` in operations per second, `bandwidth` in bytes per second."""
        return 1e3 * max(self.operations / rate, self.bytes / bandwidth)


@app.default
def main(
    *,
    only: str = NAME,
    geometries: Geometries | None = None,
    threads: int = 2,
    output: Path | None = None,
) -> None:
    """Measure the ceilings and every stage.

    Parameters
    ----------
    only
        A structure of `step_time.py`.
    threads
        Cores to run on.
    output
        JSON file to write; the committed result if not given, for the default structure.
    """
    load = os.getloadavg()[0]
    with pinned(threads):
        stages, facts = _measured(only, (geometries or Geometries()).folder)
    result = {"benchmark": "roofline", "machine": machine(load), "threads": threads, **facts, "stages": stages}
    finish(result, _shown(result), output or (RESULT if only == NAME else None))


def layer_work(config: Any, atoms: int, pairs: int, *, has_x: bool) -> Work:
    """One layer with tables, attention and exchange, forward and back; every operation of the equations once."""
    features, degrees = config.features, len(config.degrees)
    orders = sum(2 * degree + 1 for degree in config.degrees)
    hidden = features // 4
    projection = 2 * features * (3 * features // config.heads + 2 * features // degrees)
    # Four products for a cubic, of all columns.
    table = 8 * 2 * features
    network = 2 * 2 * hidden * (degrees + features) + 3 * orders if has_x else 0
    coefficients = 2 * 3 * 2 * features
    messages = 2 * 2 * (features + orders)
    forward = table + network + coefficients + messages
    # A linear map has a transpose of the same size; a product has two factors to differentiate.
    back = table + network + 2 * coefficients + 2 * messages
    exchange = 2 * 2 * (features + degrees) ** 2
    # f, x and their cotangents in and out, and the geometry of the pairs.
    traffic = 4 * 4 * atoms * (features + orders) + 2 * 4 * 5 * pairs
    return Work(atoms * (2 * projection + exchange) + pairs * (forward + back), traffic)


def rest_work(config: Any, atoms: int, pairs: int) -> Work:
    """The energy head forward and back, and the sum of forces."""
    operations = 2 * 2 * atoms * config.features * (config.energy_features or config.features) + 6 * pairs
    return Work(operations, 2 * 4.0 * atoms * config.features + 2 * 4.0 * 3 * (pairs + atoms))


def search_work(atoms: int) -> Work:
    """All distances once."""
    return Work(8.0 * atoms * (atoms - 1) / 2, 12.0 * atoms)


def _measured(name: str, folder: Path) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    # Imported once the cores are chosen: compiled code sizes its pool by them.
    import jax
    import jax.numpy as jnp
    from roofline_stages import Stages, median_seconds

    a = jnp.asarray(np.random.default_rng(0).normal(size=(MATRIX, MATRIX)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    rate = 2.0 * MATRIX**3 / median_seconds(lambda: jax.block_until_ready(product(a)))
    source, target = np.ones(COPY_BYTES // 8), np.empty(COPY_BYTES // 8)
    bandwidth = 2.0 * COPY_BYTES / median_seconds(lambda: np.copyto(target, source))
    stages = Stages(structure(name, folder))
    config, atoms, pairs = stages.model.config, stages.atoms, stages.pairs
    rows: dict[str, dict[str, float]] = {}

    def add(name: str, work: Work, seconds: float) -> None:
        floor = work.floor_ms(rate, bandwidth)
        rows[name] = {
            **work._asdict(),
            "floor_ms": floor,
            "time_ms": 1e3 * seconds,
            "over_floor": 1e3 * seconds / floor,
        }

    works, seconds = [search_work(atoms)], [stages.search()]
    add("neighbour search", works[0], seconds[0])
    before = 0.0
    for number in range(config.layers):
        has_x = number > 0 or config.euclidean_start != "zero"
        works.append(layer_work(config, atoms, pairs, has_x=has_x))
        upto = stages.layers(number + 1)
        seconds.append(upto - before)
        before = upto
        add(f"layer {number + 1}", works[-1], seconds[-1])
    whole_seconds = stages.evaluate()
    works.append(rest_work(config, atoms, pairs))
    add("the rest", works[-1], max(0.0, whole_seconds - sum(seconds)))
    whole = Work(sum(work.operations for work in works), sum(work.bytes for work in works))
    add("search, energy and forces", whole, whole_seconds)
    facts = {
        "structure": name,
        "atoms": atoms,
        "pairs": pairs,
        "rate_GFLOP_per_s": rate / 1e9,
        "bandwidth_GB_per_s": bandwidth / 1e9,
        "kernel": stages.kernel,
    }
    return rows, facts


def _shown(result: dict[str, Any]) -> Table:
    about = (
        f"{result['structure']}: {result['atoms']} atoms, {result['pairs']} pairs; kernel: {result['kernel']}; "
        f"{result['rate_GFLOP_per_s']:.0f} GFLOP/s, {result['bandwidth_GB_per_s']:.1f} GB/s"
    )
    table = figures(about, "stage", "MFLOP", "MB", "floor, ms", "time, ms", "time / floor")
    for name, row in result["stages"].items():
        table.add_row(
            name,
            f"{row['operations'] / 1e6:.1f}",
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['floor_ms']:.3f}",
            f"{row['time_ms']:.3f}",
            f"{row['over_floor']:.1f}",
        )
    return table


if __name__ == "__main__":
    app()
