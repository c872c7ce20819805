"""Is a model stable, does it conserve energy? The protocol of Fu et al., "Forces are not enough" (arXiv:2210.07237).

    python examples/dynamics.py ethanol.safetensors --reference rmd17_ethanol.npz [--output DIR]

First 50 ps at constant energy, in both precisions, then canonical dynamics (Nosé–Hoover) at 500 K for 300 ps, all in
steps of 0.5 fs and watched in every step: a run is unstable from the first step in which a bond is more than 0.5 Å off
its mean length in the reference data. Unlike there, every run begins with 5 ps of Langevin dynamics from the frame of
lowest energy. Writes MODEL.dynamics.json, after every run, and the trajectories into DIR.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from so3krates import Potential, System, load, read_dataset, simulate
from so3krates.analysis.structure import Bonds, find_bonds
from so3krates.md.ensembles.nose_hoover import NoseHoover
from so3krates.md.ensembles.nve import NVE
from so3krates.md.monitoring.monitor import Monitor
from so3krates.md.records.run import RunStopped
from so3krates.md.state import Integrator

TEMPERATURE_K = 500.0
TIMESTEP_FS = 0.5


def reference(path: Path) -> tuple[System, Bonds]:
    """The frame of lowest energy, and the mean bond lengths of all frames."""
    frames = list(read_dataset(path))
    lowest = min(frames, key=lambda frame: np.inf if frame.energy is None else frame.energy).system
    return lowest, find_bonds(np.stack([frame.system.positions for frame in frames]), lowest.numbers)


def run(
    potential: Potential, start: System, integrator: Integrator, time_ps: float, monitor: Monitor, to: Path, seed: int
) -> dict[str, object]:
    """Thermalise, run, and say how it went."""
    try:
        _, done = simulate(
            potential,
            start,
            integrator,
            timestep_fs=TIMESTEP_FS,
            steps=round(time_ps * 1e3 / TIMESTEP_FS),
            to=to,
            initial_temperature_K=TEMPERATURE_K,
            thermalise_ps=5.0,
            save_every_fs=20.0,
            monitor=monitor,
            seed=seed,
            overwrite=True,
        )
    except RunStopped as stopped:
        # Without a run it was stopped while it was thermalised.
        time_ps = 0.0 if stopped.run is None else stopped.time_fs * 1e-3
        summary = None if stopped.run is None else asdict(stopped.run.summary)
        return {"stable_ps": time_ps, "stopped": str(stopped), "summary": summary}
    return {"stable_ps": time_ps, "stopped": None, "summary": asdict(done.summary)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--reference", type=Path, required=True, help="data with the molecule's bond lengths")
    parser.add_argument("--canonical-ps", type=float, default=300.0)
    parser.add_argument("--constant-energy-ps", type=float, default=50.0)
    parser.add_argument("--runs", type=int, default=1, help="canonical runs, which differ in their seeds")
    parser.add_argument("--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    start, bonds = reference(arguments.reference)
    pairs = tuple((int(i), int(j)) for i, j in bonds.atoms)
    monitor = Monitor.benchmark(pairs, tuple(float(length) for length in bonds.lengths))
    stem = arguments.model.stem
    report: dict[str, object] = {"model": arguments.model.name}

    def record(name: str, result: dict[str, object]) -> None:
        report[name] = result
        (arguments.output / f"{stem}.dynamics.json").write_text(json.dumps(report, indent=1) + "\n")
        print(f"{name}: {result['stable_ps']} ps stable")

    for precision in ("float32", "float64"):
        potential, to = load(arguments.model, dtype=precision), arguments.output / f"{stem}.{precision}.nve.h5"
        nve, time_ps = NVE(fix_rotation=True), arguments.constant_energy_ps
        record(f"constant energy, {precision}", run(potential, start, nve, time_ps, monitor, to, 0))
    potential, chain = load(arguments.model), NoseHoover(temperature_K=TEMPERATURE_K, fix_rotation=True)
    for seed in range(arguments.runs):
        to = arguments.output / f"{stem}.nvt{seed}.h5"
        record(
            f"canonical, float32, seed {seed}", run(potential, start, chain, arguments.canonical_ps, monitor, to, seed)
        )


if __name__ == "__main__":
    main()
