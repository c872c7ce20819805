"""Structures per second of training, side by side with other packages.

    python benchmarks/train_throughput.py --so3krates-torch-python ENV/bin/python --mace-python ENV/bin/python

Whole steps: batch, energies, forces, gradients through the forces, optimiser. float32, rMD17 molecules.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import ase
import ase.io
import cyclopts
import numpy as np
from comparison import Task, compare
from options import Comparing
from side_by_side import Quantity
from structures import shared
from workers import Engine, this_python

RESULT = Path(__file__).parent / "results" / "train_throughput.json"
MOLECULES = ("ethanol", "aspirin")
FRAMES, QUICK_FRAMES = 950, 48
STEPS, QUICK_STEPS = 20, 1
"""Steps per sample of the peers; this package always takes the chunk of its training loop."""
SETTINGS = {"batch_size": 8, "learning_rate": 1e-3, "energy_weight": 0.01, "forces_weight": 0.99}
QUANTITY = Quantity("structures per second", higher_is_better=True)
GOALS = {"ethanol": 5.0, "aspirin": 4.0}
"""Over so3krates-torch."""


def write_frames(source: Path, target: Path, count: int) -> None:
    """Frames of the first training split as extxyz, which every engine reads.

    Energies relative to their mean: what shifts an engine subtracts costs no time, and float32 loses no digits.
    """
    with np.load(source) as data:
        chosen = data["split_train_01"][:count]
        energy = data["energy"][chosen] - data["energy"][chosen].mean()
        numbers, positions, forces = data["numbers"], data["positions"][chosen], data["forces"][chosen]
    frames = []
    for n in range(len(chosen)):
        atoms = ase.Atoms(numbers=numbers, positions=positions[n])
        atoms.info["REF_energy"] = float(energy[n])
        atoms.arrays["REF_forces"] = forces[n]
        frames.append(atoms)
    ase.io.write(target, frames, format="extxyz")


def tasks(molecules: Sequence[str], data: Path, scratch: Path, *, quick: bool) -> Iterator[Task]:
    count, steps = (QUICK_FRAMES, QUICK_STEPS) if quick else (FRAMES, STEPS)
    for molecule in molecules:
        frames = scratch / f"{molecule}.extxyz"
        write_frames(data / f"rmd17_{molecule}.npz", frames, count)
        yield Task(molecule, {**SETTINGS, "frames": str(frames), "count": count, "steps": steps}, {})


def main(
    *,
    data: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None,
    options: Comparing | None = None,
) -> None:
    """Measure the training throughput of every engine on ethanol and aspirin, batch 8.

    Parameters
    ----------
    data
        Folder of `rmd17_*.npz`; `data` in SHARED_DIR, or in `shared` beside the repository.
    """
    options = options or Comparing()
    engines = [
        Engine("so3krates", "so3krates_worker.py", this_python(), "train"),
        Engine("so3krates-torch", "so3krates_torch_worker.py", options.so3krates_torch_python, "train"),
        Engine("mace-torch 96x0e", "mace_worker.py", options.mace_python, "train"),
    ]
    molecules = MOLECULES[:1] if options.quick else MOLECULES
    with tempfile.TemporaryDirectory() as scratch:
        rows = tasks(molecules, data or shared("data"), Path(scratch), quick=options.quick)
        compare("train_throughput", engines, rows, options, QUANTITY, GOALS, RESULT, settings=SETTINGS)


if __name__ == "__main__":
    cyclopts.run(main)
