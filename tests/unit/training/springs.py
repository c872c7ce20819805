"""A triatomic with springs: labels that are known exactly, cheap to learn, and written to files."""

from pathlib import Path

import ase
import ase.io
import numpy as np

from so3krates.data.sample import Sample
from so3krates.model import ModelConfig
from so3krates.system import System
from so3krates.training.config import TrainConfig

NUMBERS = np.array([8, 1, 1])
REST = np.array([[0.0, 0.0, 0.0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]])
SPRINGS = ((0, 1, 30.0), (0, 2, 30.0), (1, 2, 5.0))
OFFSET = -2000.0
TINY = ModelConfig(features=8, layers=1, heads=2, degrees=(1,), cutoff=3.0, radial_functions=8)


def labels(positions: np.ndarray) -> tuple[float, np.ndarray]:
    """½ k (r − r₀)² on the three distances, and the forces."""
    energy, forces = OFFSET, np.zeros((3, 3))
    for i, j, k in SPRINGS:
        vector = positions[j] - positions[i]
        distance = np.linalg.norm(vector)
        stretch = distance - np.linalg.norm(REST[j] - REST[i])
        energy += 0.5 * k * stretch**2
        forces[i] += k * stretch * vector / distance
        forces[j] -= k * stretch * vector / distance
    return float(energy), forces


def samples(count: int, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    result = []
    for n in range(count):
        positions = REST + 0.08 * rng.normal(size=(3, 3))
        energy, forces = labels(positions)
        result.append(Sample(System(positions, NUMBERS), energy=energy, forces=forces, origin=f"spring {n}"))
    return result


def write(path: Path, count: int, seed: int = 0) -> Path:
    frames = []
    for sample in samples(count, seed):
        atoms = ase.Atoms(numbers=NUMBERS, positions=sample.system.positions)
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = sample.energy, sample.forces
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
    return path


def run_config(folder: Path, **changes: object) -> TrainConfig:
    """A tiny run on 24 + 8 structures in `folder`."""
    train, valid = folder / "train.extxyz", folder / "valid.extxyz"
    if not train.exists():
        write(train, 24, 1)
        write(valid, 8, 2)
    values = {
        "data": {"train": train, "valid": valid},
        "model": TINY.model_dump(),
        "budget": {"steps": 60},
        "log": {"validate_every": 20},
        "output": folder / "model.safetensors",
    }
    return TrainConfig.parse(values | changes)
