"""`so3krates convert run.h5 TARGET` as a user types it."""

from importlib.util import find_spec
from pathlib import Path

import ase.io
import made_runs
import numpy as np
import pytest

from so3krates.cli import main
from so3krates.io.trajectory import Trajectory, create_trajectory
from so3krates.system import System

needs_mdtraj = pytest.mark.skipif(find_spec("mdtraj") is None, reason="mdtraj is not installed")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A frame every 2 fs, up to 0.098 ps."""
    return made_runs.write_run(tmp_path / "run.h5", frames=50)


def test_a_part_as_extxyz(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "part.extxyz"
    part = ["--every", "5", "--start-ps", "0.02", "--stop-ps", "0.06"]
    assert main(["convert", str(run), str(target), *part]) == 0
    assert capsys.readouterr().out == f"{target}: 5 frames written from {run}\n"
    times = [atoms.info["time_fs"] for atoms in ase.io.read(target, ":")]
    np.testing.assert_allclose(times, [20.0, 30.0, 40.0, 50.0, 60.0])


@needs_mdtraj
@pytest.mark.parametrize("suffix", [".dcd", ".XTC"])
def test_compact_formats_and_what_is_said_of_them(
    run: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / f"run{suffix}"
    assert main(["convert", str(run), str(target)]) == 0
    said = capsys.readouterr().out
    assert f"{target}: 50 frames written" in said and f"{tmp_path / 'run.pdb'}: first frame with bonds" in said
    assert ("rounded to 0.01 Å" in said) == (suffix == ".XTC") and "frames were turned" not in said
    np.testing.assert_allclose(
        ase.io.read(tmp_path / "run.pdb").positions, Trajectory(run).read(0, 1).positions[0], atol=6e-4
    )


@needs_mdtraj
def test_turned_frames_are_announced_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crystal = made_runs.crystal()
    turned = System(crystal.positions, crystal.numbers, crystal.cell[[1, 2, 0]], crystal.pbc)
    run = made_runs.write_run(tmp_path / "run.h5", turned, frames=3)
    assert main(["convert", str(run), str(tmp_path / "run.dcd"), "--wrap"]) == 0
    assert capsys.readouterr().out.count("frames were turned") == 1
    assert main(["convert", str(run), str(tmp_path / "run.xyz"), "--no-wrap"]) == 0
    assert "frames were turned" not in capsys.readouterr().out


@needs_mdtraj
def test_existing_files_are_kept(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run.dcd", "run.pdb"):
        (tmp_path / name).write_text("mine")
        assert main(["convert", str(run), str(tmp_path / "run.dcd")]) == 1
        assert f"{name}' exists; replace it with --overwrite" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    assert main(["convert", str(run), str(tmp_path / "run.dcd")]) == 0
    assert main(["convert", str(run), str(tmp_path / "run.dcd"), "--overwrite"]) == 0


def test_what_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty.h5"
    create_trajectory(empty, made_runs.ethanol(), {}, forces=False, dtype="float32")
    before = sorted(tmp_path.iterdir())
    xyz = str(tmp_path / "run.xyz")
    for arguments, sentence in (
        ([str(run), xyz, "--every", "0"], "every is 0; it must be at least 1"),
        ([str(run), xyz, "--every", "-2"], "every is -2; it must be at least 1"),
        ([str(run), xyz, "--start-ps", "0.1"], "no frame from 0.1 ps; its 50 frames go from 0 to 0.098 ps"),
        ([str(run), xyz, "--start-ps", "0.05", "--stop-ps", "0.04"], "no frame from 0.05 ps to 0.04 ps"),
        ([str(run), xyz, "--wrap"], "has no cell to bring atoms into; leave out --wrap"),
        ([str(empty), xyz], "empty.h5 holds no frame yet"),
        ([str(run), str(tmp_path / "run.gro")], "ends in .extxyz or .xyz or .dcd or .xtc"),
        ([str(run), str(run)], "the same file as the input"),
        ([str(run), "/dev/full/run.xyz"], "cannot be written"),
    ):
        assert main(["convert", *arguments]) == 1
        message = capsys.readouterr().err
        assert sentence in message.replace("\n", " "), message
    monkeypatch.setattr("so3krates.io.trajectory.binary.find_spec", lambda name: None)
    assert main(["convert", str(run), str(tmp_path / "run.xtc")]) == 1
    assert 'pip install "so3krates[formats]"' in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
