"""Compare the settings of the packaged ethanol data with rMD17: the same frames, two programs, forces and energies.

    python scripts/check_reference_settings.py rmd17_ethanol.npz \\
        --output benchmarks/results/ethanol_reference_vs_rmd17.json

rMD17 (PBE/def2-SVP, another program, dense grid, tight convergence) is the yardstick; the settings pass below a mean
absolute force difference of 1 meV/Å on every frame. The exit status tells.
"""

import argparse
import json
from pathlib import Path

import ase
import numpy as np
from make_ethanol_data import REFERENCE

from so3krates.reference import Label, label_frames

LIMIT_meV_per_A = 1.0


def compare(forces: np.ndarray, energy: np.ndarray, labels: list[Label], frames: np.ndarray) -> dict[str, object]:
    """Differences in meV and meV/Å; energies also without their mean, which the fitting basis shifts."""
    ours = np.array([found.forces for found in labels])
    difference = 1000.0 * (ours - forces)
    shift = 1000.0 * (np.array([found.energy for found in labels]) - energy)
    return {
        "frames": frames.tolist(),
        "force_mae_meV_per_A": float(np.abs(difference).mean()),
        "force_mae_worst_frame_meV_per_A": float(np.abs(difference).mean(axis=(1, 2)).max()),
        "force_max_meV_per_A": float(np.abs(difference).max()),
        "energy_shift_meV": float(shift.mean()),
        "energy_scatter_meV": float(shift.std()),
        "net_force_max_meV_per_A": float(1000.0 * np.abs(ours.sum(axis=1)).max()),
        "limit_on_worst_frame_mae_meV_per_A": LIMIT_meV_per_A,
    }


def main() -> None:
    """Label every k-th frame again and compare."""
    import pyscf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rmd17", type=Path, help="ethanol with energies in eV and forces in eV/Å")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("build"))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with np.load(arguments.rmd17) as data:
        chosen = np.linspace(0, len(data["energy"]) - 1, arguments.frames).astype(int)
        numbers, positions = data["numbers"], data["positions"][chosen]
        energy, forces = data["energy"][chosen], data["forces"][chosen]
    structures = [ase.Atoms(numbers=numbers, positions=r) for r in positions]
    journal = arguments.work / "check_reference_settings.journal"
    labels = label_frames(structures, REFERENCE, journal, processes=arguments.processes)
    result = compare(forces, energy, labels, chosen)
    result |= {"settings": REFERENCE.model_dump(mode="json"), "pyscf": pyscf.__version__}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if result["force_mae_worst_frame_meV_per_A"] > LIMIT_meV_per_A:
        raise SystemExit("the settings do not reproduce rMD17 to the limit")


if __name__ == "__main__":
    main()
