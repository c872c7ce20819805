"""Trajectories whose cell moves, whose scalars have an interval of their own, or which grow while they are read."""

import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import h5py
import numpy as np
import pytest

from so3krates._errors import FileError, InputError
from so3krates.io.trajectory import (
    Frames,
    Trajectory,
    append_frames,
    create_trajectory,
    frames_to_ase,
    to_extxyz,
    truncate_after,
)
from so3krates.system import System

CELL = np.array([[9.0, 0.5, 0.0], [2.0, 8.0, 0.3], [-1.0, 1.0, 10.0]])
ATOMS = 5
EVERY = 4
"""Rows of scalars from frame to frame."""


def rows(rng: np.random.Generator, count: int, first: int = 0) -> Frames:
    """One row every five steps of 0.5 fs; the cell grows by a thousandth and shears from row to row."""
    step = 5 * np.arange(first, first + count)
    scalars = ("potential_energy", "kinetic_energy", "temperature", "conserved", "closest", "pressure")
    growth = (1.0 + 1e-3 * np.arange(first, first + count))[:, None, None]
    return Frames(
        step=step,
        time_fs=0.5 * step,
        positions=rng.standard_normal((count, ATOMS, 3)),
        velocities=rng.standard_normal((count, ATOMS, 3)),
        cells=growth * CELL + (growth - 1.0) * rng.standard_normal((count, 3, 3)),
        **{name: rng.standard_normal(count) for name in scalars},
    )


def framed(every_row: Frames) -> Frames:
    """Those of the rows that carry positions."""
    with_positions = every_row.step % (5 * EVERY) == 0
    first = int(np.argmax(with_positions)) if with_positions.any() else len(every_row)
    return every_row[first::EVERY]


@pytest.fixture
def system(rng: np.random.Generator) -> System:
    return System(rng.standard_normal((ATOMS, 3)), np.array([14, 8, 8, 1, 1]), CELL, (True, True, True))


def new(path: Path, system: System, **changed: Any) -> Path:
    options: dict[str, Any] = {"forces": False, "dtype": "float64", "moving_cell": True, "extras": ("pressure",)}
    create_trajectory(path, system, {"timestep_fs": 0.5}, **(options | changed))
    return path


def equal(a: Frames, b: Frames) -> None:
    assert set(a.present()) == set(b.present())
    for name, values in a.present().items():
        np.testing.assert_array_equal(b.present()[name], values, err_msg=name)


def test_moving_cells_come_back(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path = new(tmp_path / "run.h5", system)
    empty = Trajectory(path)
    np.testing.assert_array_equal(empty.system.cell, CELL)
    assert empty.moving_cell and empty.read().cells is not None and {"cells", "pressure"} < set(empty.quantities)
    frames = rows(rng, 30)
    append_frames(path, frames[:11])
    append_frames(path, frames[11:])
    trajectory = Trajectory(path)
    equal(frames, trajectory.read())
    equal(frames[3:20][::4], trajectory.read(3, 20, 4))
    equal(frames, Frames.join([trajectory.read(0, 7), trajectory.read(7)]))
    np.testing.assert_array_equal(trajectory.system.cell, frames.cells[0])
    assert "cells" not in trajectory.series()
    np.testing.assert_array_equal(trajectory.series()["pressure"], frames.pressure)


def test_each_structure_has_its_own_cell(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path, frames = new(tmp_path / "run.h5", system), rows(rng, 4)
    append_frames(path, frames)
    to_extxyz(path, tmp_path / "run.extxyz")
    written = ase.io.read(tmp_path / "run.extxyz", ":")
    for images in (written, frames_to_ase(frames, system, 0.0), list(Trajectory(path).atoms())):
        for row, atoms in enumerate(images):
            np.testing.assert_allclose(atoms.cell.array, frames.cells[row], rtol=0, atol=1e-8)
            np.testing.assert_allclose(atoms.positions, frames.positions[row], rtol=0, atol=1e-8)
            assert atoms.pbc.all() and "stress" not in atoms.calc.results and "stress" not in atoms.info


def test_a_moving_cell_is_laid_out_as_h5md_says(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path, frames = new(tmp_path / "run.h5", system), rows(rng, 3)
    append_frames(path, frames)
    with h5py.File(path) as file:
        edges, position = file["particles/all/box/edges"], file["particles/all/position"]
        np.testing.assert_array_equal(edges["value"][:], frames.cells)
        assert edges["value"].attrs["unit"] == "Angstrom"
        # The same objects, not copies.
        assert edges["step"] == position["step"] and edges["time"] == position["time"]
        assert file["observables/pressure/value"].attrs["unit"] == "GPa"


def test_a_cell_can_only_move_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="H2 has no cell that could move"):
        new(tmp_path / "run.h5", System(np.eye(3)[:2], np.array([1, 1])))


def test_frames_of_a_moving_cell_need_it(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path = new(tmp_path / "run.h5", system)
    with pytest.raises(InputError, match="holds cells, which the rows"):
        append_frames(path, replace(rows(rng, 2), cells=None))
    assert len(Trajectory(path)) == 0


def test_scalars_at_their_own_interval(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    """Whatever the chunks: with several frames, with one, with none."""
    path, whole = new(tmp_path / "run.h5", system, own_scalars=True), rows(rng, 41)
    for first, last in ((0, 1), (1, 3), (3, 10), (10, 41)):
        part = whole[first:last]
        append_frames(path, framed(part), part.series())
    trajectory = Trajectory(path)
    assert len(trajectory) == 11
    equal(framed(whole), trajectory.read())
    series = trajectory.series()
    assert set(series) == set(whole.series())
    for name, values in whole.series().items():
        np.testing.assert_array_equal(series[name], values, err_msg=name)
    np.testing.assert_array_equal(trajectory.clock()[0], whole.step[::EVERY])


def test_truncation_at_a_step(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path, whole = new(tmp_path / "run.h5", system, own_scalars=True), rows(rng, 41)
    append_frames(path, framed(whole), whole.series())
    truncate_after(path, 118, frames=6)  # rows every 5 steps, frames every 20
    trajectory = Trajectory(path)
    equal(framed(whole)[:6], trajectory.read())
    np.testing.assert_array_equal(trajectory.series()["step"], whole.step[:24])
    before = path.read_bytes()
    truncate_after(path, 118, frames=6)
    with pytest.raises(FileError, match="holds 6 frames up to step 118, but its checkpoint needs 7"):
        truncate_after(path, 118, frames=7)
    assert path.read_bytes() == before
    append_frames(path, framed(whole[24:]), whole[24:].series())
    equal(framed(whole), Trajectory(path).read())
    np.testing.assert_array_equal(Trajectory(path).series()["conserved"], whole.conserved)
    truncate_after(path, 201)  # only scalars lie behind 200
    append_frames(path, whole[:0], {name: values + 205 for name, values in whole[:1].series().items()})
    truncate_after(path, 204, frames=11)
    assert Trajectory(path).series()["step"][-1] == 200
    truncate_after(path, 20, frames=2)
    assert Trajectory(path).series()["step"].tolist() == [0, 5, 10, 15, 20] and len(Trajectory(path)) == 2
    truncate_after(path, -1, frames=0)
    assert len(Trajectory(path).series()["step"]) == len(Trajectory(path)) == 0


def test_scalars_and_frames_go_together(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path, whole = new(tmp_path / "run.h5", system, own_scalars=True), rows(rng, 9)
    with pytest.raises(InputError, match="at an interval of their own; give them"):
        append_frames(path, whole)
    with pytest.raises(InputError, match="frame of step 40 has no row among the scalars"):
        append_frames(path, framed(whole), whole[:8].series())
    lacking = {name: values for name, values in whole.series().items() if name != "pressure"}
    with pytest.raises(InputError, match="holds pressure, which the rows"):
        append_frames(path, framed(whole), lacking)
    assert len(Trajectory(path)) == len(Trajectory(path).series()["step"]) == 0


WRITER = """
import sys
import numpy as np
from so3krates.io.trajectory import Frames, append_frames

path, count = sys.argv[1], int(sys.argv[2])
names = ("potential_energy", "kinetic_energy", "temperature", "conserved", "closest", "pressure")
for part in range(count):
    step = np.arange(3 * part, 3 * part + 3)
    values = step.astype(float)
    scalars = {"step": step, "time_fs": 0.5 * step} | {name: values for name in names}
    shown = step % 2 == 0
    vectors = {name: np.broadcast_to(values[shown, None, None], (shown.sum(), 5, 3)) for name in
               ("positions", "velocities")}
    cells = (1.0 + values[shown, None, None]) * np.eye(3)
    frames = Frames(**{name: each[shown] for name, each in scalars.items()}, **vectors, cells=cells)
    append_frames(path, frames, scalars)
"""


def test_it_is_read_while_another_process_writes(system: System, tmp_path: Path) -> None:
    """Every look finds whole appends, and every row what it must be."""
    path = new(tmp_path / "run.h5", system, own_scalars=True, compression="gzip")
    count, looks = 40, set()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(count)])
    try:
        running = True
        while running:
            running = writer.poll() is None
            trajectory = Trajectory(path)
            series, frames = trajectory.series(), trajectory.read()
            step = series["step"]
            assert len(step) % 3 == 0 and step.tolist() == list(range(len(step)))
            for name in ("potential_energy", "pressure", "closest"):
                np.testing.assert_array_equal(series[name], step)
            # Written since the scalars were read, or at the same time.
            assert len(frames) >= (len(step) + 1) // 2
            np.testing.assert_array_equal(frames.step, 2 * np.arange(len(frames)))
            np.testing.assert_array_equal(frames.cells, (1.0 + frames.step[:, None, None]) * np.eye(3))
            np.testing.assert_array_equal(frames.velocities[:, 4, 2], frames.step)
            np.testing.assert_array_equal(frames.pressure, frames.step)
            looks.add(len(step))
            time.sleep(0.01)  # locks know no queue: who reads without pause keeps writers out
    finally:
        writer.kill()
        writer.wait()
    assert writer.returncode == 0
    assert len(step) == 3 * count and len(looks) > 3


@pytest.mark.parametrize("moving", [True, False])
def test_mdanalysis_reads_it(rng: np.random.Generator, tmp_path: Path, system: System, moving: bool) -> None:
    path, whole = tmp_path / "run.h5md", rows(rng, 41)
    if not moving:
        whole = replace(whole, cells=None)
    new(path, system, own_scalars=True, moving_cell=moving)
    append_frames(path, framed(whole), whole.series())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
        universe = analysis.Universe.empty(ATOMS, trajectory=False)
        universe.load_new(str(path), format="H5MD")
        found = [
            (each.time, each.data["pressure"], each.positions.copy(), each.triclinic_dimensions.copy())
            for each in universe.trajectory
        ]
        universe.trajectory.close()
    frames = framed(whole)
    assert len(found) == len(frames)
    for row, (time_ps, pressure, positions, cell) in enumerate(found):
        assert time_ps == pytest.approx(frames.time_fs[row] * 1e-3, abs=1e-9)
        assert pressure == frames.pressure[row]
        np.testing.assert_allclose(positions, frames.positions[row], atol=1e-6)
        # There, a cell is its lengths and angles.
        expected = CELL if frames.cells is None else frames.cells[row]
        np.testing.assert_allclose(cell @ cell.T, expected @ expected.T, rtol=1e-5, atol=1e-4)
