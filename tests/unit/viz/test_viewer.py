"""Frames for the viewer: they stand still, and survive the way into the page."""

import base64

import made_runs
import numpy as np
from scipy.spatial.transform import Rotation

from so3krates.analysis.structure import find_bonds
from so3krates.viz.viewer import aligned, viewer_data


def test_alignment_undoes_turning_and_moving(rng: np.random.Generator) -> None:
    system = made_runs.ethanol()
    turned = np.stack(
        [Rotation.random(random_state=n).apply(system.positions) + 40.0 * rng.standard_normal(3) for n in range(20)]
    )
    found = aligned(np.concatenate([system.positions[None], turned]), system.masses)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), atol=1e-9)
    np.testing.assert_allclose(system.masses @ found[0], 0.0, atol=1e-9)


def test_alignment_never_mirrors() -> None:
    system = made_runs.ethanol()
    mirrored = system.positions * np.array([1.0, 1.0, -1.0])
    mirrored[3] += 0.5
    found = aligned(np.stack([system.positions + np.arange(27.0).reshape(9, 3) % 5, mirrored]), system.masses)
    before = np.linalg.det(mirrored[:3] - mirrored[3])
    after = np.linalg.det(found[1, :3] - found[1, 3])
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_positions_survive() -> None:
    system = made_runs.ethanol(far=500.0)
    bonds = find_bonds(system.positions[None], system.numbers)
    data = viewer_data(system.positions[None], system, bonds, interval_fs=2.0)
    values = np.frombuffer(base64.b64decode(data["positions"]), "<i4").reshape(9, 3) * 1e-3
    centre = system.masses @ system.positions / system.masses.sum()
    np.testing.assert_allclose(values, system.positions - centre, atol=6e-4)
    assert data["symbols"][:3] == ["C", "C", "O"]
    assert len(data["bonds"]) == 8


def test_bonds_across_the_cell_are_not_drawn() -> None:
    system = made_runs.crystal()
    bonds = find_bonds(system.positions[None], system.numbers, system.cell)
    data = viewer_data(system.positions[None], system, bonds, interval_fs=2.0)
    assert len(bonds.atoms) == 16
    assert 0 < len(data["bonds"]) < 16
    assert data["cell"] == system.cell.tolist()
