"""Dynamics with SO3LR: does energy stay what it is, does the structure hold together?

    python examples/so3lr_dynamics.py so3lr.safetensors ala15.xyz --ensemble nve --time-ps 20
    python examples/so3lr_dynamics.py so3lr.safetensors water.xyz --repeat 2 --ensemble langevin --time-ps 5 --resume

Steps of 0.5 fs in float32, after `--thermalise-ps` of Langevin dynamics at 300 K under strong friction that is not
recorded. `--exact` evaluates the network without tables. With `--resume` a run that was interrupted goes on where it
was. Writes NAME.h5, NAME.json with the summary of the run, and NAME.svg with its energies.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import ase.io
import numpy as np

from so3krates import System, load, md, simulate
from so3krates.analysis.stability import bond_stability
from so3krates.analysis.structure import find_bonds, pair_distances
from so3krates.io.trajectory import Trajectory
from so3krates.viz import plots

TEMPERATURE_K = 300.0
TIMESTEP_FS = 0.5
SPEEDS = ("steps_per_second", "ns_per_day")
"""Not stored: a run that was resumed knows those of its last part alone."""


def watched_bonds(positions: np.ndarray, system: System) -> dict[str, float | bool]:
    """How far the bonds of the start were from their mean lengths in saved frames; intact: never more than 0.5 Å."""
    cell = {} if system.cell is None else {"cell": system.cell, "pbc": system.pbc}
    bonds = find_bonds(system.positions[None], system.numbers, **cell)
    bonds = bonds._replace(lengths=pair_distances(positions, bonds.atoms, **cell).mean(axis=0))
    reached = bond_stability(np.arange(len(positions), dtype=float), positions, bonds, **cell)
    return {"number": len(bonds.atoms), "largest_deviation_A": reached.largest_deviation, "intact": reached.stable}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("structure", type=Path)
    parser.add_argument("--ensemble", choices=["nve", "langevin"], default="nve")
    parser.add_argument("--time-ps", type=float, required=True)
    parser.add_argument("--thermalise-ps", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=1, help="repeat a periodic box so often along every axis")
    parser.add_argument("--exact", action="store_true", help="without tables and without the compiled kernel")
    parser.add_argument("--name", help="of the files; that of the structure if not given")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")
    parser.add_argument("--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    atoms = ase.io.read(arguments.structure)
    assert not isinstance(atoms, list)
    system = System.from_ase(atoms.repeat(arguments.repeat))
    potential = load(arguments.model, exact=arguments.exact)
    print(potential.remark(system) or f"{len(system)} atoms, long-range cutoff {potential.far_cutoff(system):g} Å")
    target = arguments.output / f"{arguments.name or arguments.structure.stem}.h5"
    langevin = md.Langevin(temperature_K=TEMPERATURE_K, friction_per_ps=1.0)
    integrator = md.NVE() if arguments.ensemble == "nve" else langevin
    _, run = simulate(
        potential,
        system,
        integrator,
        timestep_fs=TIMESTEP_FS,
        steps=round(arguments.time_ps * 1e3 / TIMESTEP_FS),
        to=target,
        initial_temperature_K=TEMPERATURE_K,
        thermalise_ps=arguments.thermalise_ps,
        save_every_fs=20.0,
        resume=arguments.resume,
        overwrite=not arguments.resume,
        report=lambda report: print(f"step {report.step}: {report.temperature_K:.0f} K", flush=True),
    )
    trajectory = Trajectory(target)
    summary = {
        "atoms": len(system),
        "long_range_cutoff_A": potential.far_cutoff(system),
        **{name: value for name, value in asdict(run.summary).items() if name not in SPEEDS},
        "bonds": watched_bonds(trajectory.read().positions, system),
    }
    target.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    series = trajectory.series()
    picture = plots.energies(np.asarray(series["time_fs"]), series["conserved"], series["kinetic_energy"], len(system))
    picture.save(target.with_suffix(".svg"))
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
