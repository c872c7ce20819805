"""Methane with an analytic force field: data whose labels are known to be right, to be made wrong on purpose."""

from dataclasses import replace

import numpy as np

from so3krates.data.sample import Sample
from so3krates.system import System

NUMBERS = np.array([6, 1, 1, 1, 1])
TOTAL_ENERGY = -40.48 * 27.211386
STRETCH, BOND, SQUEEZE, APART = 31.0, 1.09, 3.0, 1.78
SHAPE = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * BOND / np.sqrt(3)


def energy_and_forces(positions: np.ndarray) -> tuple[float, np.ndarray]:
    """½ k (r − r₀)² on C–H bonds and between hydrogens."""
    energy, forces = TOTAL_ENERGY, np.zeros((5, 3))
    for i in range(5):
        for j in range(i):
            k, rest = (STRETCH, BOND) if j == 0 else (SQUEEZE, APART)
            vector = positions[i] - positions[j]
            distance = float(np.linalg.norm(vector))
            energy += 0.5 * k * (distance - rest) ** 2
            force = -k * (distance - rest) * vector / distance
            forces[i] += force
            forces[j] -= force
    return energy, forces


def methane(displacement: np.ndarray, name: str = "") -> Sample:
    positions = SHAPE + displacement
    energy, forces = energy_and_forces(positions)
    return Sample(System(positions=positions, numbers=NUMBERS), energy=energy, forces=forces, origin=name)


def trajectory(frames: int, seed: int = 0) -> list[Sample]:
    """Thermal motion without momentum: a damped random walk of each coordinate."""
    rng = np.random.default_rng(seed)
    displacement = rng.normal(scale=0.06, size=(5, 3))
    samples = []
    for frame in range(frames):
        samples.append(methane(displacement, f"frame {frame}"))
        displacement = 0.8 * displacement + 0.6 * rng.normal(scale=0.06, size=(5, 3))
    return samples


def scaled(samples: list[Sample], energy: float = 1.0, forces: float = 1.0, length: float = 1.0) -> list[Sample]:
    """The same data as if written in other units and taken for eV and Å."""
    return [
        replace(
            sample,
            system=sample.system.moved(sample.system.positions * length),
            energy=None if sample.energy is None else sample.energy * energy,
            forces=None if sample.forces is None else sample.forces * forces,
        )
        for sample in samples
    ]


def turned(sample: Sample, rng: np.random.Generator) -> Sample:
    """The same molecule rotated, shifted, with its hydrogens exchanged."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = np.array([0, *(1 + rng.permutation(4))])
    assert sample.forces is not None
    positions = (sample.system.positions @ turn + rng.normal(size=3))[order]
    return replace(sample, system=sample.system.moved(positions), forces=(sample.forces @ turn)[order])
