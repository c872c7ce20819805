"""Trajectories for other programs: DCD, XTC and PDB, read back by libraries that did not write them."""

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from scipy.io import FortranEOFError, FortranFile

from so3krates._errors import FileError, InputError
from so3krates.io.trajectory import Frames, Trajectory, append_frames, convert_trajectory, create_trajectory
from so3krates.io.trajectory.cells import upright, wrapped
from so3krates.io.trajectory.topology import bonds_of, pdb_text
from so3krates.system import System

TRICLINIC = np.array([[9.0, 0.5, 0.4], [2.0, 8.0, 0.3], [-1.0, 1.0, 10.0]])
LEFT_HANDED = TRICLINIC[[1, 0, 2]]
LOWER = np.array([[9.0, 0.0, 0.0], [2.0, 8.0, 0.0], [-1.0, 1.0, 10.0]])
XTC_ERROR = 0.0051
"""Å; half of the last digit."""
needs_mdtraj = pytest.mark.skipif(find_spec("mdtraj") is None, reason="mdtraj is not installed")


def system(cell: np.ndarray | None, copies: int = 2) -> System:
    atoms = molecule("CH3CH2OH")
    positions = np.concatenate([atoms.positions + 5.0 * copy * np.eye(3)[2] for copy in range(copies)])
    numbers = np.tile(atoms.numbers, copies)
    return System(positions, numbers, cell, (cell is not None,) * 3)


def frames_of(of: System, rng: np.random.Generator, count: int, *, moving: bool = False, first: int = 0) -> Frames:
    """A frame every 20 steps of 0.5 fs, atoms far outside the cell."""
    step = 20 * np.arange(first, first + count)
    names = ("potential_energy", "kinetic_energy", "temperature", "conserved", "closest")
    growth = (1.0 + 0.01 * np.arange(count))[:, None, None]
    return Frames(
        step=step,
        time_fs=0.5 * step,
        positions=of.positions + 7.0 * rng.standard_normal((count, len(of), 3)),
        velocities=None,
        cells=growth * of.cell + 0.02 * rng.standard_normal((count, 3, 3)) if moving else None,
        **{name: np.ones(count) for name in names},
    )


def write(path: Path, of: System, frames: Frames) -> Path:
    create_trajectory(
        path,
        of,
        {"timestep_fs": 0.5},
        forces=False,
        dtype="float64",
        velocities=False,
        moving_cell=frames.cells is not None,
    )
    append_frames(path, frames)
    return path


class Seen(NamedTuple):
    """What another library finds in a file."""

    time_ps: float
    step: int
    positions: np.ndarray
    cell: np.ndarray | None


def mdanalysis(path: Path, atoms: int) -> list[Seen]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
        universe = analysis.Universe.empty(atoms, trajectory=False)
        universe.load_new(str(path))
        found = []
        for each in universe.trajectory:
            cell = None if each.dimensions is None else each.triclinic_dimensions.astype(np.float64)
            found.append(Seen(each.time, each.data["step"], each.positions.astype(np.float64), cell))
        universe.trajectory.close()
    return found


def pair_vectors(positions: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
    """Distances of atoms and their images, which say everything about a periodic structure but how it lies."""
    shifts = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])
    images = np.zeros((1, 3)) if cell is None else shifts @ cell
    vectors = positions[None, :, None] - positions[:, None, None] + images
    return np.sort(np.linalg.norm(vectors, axis=-1), axis=-1)


def handedness(positions: np.ndarray) -> np.ndarray:
    """Signed volumes, which a mirror image has with the other sign."""
    return np.linalg.det(positions[1:4] - positions[0])


@needs_mdtraj
@pytest.mark.parametrize("suffix", [".dcd", ".xtc"])
@pytest.mark.parametrize(
    ("cell", "moving"),
    [(None, False), (LOWER, False), (TRICLINIC, False), (LEFT_HANDED, False), (TRICLINIC, True), (LEFT_HANDED, True)],
    ids=["none", "lower", "triclinic", "left-handed", "moving", "left-handed moving"],
)
def test_another_library_reads_the_same_structures(
    rng: np.random.Generator, tmp_path: Path, suffix: str, cell: np.ndarray | None, moving: bool
) -> None:
    of = system(cell)
    frames = frames_of(of, rng, 12, moving=moving)
    source, target = write(tmp_path / "run.h5", of, frames), tmp_path / f"run{suffix}"
    done = convert_trajectory(source, target, every=2, start_ps=0.02)
    assert done.frames == 5 and done.topology == tmp_path / "run.pdb"
    assert done.turned == (cell is not None and (moving or cell is not LOWER))
    found, chosen = mdanalysis(target, len(of)), frames[2:][::2]
    assert len(found) == len(chosen) == 5
    error = XTC_ERROR if suffix == ".xtc" else 2e-5
    for row, seen in enumerate(found):
        assert seen.time_ps == pytest.approx(chosen.time_fs[row] * 1e-3, abs=1e-6)
        if suffix == ".xtc":
            assert seen.step == chosen.step[row]
        positions, lattice = chosen.positions[row], cell if chosen.cells is None else chosen.cells[row]
        assert (seen.cell is None) == (cell is None)
        # Two roundings along three axes.
        expected = pair_vectors(positions, lattice)
        np.testing.assert_allclose(pair_vectors(seen.positions, seen.cell), expected, rtol=0, atol=2 * 3**0.5 * error)
        np.testing.assert_allclose(handedness(seen.positions), handedness(positions), rtol=0.02, atol=1.0)
        if not done.turned:
            np.testing.assert_allclose(seen.positions, positions, rtol=0, atol=error)
    assert not list(tmp_path.glob(".*tmp*"))


@needs_mdtraj
def test_dcd_record_by_record(rng: np.random.Generator, tmp_path: Path) -> None:
    """As a Fortran program reads it, without any library for the format."""
    of = system(LOWER)
    frames = frames_of(of, rng, 6, first=3)
    target = tmp_path / "run.dcd"
    convert_trajectory(write(tmp_path / "run.h5", of, frames), target)
    with FortranFile(target, "r") as file:
        head, titles, atoms = (file.read_record("u1") for _ in range(3))
        assert head[:4].tobytes() == b"CORD"
        assert head[4:20].view("<i4").tolist() == [6, 60, 20, 160]  # frames, first step, steps between, last step
        # √(u Å² mol/kcal) is 48.88821 fs.
        assert head[40:44].view("<f4")[0] * 48.88821 == pytest.approx(0.5, rel=1e-6)
        assert titles[4:].tobytes().decode().split() == "Written by so3krates. From run.h5, in Angstrom.".split()
        assert atoms.view("<i4").tolist() == [len(of)]
        for positions in frames.positions:
            cell = file.read_reals("<f8")
            np.testing.assert_allclose(cell[[0, 2, 5]], of.to_ase().cell.lengths(), rtol=1e-6)
            # CHARMM stores cosines.
            np.testing.assert_allclose(cell[[4, 3, 1]], np.cos(np.radians(of.to_ase().cell.angles())), atol=1e-6)
            found = np.stack([file.read_reals("<f4") for _ in range(3)], axis=1)
            np.testing.assert_allclose(found, positions, rtol=0, atol=2e-6)
        with pytest.raises(FortranEOFError):
            file.read_record("u1")


@needs_mdtraj
@pytest.mark.parametrize("suffix", [".dcd", ".xtc"])
def test_small_molecules_and_single_frames(rng: np.random.Generator, tmp_path: Path, suffix: str) -> None:
    """XTC stores fewer than ten atoms in another way."""
    of = system(None, copies=1)
    frames = frames_of(of, rng, 4)
    source, target = write(tmp_path / "run.h5", of, frames), tmp_path / f"run{suffix}"
    convert_trajectory(source, target, start_ps=0.02, stop_ps=0.02)
    (seen,) = mdanalysis(target, len(of))
    assert seen.time_ps == pytest.approx(0.02) and seen.cell is None
    np.testing.assert_allclose(seen.positions, frames.positions[2], rtol=0, atol=2e-5)


@needs_mdtraj
def test_the_topology_names_elements_cell_and_bonds(rng: np.random.Generator, tmp_path: Path) -> None:
    of = system(TRICLINIC)
    frames = replace(frames_of(of, rng, 3), positions=np.repeat(of.positions[None], 3, axis=0))
    convert_trajectory(write(tmp_path / "run.h5", of, frames), tmp_path / "run.xtc")
    atoms = ase.io.read(tmp_path / "run.pdb")
    assert atoms.get_chemical_symbols() == of.symbols
    np.testing.assert_allclose(atoms.cell.cellpar(), of.to_ase().cell.cellpar(), atol=6e-3)
    first = mdanalysis(tmp_path / "run.xtc", len(of))[0]
    np.testing.assert_allclose(atoms.positions, first.positions, atol=XTC_ERROR + 6e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = pytest.importorskip("MDAnalysis").Universe(str(tmp_path / "run.pdb"), str(tmp_path / "run.xtc"))
        bonds = sorted(tuple(sorted(int(i) for i in pair)) for pair in universe.bonds.indices)
        assert set(universe.residues.resnames) == {"MOL"} and universe.atoms.names[0] == of.symbols[0]
        assert universe.trajectory.n_frames == 3
        universe.trajectory.close()
    assert bonds == bonds_of(of) and len(bonds) == 16  # 8 in each ethanol


def test_bonds_go_through_faces_of_the_cell() -> None:
    apart = System(np.array([[0.2, 2.0, 2.0], [3.7, 2.0, 2.0]]), np.array([1, 9]), 4.4 * np.eye(3), (True,) * 3)
    assert bonds_of(apart) == [(0, 1)]
    assert bonds_of(replace(apart, cell=6.0 * np.eye(3))) == []
    assert "CONECT    1    2\nCONECT    2    1\nEND" in pdb_text(apart)


def test_pdb_of_structures_far_away() -> None:
    far = System(np.array([[-5000.0, 0.0, 0.0], [-4999.2, 0.0, 0.0]]), np.array([1, 9]))
    line = pdb_text(far).splitlines()[0]
    assert float(line[30:38]) == pytest.approx(-0.4) and line[76:78].strip() == "H"
    with pytest.raises(InputError, match="20000 Å apart"):
        pdb_text(System(np.array([[0.0, 0.0, 0.0], [20000.0, 0.0, 0.0]]), np.array([1, 9])))


@pytest.mark.parametrize("cell", [TRICLINIC, LEFT_HANDED, -TRICLINIC, TRICLINIC[::-1], np.diag([5.0, -6.0, 7.0])])
def test_turned_cells(rng: np.random.Generator, cell: np.ndarray) -> None:
    positions = rng.standard_normal((2, 6, 3))
    both = np.stack([cell, LOWER])
    moved, cells, turned = upright(positions, both)
    assert turned.tolist() == [True, False]
    np.testing.assert_array_equal(moved[1], positions[1])
    np.testing.assert_array_equal(cells[1], LOWER)
    assert (np.triu(cells[0], 1) == 0).all() and (np.diagonal(cells[0]) > 0).all()
    # The same lattice: each new vector is a whole combination of the old ones in the turned frame, and back.
    rotation, *_ = np.linalg.lstsq(positions[0], moved[0], rcond=None)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    combination = cells[0] @ np.linalg.inv(cell @ rotation)
    np.testing.assert_allclose(combination, np.round(combination), atol=1e-12)
    assert abs(np.linalg.det(combination)) == pytest.approx(1.0)


def test_wrapped_atoms_lie_in_the_cell(rng: np.random.Generator) -> None:
    of = replace(system(TRICLINIC), pbc=(True, True, False))
    frames = frames_of(of, rng, 5, moving=True)
    inside = wrapped(frames, of)
    fractional = inside.positions @ np.linalg.inv(frames.cells)
    assert fractional[..., :2].min() >= -1e-12 and fractional[..., :2].max() < 1 + 1e-12
    moved = (inside.positions - frames.positions) @ np.linalg.inv(frames.cells)
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-9)
    assert np.abs(moved[..., 2]).max() < 1e-9 and np.abs(moved).max() > 0.5
    with pytest.raises(InputError, match="has no cell to bring atoms into"):
        wrapped(frames_of(system(None), rng, 2), system(None))


@needs_mdtraj
@pytest.mark.parametrize("suffix", [".extxyz", ".dcd", ".xtc"])
def test_wrapped_files(rng: np.random.Generator, tmp_path: Path, suffix: str) -> None:
    of = system(LOWER)
    frames = frames_of(of, rng, 3)
    source, target = write(tmp_path / "run.h5", of, frames), tmp_path / f"run{suffix}"
    convert_trajectory(source, target, wrap=True)
    if suffix == ".extxyz":
        found = [atoms.positions for atoms in ase.io.read(target, ":")]
    else:
        found = [seen.positions for seen in mdanalysis(target, len(of))]
    expected = wrapped(frames, of).positions
    np.testing.assert_allclose(np.stack(found), expected, rtol=0, atol=XTC_ERROR)
    assert np.abs(expected - frames.positions).max() > 5.0


@needs_mdtraj
def test_dcd_refuses_uneven_times(rng: np.random.Generator, tmp_path: Path) -> None:
    of = system(None)
    frames = frames_of(of, rng, 5)
    uneven = replace(frames, step=np.array([0, 20, 40, 70, 80]), time_fs=0.5 * np.array([0.0, 20, 40, 70, 80]))
    source = write(tmp_path / "run.h5", of, uneven)
    with pytest.raises(InputError, match=r"frame 3 is of 0.035 ps where even intervals would have 0.03 ps"):
        convert_trajectory(source, tmp_path / "run.dcd")
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]
    convert_trajectory(source, tmp_path / "run.xtc")
    assert [seen.time_ps for seen in mdanalysis(tmp_path / "run.xtc", len(of))][3] == pytest.approx(0.035)
    assert convert_trajectory(source, tmp_path / "run.dcd", stop_ps=0.02).frames == 3


@needs_mdtraj
def test_frames_pass_in_blocks(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = system(LOWER)
    source = write(tmp_path / "run.h5", of, frames_of(of, rng, 23))
    whole = {suffix: tmp_path / f"whole{suffix}" for suffix in (".dcd", ".xtc", ".extxyz")}
    for target in whole.values():
        convert_trajectory(source, target)
    monkeypatch.setattr("so3krates.io.trajectory.reading.BLOCK_BYTES", 24 * len(of) * 5)
    for suffix, target in whole.items():
        parts = tmp_path / f"parts{suffix}"
        convert_trajectory(source, parts)
        assert parts.read_bytes() == target.read_bytes(), suffix


def test_wrong_targets(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = system(None)
    source = write(tmp_path / "run.h5", of, frames_of(of, rng, 2))
    with pytest.raises(InputError, match=r"run.trr' must end in .extxyz, .xyz, .dcd or .xtc"):
        convert_trajectory(source, tmp_path / "run.trr")
    with pytest.raises(FileError, match="cannot be written: No such file"):
        convert_trajectory(source, tmp_path / "none" / "run.xyz")
    with pytest.raises(InputError, match="every is 0"):
        convert_trajectory(source, tmp_path / "run.xyz", every=0)
    monkeypatch.setattr("so3krates.io.trajectory.binary.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "so3krates\[formats\]"'):
        convert_trajectory(source, tmp_path / "run.dcd")
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Writing fails behind this many bytes, as on a full disk."""
    import resource
    import signal

    before, kept = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)


@needs_mdtraj
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of file size")
@pytest.mark.parametrize("suffix", [".extxyz", ".dcd", ".xtc"])
@pytest.mark.parametrize("size", [3_000, 20_000])
def test_a_full_disk_leaves_what_was_there(rng: np.random.Generator, tmp_path: Path, suffix: str, size: int) -> None:
    of = system(LOWER)
    source, target = write(tmp_path / "run.h5", of, frames_of(of, rng, 300)), tmp_path / f"run{suffix}"
    convert_trajectory(source, target, stop_ps=0.05)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with small_files(size), pytest.raises(FileError, match=f"run{suffix}"):
        convert_trajectory(source, target)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@needs_mdtraj
@pytest.mark.parametrize("suffix", [".dcd", ".xtc"])
def test_a_file_that_lost_its_end_is_not_kept(
    rng: np.random.Generator, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries may not notice that the last bytes did not reach the disk."""
    from so3krates.io.trajectory.binary import Binary

    of = system(LOWER)
    source = write(tmp_path / "run.h5", of, frames_of(of, rng, 9))
    close = Binary.close

    def losing(self: Any) -> None:
        close(self)
        (unfinished,) = tmp_path.glob(f".*{suffix}")
        os.truncate(unfinished, unfinished.stat().st_size - 10)

    monkeypatch.setattr(Binary, "close", losing)
    with pytest.raises(FileError, match="mdtraj wrote"):
        convert_trajectory(source, tmp_path / f"run{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_disk_errors_while_renaming_are_named(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = system(None)
    source = write(tmp_path / "run.h5", of, frames_of(of, rng, 2))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"run.xyz' cannot be written: No space left on device; what was there"):
        convert_trajectory(source, tmp_path / "run.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]
    assert len(Trajectory(source)) == 2
