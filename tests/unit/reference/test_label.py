"""Labelling: parallel equals serial, nothing is lost, nothing is done twice, nothing is dropped in silence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from so3krates._errors import FileError, InputError
from so3krates.io import atomic
from so3krates.reference import CalculatorSpec, label, label_frames

SPRINGS = f"{Path(__file__).with_name('fakes.py')}:Springs"


def structures(count: int, rng: np.random.Generator, periodic: bool = False) -> list[ase.Atoms]:
    """Water-like structures whose first coordinate is their number."""
    frames = []
    for number in range(count):
        positions = rng.normal(size=(3, 3))
        positions[0, 0] = number
        cell = np.eye(3) * 7.1 if periodic else None
        frames.append(ase.Atoms("OH2", positions=positions, cell=cell, pbc=periodic, info={"name": f"frame {number}"}))
    return frames


def springs(**arguments: object) -> CalculatorSpec:
    return CalculatorSpec(target=SPRINGS, arguments=arguments)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "in.traj"
    ase.io.write(path, structures(6, rng))
    return path


def test_labels_are_those_of_the_calculator_and_survive_the_file_bit_for_bit(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.extxyz"
    report = label(source, output, springs(stiffness=0.3))
    before, after = ase.io.read(source, ":"), ase.io.read(output, ":")
    assert (report.labelled, report.total, report.resumed, report.failures) == (6, 6, 0, ())
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        np.testing.assert_array_equal(new.positions, old.positions)
        np.testing.assert_array_equal(new.arrays["REF_forces"], -0.3 * old.positions)
        assert new.info["REF_energy"] == 0.5 * 0.3 * float((old.positions**2).sum())
        assert new.info["source_frame"] == number
        assert new.info["name"] == f"frame {number}"
        assert "stiffness" in new.info["level_of_theory"]
        assert "REF_stress" not in new.info
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.traj", "out.extxyz"]


def test_periodic_structures_get_the_stress_in_matrix_form(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = structures(2, rng, periodic=True)
    ase.io.write(tmp_path / "in.traj", frames)
    label(tmp_path / "in.traj", tmp_path / "out.extxyz", springs())
    read = ase.io.read(tmp_path / "out.extxyz", 1)
    np.testing.assert_array_equal(read.info["REF_stress"].reshape(3, 3), [[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    np.testing.assert_array_equal(np.asarray(read.cell), np.eye(3) * 7.1)
    assert all(read.pbc)


def test_parallel_equals_serial_byte_for_byte(source: Path, tmp_path: Path) -> None:
    label(source, tmp_path / "serial.extxyz", springs())
    label(source, tmp_path / "parallel.extxyz", springs(), processes=2)
    assert (tmp_path / "parallel.extxyz").read_bytes() == (tmp_path / "serial.extxyz").read_bytes()


def test_failures_are_listed_and_tried_again(source: Path, tmp_path: Path) -> None:
    output, log = tmp_path / "out.extxyz", tmp_path / "log"
    report = label(source, output, springs(fail_above=3.5, log=str(log)))
    assert [frame for frame, _ in report.failures] == [4, 5]
    assert report.labelled == 4
    assert "no convergence at 4.0" in report.failures[0][1]
    listed = [json.loads(line) for line in report.failures_file.read_text().splitlines()]
    assert [entry["frame"] for entry in listed] == [4, 5]
    assert listed[0]["file"] == str(source)
    assert [atoms.info["source_frame"] for atoms in ase.io.read(output, ":")] == [0, 1, 2, 3]
    log.unlink()
    again = label(source, output, springs(fail_above=3.5, log=str(log)))
    assert again.resumed == 4
    assert log.read_text().split() == ["np.float64(4.0)", "np.float64(5.0)"]


def test_values_that_are_not_finite_are_failures(source: Path, tmp_path: Path) -> None:
    report = label(source, tmp_path / "out.extxyz", springs(not_finite=True))
    assert len(report.failures) == 6
    assert "energy that are not finite" in report.failures[0][1]


def test_a_process_that_dies_takes_only_its_own_frame(source: Path, tmp_path: Path) -> None:
    report = label(source, tmp_path / "out.extxyz", springs(die_above=4.5), processes=2)
    assert [frame for frame, _ in report.failures] == [5]
    assert "exit status -9" in report.failures[0][1]


def test_an_interrupt_keeps_what_is_done(source: Path, tmp_path: Path) -> None:
    frames, journal, log = ase.io.read(source, ":"), tmp_path / "book", tmp_path / "log"
    spec = springs(log=str(log))
    seen = []

    def interrupt(done: int, failed: int, total: int) -> None:
        seen.append(done)
        if done == 2 and len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_frames(frames, spec, journal, progress=interrupt)
    labels = label_frames(frames, spec, journal)
    assert seen == [0, 1, 2]
    assert len(log.read_text().split()) == 6
    np.testing.assert_array_equal([found.forces for found in labels], [-atoms.positions for atoms in frames])


def test_a_kill_at_any_moment_loses_nothing(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.extxyz"
    script = (
        "from pathlib import Path; from so3krates.reference import CalculatorSpec, label; "
        f"label(Path({str(source)!r}), Path({str(output)!r}), "
        f"CalculatorSpec(target={SPRINGS!r}, arguments={{'seconds': 0.3}}))"
    )
    journal = Path(f"{output}.journal")
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and _lines(journal) < 3:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not output.exists()
    finished = _lines(journal) - 1
    report = label(source, output, springs(seconds=0.3))
    assert report.resumed == finished >= 2
    label(source, tmp_path / "whole.extxyz", springs(seconds=0.3))
    assert output.read_bytes() == (tmp_path / "whole.extxyz").read_bytes()


def test_a_torn_last_line_is_done_again(source: Path, tmp_path: Path) -> None:
    frames, journal = ase.io.read(source, ":"), tmp_path / "book"
    whole = label_frames(frames, springs(), journal)
    content = journal.read_bytes()
    journal.write_bytes(content[:-20])
    counts = []
    torn = label_frames(frames, springs(), journal, progress=lambda done, failed, total: counts.append(done))
    assert counts == [5, 6]
    assert journal.read_bytes() == content
    assert [found.energy for found in torn] == [found.energy for found in whole]


def test_a_journal_serves_its_own_task_only(source: Path, tmp_path: Path) -> None:
    frames, journal = ase.io.read(source, ":"), tmp_path / "book"
    label_frames(frames, springs(), journal)
    with pytest.raises(FileError, match="belongs to another task.*calculator"):
        label_frames(frames, springs(stiffness=2.0), journal)
    frames[3].positions[1, 1] += 1e-9
    with pytest.raises(FileError, match="belongs to another task.*fingerprint"):
        label_frames(frames, springs(), journal)


def test_a_damaged_journal_is_refused(source: Path, tmp_path: Path) -> None:
    frames, journal = ase.io.read(source, ":"), tmp_path / "book"
    label_frames(frames, springs(), journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[1][:30] + b"\n" + lines[2])
    with pytest.raises(FileError, match="damaged"):
        label_frames(frames, springs(), journal)


def test_finished_output_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    label(source, tmp_path / "out.extxyz", springs())
    with pytest.raises(FileError, match="exists already"):
        label(source, tmp_path / "out.extxyz", springs())


def test_a_full_disk_is_one_sentence_and_keeps_the_journal(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_write_synced", full)
    with pytest.raises(FileError, match="out.extxyz' cannot be written: the disk is full"):
        label(source, tmp_path / "out.extxyz", springs())
    monkeypatch.undo()
    assert not (tmp_path / "out.extxyz").exists()
    assert label(source, tmp_path / "out.extxyz", springs()).resumed == 6


@pytest.mark.parametrize("processes", [0, -1])
def test_at_least_one_process(source: Path, tmp_path: Path, processes: int) -> None:
    with pytest.raises(InputError, match="expected at least 1"):
        label(source, tmp_path / "out.extxyz", springs(), processes=processes)


def test_missing_and_truncated_inputs_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nothing.xyz: no such file"):
        label(tmp_path / "nothing.xyz", tmp_path / "out.extxyz", springs())
    broken = tmp_path / "broken.extxyz"
    broken.write_text("3\nProperties=species:S:1:pos:R:3\nO 0 0 0\n")
    with pytest.raises(FileError, match=r"broken\.extxyz: ASE cannot read it"):
        label(broken, tmp_path / "out.extxyz", springs())


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
