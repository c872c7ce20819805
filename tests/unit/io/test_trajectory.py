"""Trajectory files: what goes in comes out, growth, truncation, torn writes, other people's readers."""

import errno
import threading
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest

from so3krates._errors import FileError, InputError
from so3krates.io import file_lock, journal
from so3krates.io.trajectory import (
    OBSERVABLES,
    Frames,
    Trajectory,
    append_frames,
    change_settings,
    create_trajectory,
    to_extxyz,
    truncate_after,
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
    truncate_after(path, int(frames.step[19]), frames=20)
    equal(frames[:20], Trajectory(path).read())
    append_frames(path, frames[20:])
    equal(frames, Trajectory(path).read())
    with pytest.raises(FileError, match=r"50 frames up to step \d+, but its checkpoint needs 51"):
        truncate_after(path, int(frames.step[-1]), frames=51)


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


def test_another_program_that_keeps_the_file_open_stops_no_run(rng: np.random.Generator, path: Path) -> None:
    """HDF5 holds a lock of its own for as long as somebody has the file open."""
    frames = made(rng, 5)
    append_frames(path, frames[:3])

    def write() -> None:
        append_frames(path, frames[3:4])
        append_frames(path, frames[4:])

    with h5py.File(path) as foreign:
        assert len(foreign["particles/all/position/step"]) == 3
        writer = threading.Thread(target=write, daemon=True)
        began = time.monotonic()
        writer.start()
        writer.join(60.0)
        assert not writer.is_alive() and time.monotonic() - began > 2 * file_lock.PATIENCE
    equal(frames, Trajectory(path).read())


@pytest.fixture(params=["no locks", "only readable"])
def cannot_recover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that cannot have a file for itself."""

    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def only_readable(name: Path, mode: str) -> object:
        if mode == "rb+" and threading.current_thread() is threading.main_thread():
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(name, mode)

    if request.param == "no locks":
        monkeypatch.setattr("fcntl.flock", no_locks)
    else:
        monkeypatch.setattr(journal, "open", only_readable, raising=False)
        monkeypatch.setattr(file_lock, "PATIENCE", 0.05)


@pytest.mark.usefixtures("cannot_recover")
def test_a_reader_leaves_the_journal_of_a_writer_that_may_be_alive(
    rng: np.random.Generator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the whole commit all the same, whatever of it has arrived in the file."""
    frames, apply, inside, read, errors = made(rng, 7), journal._apply, threading.Event(), threading.Event(), []

    def slow(target: Path, writes: list[tuple[int, bytes]], size: int) -> None:
        with open(target, "rb+") as handle:
            for offset, data in writes[::2]:
                handle.seek(offset)
                handle.write(data)
        inside.set()
        assert read.wait(60.0)
        apply(target, writes, size)

    def write() -> None:
        try:
            append_frames(path, frames[3:])
        except BaseException as error:
            errors.append(error)

    writer = threading.Thread(target=append_frames, args=(path, frames[:3]))
    writer.start()
    writer.join(60.0)
    monkeypatch.setattr(journal, "_apply", slow)
    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(60.0)
    equal(frames, Trajectory(path).read())
    assert path.with_name("run.h5.journal").exists()
    read.set()
    writer.join(60.0)
    assert errors == [] and not path.with_name("run.h5.journal").exists()
    equal(frames, Trajectory(path).read())


def test_who_finishes_the_same_commit_twice_is_not_disturbed(
    rng: np.random.Generator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = journal._apply

    def twice(*arguments: object) -> None:
        apply(*arguments)
        apply(*arguments)

    monkeypatch.setattr(journal, "_apply", twice)
    append_frames(path, made(rng, 3))
    assert len(Trajectory(path)) == 3


def test_a_reader_says_that_the_file_changed_under_its_hands(rng: np.random.Generator, path: Path) -> None:
    """Reading went on for longer than a writer waits."""
    append_frames(path, made(rng, 3))
    with pytest.raises(FileError, match=r"run\.h5 was written to while it was read; read it again, or fewer frames"):
        with Trajectory(path)._open():
            append_frames(path, made(rng, 2, 3))
    assert len(Trajectory(path)) == 5


def test_a_journal_is_not_applied_to_the_file_that_replaces_its_own(
    rng: np.random.Generator, system: System, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_apply", dies)
        with pytest.raises(KeyboardInterrupt):
            append_frames(path, made(rng, 3))
    with monkeypatch.context() as patch:
        patch.setattr("so3krates.io.trajectory.writing.write_atomically", dies)  # no room
        with pytest.raises(KeyboardInterrupt):
            create_trajectory(path, system, {}, forces=True, dtype="float64")
    assert len(Trajectory(path)) == 3  # nothing of the old file is lost
    path.with_name("run.h5.journal").write_bytes(b"damaged")
    create_trajectory(path, system, {}, forces=True, dtype="float64")
    assert len(Trajectory(path)) == 0 and not path.with_name("run.h5.journal").exists()


def test_settings_may_change(rng: np.random.Generator, path: Path) -> None:
    append_frames(path, made(rng, 3))
    change_settings(path, {"seed": 3})
    before = path.read_bytes()
    change_settings(path, {"seed": 3})
    assert path.read_bytes() == before
    change_settings(path, {"seed": 4, "of": ["a run"]})
    assert Trajectory(path).settings == {"seed": 4, "of": ["a run"]} and len(Trajectory(path)) == 3


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
        box = particles["box"]
        assert box.attrs["boundary"].tolist() == [b"periodic", b"periodic", b"none"]
        assert box["edges/value"].shape == (2, 3, 3) and box["edges/value"].attrs["unit"] == "Angstrom"
        for group in (box["edges"], particles["velocity"], file["observables/temperature"]):
            assert group["step"] == particles["position/step"] and group["time"] == particles["position/time"]


def test_what_is_recorded_how_stands_in_the_file(system: System, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create_trajectory(path, system, {}, forces=False, dtype="float32", velocities=False, compression="gzip")
    with h5py.File(path) as file:
        stated = dict(file["so3krates"].attrs)
        assert "velocity" not in file["particles/all"] and "force" not in file["particles/all"]
        position = file["particles/all/position/value"]
        assert (position.dtype, position.compression, position.shuffle) == (np.dtype("float32"), "gzip", True)
    assert list(stated["quantities"]) == ["positions", *OBSERVABLES]
    assert (stated["precision"], stated["compression"]) == ("float32", "gzip")
    trajectory = Trajectory(path)
    assert trajectory.quantities == ("positions", *OBSERVABLES)
    assert (trajectory.precision, trajectory.compression, trajectory.moving_cell) == ("float32", "gzip", False)


def test_frames_without_velocities(rng: np.random.Generator, system: System, tmp_path: Path) -> None:
    path, frames = tmp_path / "run.h5", made(rng, 4)
    create_trajectory(path, system, {}, forces=False, dtype="float64", velocities=False)
    append_frames(path, frames)
    found = Trajectory(path).read()
    assert found.velocities is None and found.forces is None and "velocities" not in found.present()
    np.testing.assert_array_equal(found.positions, frames.positions)
    assert Frames.join([found, found]).velocities is None and found[1:].velocities is None
    to_extxyz(path, tmp_path / "run.extxyz")
    assert not ase.io.read(tmp_path / "run.extxyz").has("momenta")


@pytest.mark.parametrize("appends", [1, 20])
def test_compressed_frames_come_back_and_leave_no_holes(
    rng: np.random.Generator, system: System, tmp_path: Path, appends: int
) -> None:
    """Chunks that grow move; their former places are used again."""
    frames = replace(made(rng, 3000), positions=np.round(rng.standard_normal((3000, 4, 3)), 3))
    sizes = {}
    for compression in ("none", "gzip"):
        path = tmp_path / f"{compression}.h5"
        create_trajectory(path, system, {}, forces=True, dtype="float32", compression=compression)
        for first in range(0, 3000, 3000 // appends):
            append_frames(path, frames[first : first + 3000 // appends])
        equal(replace(frames, positions=frames.positions.astype("float32")), Trajectory(path).read())
        sizes[compression] = path.stat().st_size
    assert sizes["gzip"] < 0.9 * sizes["none"]


def test_rows_that_do_not_fit_are_refused(rng: np.random.Generator, path: Path) -> None:
    frames = made(rng, 3)
    append_frames(path, frames)
    for wrong, sentence in (
        (made(rng, 2, 2), "steps 40 to 60 cannot be added after step 40; steps must grow"),
        (made(rng, 3, 3)[::-1], "steps 100 to 60 cannot be added after step 40"),
        (replace(made(rng, 1, 3), forces=None), "holds forces, which the rows to be added lack"),
        (replace(made(rng, 1, 3), cells=np.ones((1, 3, 3))), "no room for a moving cell"),
    ):
        with pytest.raises(InputError, match=sentence):
            append_frames(path, wrong)
    with pytest.raises(InputError, match="no room for scalars"):
        append_frames(path, made(rng, 1, 3), made(rng, 2, 3).series())
    equal(frames, Trajectory(path).read())


def test_windows_of_time(rng: np.random.Generator, path: Path) -> None:
    append_frames(path, made(rng, 50))  # every 10 fs
    trajectory = Trajectory(path)
    assert trajectory.window() == range(0, 50)
    assert trajectory.window(0.1, 0.2, 3) == range(10, 21, 3)
    assert trajectory.window(0.1) == range(10, 50) and trajectory.window(None, 0.1001) == range(0, 11)
    with pytest.raises(InputError, match=r"no frame from 0.101 ps to 0.109 ps; its 50 frames go from 0 to 0.49 ps"):
        trajectory.window(0.101, 0.109)
    with pytest.raises(InputError, match="no frame from 0.5 ps"):
        trajectory.window(0.5)
    with pytest.raises(InputError, match="every is 0"):
        trajectory.read(every=0)
    with pytest.raises(InputError, match="every is 0"):
        next(trajectory.atoms(every=0))


def test_an_empty_trajectory_has_a_system_and_no_window(system: System, path: Path) -> None:
    trajectory = Trajectory(path)
    np.testing.assert_array_equal(trajectory.system.cell, system.cell)
    assert len(trajectory) == len(trajectory.read()) == 0
    with pytest.raises(InputError, match="run.h5 holds no frame yet"):
        trajectory.window()


def test_blocks_are_all_the_frames(rng: np.random.Generator, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("so3krates.io.trajectory.reading.BLOCK_BYTES", 24 * 3 * 4 * 7)
    frames = made(rng, 50)
    append_frames(path, frames)
    blocks = list(Trajectory(path).blocks(range(3, 50, 2)))
    assert [len(block) for block in blocks] == [7, 7, 7, 3]
    equal(frames[3:][::2], Frames.join(blocks))


@pytest.mark.parametrize("content", [b"", b"not a trajectory", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.h5").write_bytes(content)
    with pytest.raises(FileError, match="run.h5"):
        Trajectory(tmp_path / "run.h5")


def test_a_trajectory_damaged_in_the_middle_is_named(rng: np.random.Generator, path: Path) -> None:
    """HDF5 finds that out only when it comes there."""
    append_frames(path, made(rng, 200))
    content = bytearray(path.read_bytes())
    content[2000:-100] = bytes(len(content) - 2100)
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"run\.h5' is damaged and cannot be read: .*; take a copy of it"):
        Trajectory(path).read()


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
