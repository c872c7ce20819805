"""Trajectory files: what goes in comes out, growth, truncation, torn writes, other people's readers."""

import threading
import time
import warnings
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest

from so3krates._errors import FileError, InputError
from so3krates.io import journal
from so3krates.io.trajectory import (
    Frames,
    Trajectory,
    append_frames,
    create_trajectory,
    to_extxyz,
    truncate_frames,
)
from so3krates.system import System
from so3krates.units import FEMTOSECOND


def made(rng: np.random.Generator, count: int, first: int = 0, shift: float = 0.0) -> Frames:
    step = 20 * np.arange(first, first + count)
    scalars = {
        name: rng.standard_normal(count)
        for name in ("potential_energy", "kinetic_energy", "temperature", "conserved", "closest")
    }
    return Frames(
        step=step,
        time_fs=0.5 * step,
        positions=shift + rng.standard_normal((count, 4, 3)),
        velocities=rng.standard_normal((count, 4, 3)).astype("float32"),
        forces=rng.standard_normal((count, 4, 3)).astype("float32"),
        **scalars,
    )


@pytest.fixture
def system(rng: np.random.Generator) -> System:
    cell = 9.0 * np.eye(3) + 0.1
    return System(rng.standard_normal((4, 3)), np.array([8, 1, 1, 6]), cell, (True, True, False), charge=-1.0)


@pytest.fixture
def path(system: System, tmp_path: Path) -> Path:
    create_trajectory(tmp_path / "run.h5", system, {"seed": 3}, forces=True, dtype="float64")
    return tmp_path / "run.h5"


def equal(a: Frames, b: Frames) -> None:
    for name, values in a.present().items():
        np.testing.assert_allclose(b.present()[name], values, rtol=0, atol=0, err_msg=name)


def test_frames_come_back_as_written(rng: np.random.Generator, system: System, path: Path) -> None:
    parts = [made(rng, 3), made(rng, 700, 3), made(rng, 1, 703)]
    for part in parts:
        append_frames(path, part)
    trajectory = Trajectory(path)
    assert len(trajectory) == 704
    equal(Frames.join(parts), trajectory.read())
    equal(Frames.join(parts)[5:700][::7], trajectory.read(5, 700, 7))
    assert trajectory.settings == {"seed": 3}
    assert (trajectory.system.charge, trajectory.system.pbc) == (-1.0, (True, True, False))
    np.testing.assert_array_equal(trajectory.system.cell, system.cell)
    assert set(trajectory.series()) == {
        "step",
        "time_fs",
        *("potential_energy", "kinetic_energy", "temperature", "conserved", "closest"),
    }


def test_truncation_and_growth_again(rng: np.random.Generator, path: Path) -> None:
    frames = made(rng, 50)
    append_frames(path, frames)
    truncate_frames(path, 20)
    equal(frames[:20], Trajectory(path).read())
    append_frames(path, frames[20:])
    equal(frames, Trajectory(path).read())
    with pytest.raises(FileError, match="50 frames, but its checkpoint needs 51"):
        truncate_frames(path, 51)


def test_positions_far_away_keep_their_digits(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    far = System(system.positions + 500.0, system.numbers)
    create_trajectory(tmp_path / "far.h5", far, {}, forces=True, dtype="float32")
    frames = made(rng, 2, shift=500.0)
    append_frames(tmp_path / "far.h5", frames)
    np.testing.assert_array_equal(Trajectory(tmp_path / "far.h5").read().positions, frames.positions)


def test_extended_xyz(rng: np.random.Generator, path: Path) -> None:
    frames = made(rng, 5)
    append_frames(path, frames)
    assert to_extxyz(path, path.with_suffix(".extxyz"), every=2) == 3
    images = ase.io.read(path.with_suffix(".extxyz"), ":")
    assert [image.info["step"] for image in images] == [0, 40, 80]
    np.testing.assert_allclose(images[1].positions, frames.positions[2], atol=1e-7)
    np.testing.assert_allclose(images[1].get_velocities() * FEMTOSECOND, frames.velocities[2], atol=1e-7)
    np.testing.assert_allclose(images[1].get_forces(), frames.forces[2], atol=1e-7)
    assert images[1].get_potential_energy() == pytest.approx(frames.potential_energy[2], abs=1e-6)
    assert images[1].pbc.tolist() == [True, True, False] and images[1].info["total_charge"] == -1.0
    with pytest.raises(InputError, match="at least 1"):
        to_extxyz(path, path.with_suffix(".xyz"), every=0)


def test_energies_for_other_programs_are_total_ones(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path, frames = tmp_path / "run.h5", made(rng, 2)
    create_trajectory(path, system, {}, forces=True, dtype="float64", reference_energy=-1234.5)
    append_frames(path, frames)
    to_extxyz(path, tmp_path / "run.extxyz")
    for atoms, energy in zip(ase.io.read(tmp_path / "run.extxyz", ":"), frames.potential_energy, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(energy - 1234.5, abs=1e-6)
    np.testing.assert_array_equal(Trajectory(path).series()["potential_energy"], frames.potential_energy)


def test_a_reader_waits_for_a_commit_and_leaves_its_journal_alone(
    rng: np.random.Generator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_frames(path, made(rng, 3))
    apply, inside, seen = journal._apply, threading.Event(), []

    def slow(*arguments: object) -> None:
        inside.set()
        time.sleep(0.3)
        seen.append(path.with_name("run.h5.journal").exists())
        apply(*arguments)

    monkeypatch.setattr(journal, "_apply", slow)
    writer = threading.Thread(target=append_frames, args=(path, made(rng, 4, 3)))
    writer.start()
    assert inside.wait(10.0)
    assert len(Trajectory(path)) == 7  # not 3, and not a torn file
    writer.join()
    assert seen == [True]


def test_the_layout_is_that_of_h5md(rng: np.random.Generator, path: Path) -> None:
    append_frames(path, made(rng, 2))
    with h5py.File(path) as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        particles = file["particles/all"]
        assert particles["species"][:].tolist() == [8, 1, 1, 6]
        for name, unit in (("position", "Angstrom"), ("velocity", "Angstrom fs-1"), ("force", "eV Angstrom-1")):
            assert particles[name]["value"].shape == (2, 4, 3)
            assert particles[name]["value"].attrs["unit"] == unit
            assert particles[name]["step"][:].tolist() == [0, 20]
            assert particles[name]["time"].attrs["unit"] == "fs"
        assert particles["box"].attrs["boundary"].tolist() == [b"periodic", b"periodic", b"none"]


@pytest.mark.parametrize("content", [b"", b"not a trajectory", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.h5").write_bytes(content)
    with pytest.raises(FileError, match="run.h5"):
        Trajectory(tmp_path / "run.h5")


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        Trajectory(tmp_path / "none.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(FileError, match="not a trajectory of so3krates"):
        Trajectory(tmp_path / "foreign.h5")


def test_a_commit_torn_anywhere_is_finished_or_forgotten(
    rng: np.random.Generator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power fails after every single write of the commit; the next opening sees all new frames or none."""
    frames = made(rng, 30)
    append_frames(path, frames[:10])
    before = path.read_bytes()
    real = journal._apply
    seen = set()
    for torn in range(40):
        path.write_bytes(before)

        def apply(target: Path, writes: list[tuple[int, bytes]], size: int, torn: int = torn) -> None:
            with open(target, "rb+") as handle:
                for offset, data in writes[:torn]:
                    handle.seek(offset)
                    handle.write(data)
            raise KeyboardInterrupt

        monkeypatch.setattr(journal, "_apply", apply)
        with pytest.raises(KeyboardInterrupt):
            append_frames(path, frames[10:])
        monkeypatch.setattr(journal, "_apply", real)
        found = Trajectory(path)
        seen.add(len(found))
        equal(frames, found.read())
        assert not path.with_name("run.h5.journal").exists()
    assert seen == {30}


def test_a_damaged_journal_is_named(rng: np.random.Generator, path: Path) -> None:
    append_frames(path, made(rng, 2))
    path.with_name("run.h5.journal").write_bytes(b"S3KJRNL1" + bytes(30))
    with pytest.raises(FileError, match="journal is damaged"):
        Trajectory(path)


def test_mdanalysis_reads_it(rng: np.random.Generator, tmp_path: Path, system: System) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = pytest.importorskip("MDAnalysis")
    create_trajectory(tmp_path / "run.h5md", system, {}, forces=False, dtype="float32")
    append_frames(tmp_path / "run.h5md", made(rng, 3))
    universe = analysis.Universe.empty(4, trajectory=False)
    universe.load_new(str(tmp_path / "run.h5md"), format="H5MD")
    assert universe.trajectory.n_frames == 3
