"""Where `so3krates md` starts: fixed atoms, heavier hydrogens, boxes; and constant pressure, which needs one."""

from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms, FixBondLength, FixCartesian

from so3krates._errors import InputError
from so3krates.cli.app import main
from so3krates.io.trajectory import Trajectory
from so3krates.md import Snapshot

SHORT = ("--temperature-K", "100", "--time-ps", "0.01", "--save-every-fs", "1", "--min-distance", "0.01")


def run(files: Path, start: Path, *more: str) -> int:
    """Into run.h5 beside the start."""
    return main(["md", str(files / "model.safetensors"), str(start), "-o", str(start.parent / "run.h5"), *more])


def written(folder: Path, atoms: ase.Atoms, name: str = "start.extxyz") -> Path:
    ase.io.write(folder / name, atoms)
    return folder / name


def moved(trajectory: Path) -> list[int]:
    """The atoms that are elsewhere at the end."""
    frames = Trajectory(trajectory).read()
    return np.flatnonzero(np.any(frames.positions[0] != frames.positions[-1], axis=1)).tolist()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("old.h5", "is a trajectory, not a structure file; convert it first with `so3krates convert "),
        ("model.safetensors", "is a model file, not a structure; the model comes first: so3krates md MODEL START."),
        ("notes.txt", "cannot be read as a structure: its format is not known; give extended XYZ, "),
    ],
)
def test_a_start_that_is_no_structure_is_named_for_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    start = tmp_path / name
    start.write_text("nothing that is read\n", encoding="utf-8")
    assert run(tmp_path, start, *SHORT) == 1
    assert capsys.readouterr().err.startswith(f"error: '{start}' {words}")


def test_fixed_atoms_of_the_command_line_and_of_the_file_rest(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = ase.build.molecule("CH3OH")
    atoms.set_constraint(FixAtoms([5]))
    assert run(files, written(tmp_path, atoms), *SHORT, "--fixed", "0-1") == 0
    assert "3 atoms do not move: 0–1, 5" in capsys.readouterr().out
    assert moved(tmp_path / "run.h5") == [2, 3, 4]


def test_selective_dynamics_of_a_poscar_is_honoured(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = ase.build.molecule("CH3OH", vacuum=4.0, pbc=True)
    atoms.set_constraint(FixAtoms([1, 2, 3, 4, 5]))
    assert run(files, written(tmp_path, atoms, "POSCAR"), *SHORT) == 0
    assert "5 atoms do not move: 1–5" in capsys.readouterr().out
    assert moved(tmp_path / "run.h5") == [0]


def test_an_atom_held_along_all_axes_is_fixed_and_one_held_along_none_is_not() -> None:
    atoms = ase.build.molecule("CH3OH")
    atoms.set_constraint([FixCartesian(2, mask=(1, 1, 1)), FixCartesian(3, mask=(0, 0, 0))])
    assert Snapshot.from_ase(atoms).fixed == (2,)


def test_velocities_come_along_unless_they_are_not_wanted() -> None:
    atoms = ase.build.molecule("CH3OH")
    assert Snapshot.from_ase(atoms).velocities is None
    atoms.set_velocities(np.full((6, 3), 0.5))
    snapshot = Snapshot.from_ase(atoms)
    assert snapshot.velocities is not None
    np.testing.assert_allclose(snapshot.velocities, 0.5 * ase.units.fs, rtol=1e-12)
    assert Snapshot.from_ase(atoms, velocities=False).velocities is None


@pytest.mark.parametrize(
    ("constraint", "name"),
    [(FixCartesian(1, mask=(1, 0, 0)), "FixCartesian, which holds atoms along some"), (FixBondLength(0, 1), "FixBond")],
)
def test_other_constraints_are_refused_by_name(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], constraint: object, name: str
) -> None:
    atoms = ase.build.molecule("CH3OH")
    atoms.set_constraint(constraint)
    with pytest.raises(InputError, match=name):
        Snapshot.from_ase(atoms)
    start = written(tmp_path, atoms, "start.traj")
    assert run(files, start, *SHORT) == 1
    error = capsys.readouterr().err
    assert name in error and str(start) in error and "only atoms that do not move at all" in error


def test_fixed_atoms_that_do_not_exist_or_move_are_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = ase.build.molecule("CH3OH")
    atoms.set_velocities(np.full((6, 3), 0.01))
    start = written(tmp_path, atoms)
    assert run(files, start, *SHORT, "--fixed", "0,6") == 1
    error = capsys.readouterr().err
    assert "fixed atoms are numbered from 0 to 5; received 6." in error and str(start) in error
    assert run(files, start, "--ensemble", "nve", "--time-ps", "0.01", "--fixed", "0") == 1
    assert "atom 0 is fixed but has a velocity" in capsys.readouterr().err


def test_heavier_hydrogens(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = ase.build.molecule("CH3OH")
    start = written(tmp_path, atoms)
    assert run(files, start, *SHORT, "--hydrogen-mass-u", "3") == 0
    masses = Trajectory(tmp_path / "run.h5").system.masses
    light = atoms.get_masses()
    carbon, oxygen, hydrogen = light[0], light[1], light[2]
    np.testing.assert_allclose(masses[2:], 3.0)
    np.testing.assert_allclose(masses[:2], [carbon - 3 * (3 - hydrogen), oxygen - (3 - hydrogen)])
    capsys.readouterr()
    atoms.set_velocities(np.random.default_rng(0).normal(size=(6, 3)) * 0.01)
    nve = ("--ensemble", "nve", "--time-ps", "0.01", "--min-distance", "0.01", "--overwrite")
    assert run(files, written(tmp_path, atoms), *nve, "--hydrogen-mass-u", "3") == 1
    assert "velocities belong to other masses" in capsys.readouterr().err
    # As the end of a run with heavier hydrogens.
    atoms.set_masses(masses)
    assert run(files, written(tmp_path, atoms), *nve, "--hydrogen-mass-u", "3") == 0


def test_constant_pressure_on_the_command_line(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = written(tmp_path, ase.build.molecule("CH3OH", cell=(6, 6, 7), pbc=True))
    options = [*SHORT, "--ensemble", "npt-scr", "--pressure-GPa", "2", "--coupling", "anisotropic"]
    assert run(files, start, *options, "--barostat-time-fs", "100") == 0
    printed = capsys.readouterr().out
    assert "pressure" in printed and "volume" in printed and "density" in printed
    trajectory = Trajectory(tmp_path / "run.h5")
    cells = trajectory.read().cells
    assert cells is not None and np.ptp(cells[:, 0, 0]) > 0 and np.ptp(cells[:, 0, 0] / cells[:, 2, 2]) > 0
    assert trajectory.settings["ensemble"]["pressure_GPa"] == 2.0
    assert trajectory.settings["ensemble"]["coupling"] == "anisotropic"


@pytest.mark.parametrize("kind", ["npt-scr", "npt-mtk"])
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, "CH4O has no periodic cell; constant pressure needs three periodic axes"),
        (120.0, "a molecule in a cell that only stands for vacuum, and has no pressure"),
    ],
)
def test_constant_pressure_needs_a_box(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, cell: float | None, message: str
) -> None:
    box = {} if cell is None else {"cell": (cell, cell, cell), "pbc": True}
    atoms = ase.build.molecule("CH3OH", **box)
    for more in ((), ("--dry-run",)):
        assert run(files, written(tmp_path, atoms), *SHORT, "--ensemble", kind, *more) == 1
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["start.extxyz"]


def test_atoms_that_are_fixed_cannot_follow_a_cell(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = written(tmp_path, ase.build.molecule("CH3OH", cell=(6, 6, 7), pbc=True))
    assert run(files, start, *SHORT, "--ensemble", "npt-mtk", "--fixed", "0") == 1
    assert "fixed, so they cannot follow a cell that changes" in capsys.readouterr().err
