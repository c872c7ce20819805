"""Readers against files written by ASE and NumPy, label by label."""

import tracemalloc
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from molecules import trajectory

from so3krates import units
from so3krates._errors import FileError, InputError
from so3krates.data.doctor import examine
from so3krates.data.frames import Joined
from so3krates.data.hdf5_reader import write_hdf5
from so3krates.data.readers import read_dataset, split_path
from so3krates.data.sample import Sample
from so3krates.system import System

STRESS = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]]) * 1e-2
CELL = np.array([[4.0, 0.0, 0.0], [0.5, 5.0, 0.0], [0.0, 0.3, 6.0]])


def crystal(**info: object) -> ase.Atoms:
    atoms = ase.Atoms("SiC", positions=[[0, 0, 0], [1.1, 1.2, 1.3]], cell=CELL, pbc=True)
    atoms.info.update(info)
    return atoms


def with_results(atoms: ase.Atoms, **results: object) -> ase.Atoms:
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def frames(count: int = 4) -> list[ase.Atoms]:
    """Crystals and molecules of different sizes with single-point results."""
    rng = np.random.default_rng(1)
    found = []
    for index in range(count):
        atoms = crystal() if index % 2 else ase.Atoms("OH2", positions=rng.normal(size=(3, 3)))
        stress = {"stress": STRESS[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]} if index % 2 else {}
        found.append(with_results(atoms, energy=-10.0 - index, forces=rng.normal(size=(len(atoms), 3)), **stress))
    return found


def assert_same(dataset: object, expected: list[ase.Atoms], tolerance: float = 1e-7) -> None:
    assert len(dataset) == len(expected)  # type: ignore[arg-type]
    for sample, atoms in zip(dataset, expected, strict=True):  # type: ignore[call-overload]
        np.testing.assert_allclose(sample.system.positions, atoms.positions, atol=tolerance)
        np.testing.assert_array_equal(sample.system.numbers, atoms.numbers)
        assert sample.energy == pytest.approx(atoms.get_potential_energy(), abs=tolerance)
        np.testing.assert_allclose(sample.forces, atoms.get_forces(), atol=tolerance)
        if atoms.pbc.any():
            np.testing.assert_allclose(sample.system.cell, atoms.cell[:], atol=tolerance)
            np.testing.assert_allclose(sample.stress, STRESS, atol=tolerance)
        else:
            assert sample.system.cell is None and sample.stress is None


@pytest.mark.parametrize("name", ["data.extxyz", "data.xyz", "data.traj"])
def test_single_point_results_of_ase_files(tmp_path: Path, name: str) -> None:
    ase.io.write(tmp_path / name, frames(), format="extxyz" if "xyz" in name else None)
    dataset = read_dataset(tmp_path / name)
    assert_same(dataset, frames())
    assert dict(dataset.about.label_keys) == {"energy": "energy", "forces": "forces", "stress": "stress"}
    assert dataset[-1].origin == f"{tmp_path / name}, frame 3"


def test_database_rows_in_order(tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "data.db") as database:
        for atoms in frames():
            database.write(atoms)
    assert_same(read_dataset(tmp_path / "data.db"), frames())


def test_database_in_the_manner_of_schnetpack(tmp_path: Path) -> None:
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 1.5]])
    with ase.db.connect(tmp_path / "data.db") as database:
        database.metadata = {
            "_property_unit_dict": {"energy": "kcal/mol", "forces": "kcal/mol/Ang"},
            "_distance_unit": "Bohr",
        }
        database.write(atoms, data={"energy": np.array([2.0]), "forces": np.ones((2, 3))})
    sample = read_dataset(tmp_path / "data.db")[0]
    assert sample.energy == pytest.approx(2 * units.KCAL_PER_MOL)
    np.testing.assert_allclose(sample.forces, units.KCAL_PER_MOL)
    np.testing.assert_allclose(sample.system.positions[1, 2], 1.5 * units.BOHR)


def test_reference_keys_go_before_single_point_results(tmp_path: Path) -> None:
    atoms = with_results(crystal(REF_energy=-5.0), energy=99.0, forces=np.full((2, 3), 99.0))
    atoms.arrays["REF_forces"] = np.ones((2, 3))
    ase.io.write(tmp_path / "data.extxyz", [atoms, with_results(crystal(), energy=1.0)])
    dataset = read_dataset(tmp_path / "data.extxyz")
    assert dict(dataset.about.label_keys) == {"energy": "REF_energy", "forces": "REF_forces"}
    assert dataset[0].energy == -5.0
    np.testing.assert_array_equal(dataset[0].forces, 1.0)
    assert dataset[1].energy is None, "one key serves the whole file: energies of two origins must not be mixed"
    assert "'energy' in the file is not used" in dataset.about.notes[0]


def test_the_energy_that_forces_are_derivatives_of_goes_first(tmp_path: Path) -> None:
    """With smeared occupations ASE's `energy` is extrapolated; files without `free_energy` have but one."""
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, free_energy=-1.25, forces=np.zeros((2, 3)))
    ase.io.write(tmp_path / "metal.extxyz", [atoms])
    assert read_dataset(tmp_path / "metal.extxyz")[0].energy == -1.25
    assert read_dataset(tmp_path / "metal.extxyz", energy_key="energy")[0].energy == -1.0


def test_named_keys(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "data.extxyz", [crystal(dft=-3.0, REF_energy=1.0)])
    assert read_dataset(tmp_path / "data.extxyz", energy_key="dft")[0].energy == -3.0
    with pytest.raises(InputError, match="no frame has the key 'nope' asked for as energy"):
        read_dataset(tmp_path / "data.extxyz", energy_key="nope")


@pytest.mark.parametrize("shape", ["voigt", "nine", "matrix"])
def test_virials_become_stress_with_the_right_sign(tmp_path: Path, shape: str) -> None:
    volume = abs(np.linalg.det(CELL))
    virials = -STRESS * volume
    value = {"voigt": virials[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], "nine": virials.ravel(), "matrix": virials}
    ase.io.write(tmp_path / "data.extxyz", [crystal(REF_virials=value[shape], REF_energy=0.0)])
    np.testing.assert_allclose(read_dataset(tmp_path / "data.extxyz")[0].stress, STRESS, atol=1e-9)


def test_stress_and_virials_must_agree(tmp_path: Path) -> None:
    volume = abs(np.linalg.det(CELL))
    ase.io.write(tmp_path / "good.extxyz", [crystal(REF_stress=STRESS, REF_virials=-STRESS * volume)])
    np.testing.assert_allclose(read_dataset(tmp_path / "good.extxyz")[0].stress, STRESS, atol=1e-9)
    ase.io.write(tmp_path / "bad.extxyz", [crystal(REF_stress=STRESS, REF_virials=STRESS * volume)])
    with pytest.raises(InputError, match=r"frame 0: stress and virials contradict each other"):
        read_dataset(tmp_path / "bad.extxyz")[0]


@pytest.mark.parametrize(("unit", "factor"), [("GPa", units.GPA), ("kbar", units.KBAR), ("vasp-kbar", -units.KBAR)])
def test_declared_units_are_converted_once(tmp_path: Path, unit: str, factor: float) -> None:
    atoms = with_results(crystal(), energy=2.0, forces=np.ones((2, 3)), stress=np.arange(1.0, 7.0))
    ase.io.write(tmp_path / "data.extxyz", [atoms])
    sample = read_dataset(tmp_path / "data.extxyz", energy_unit="Hartree", length_unit="Bohr", stress_unit=unit)[0]
    assert sample.energy == pytest.approx(2 * units.HARTREE)
    np.testing.assert_allclose(sample.forces, units.HARTREE / units.BOHR)
    np.testing.assert_allclose(sample.system.cell, CELL * units.BOHR)
    assert sample.stress is not None and sample.stress[0, 0] == pytest.approx(factor)
    assert sample.stress[1, 2] == pytest.approx(4 * factor)


def md17(**more: object) -> dict[str, object]:
    rng = np.random.default_rng(3)
    return {
        "R": rng.normal(size=(5, 3, 3)), "z": np.array([8, 1, 1]),
        "E": rng.normal(size=(5, 1)), "F": rng.normal(size=(5, 3, 3)), **more,
    }  # fmt: skip


def test_md17_without_units_is_refused_with_the_option_to_give(tmp_path: Path) -> None:
    np.savez(tmp_path / "md17.npz", **md17())
    with pytest.raises(InputError, match=r"--energy-unit kcal/mol"):
        read_dataset(tmp_path / "md17.npz")
    sample = read_dataset(tmp_path / "md17.npz", energy_unit="kcal/mol", length_unit="Angstrom")[2]
    assert sample.energy == pytest.approx(float(md17()["E"][2, 0]) * units.KCAL_PER_MOL)  # type: ignore[index]
    np.testing.assert_allclose(sample.forces, md17()["F"][2] * units.KCAL_PER_MOL)  # type: ignore[index]


def test_sgdml_states_its_units_and_its_lattice(tmp_path: Path) -> None:
    content = md17(r_unit=np.array("Ang"), e_unit=np.array("kcal/mol"), lattice=CELL.T)
    np.savez_compressed(tmp_path / "sgdml.npz", **content)
    dataset = read_dataset(tmp_path / "sgdml.npz")
    assert dataset[0].energy == pytest.approx(float(content["E"][0, 0]) * units.KCAL_PER_MOL)  # type: ignore[index]
    np.testing.assert_array_equal(dataset[0].system.cell, CELL)
    assert dataset.about.units.startswith("kcal/mol, Ang")
    with pytest.raises(InputError, match=r"mixed units, the file states energy unit 'kcal/mol' but 'eV'"):
        read_dataset(tmp_path / "sgdml.npz", energy_unit="eV")


def test_rmd17_is_in_kcal_per_mol(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    coords, energies, forces = rng.normal(size=(6, 2, 3)), rng.normal(size=6), rng.normal(size=(6, 2, 3))
    np.savez(tmp_path / "rmd17.npz", nuclear_charges=[6, 8], coords=coords, energies=energies, forces=forces)
    dataset = read_dataset(tmp_path / "rmd17.npz")
    assert len(dataset) == 6
    np.testing.assert_allclose(dataset[5].forces, forces[5] * units.KCAL_PER_MOL)


def own_npz(path: Path, **more: object) -> None:
    rng = np.random.default_rng(5)
    content = {
        "numbers": np.array([14, 6]), "positions": rng.normal(size=(6, 2, 3)), "energy": np.arange(6.0),
        "forces": rng.normal(size=(6, 2, 3)), "pbc": np.array([True] * 3), "cell": CELL,
        "stress": np.tile(STRESS, (6, 1, 1)), "split_train": np.array([4, 0, 2]), **more,
    }  # fmt: skip
    np.savez(path, **content)  # type: ignore[arg-type]


def test_named_subsets_and_slices(tmp_path: Path) -> None:
    own_npz(tmp_path / "own.npz")
    assert [s.energy for s in read_dataset(f"{tmp_path}/own.npz@train")] == [4.0, 0.0, 2.0]
    assert [s.energy for s in read_dataset(tmp_path / "own.npz", split="1:5:2")] == [1.0, 3.0]
    np.testing.assert_allclose(read_dataset(tmp_path / "own.npz")[1].stress, STRESS)
    with pytest.raises(InputError, match=r"no subset 'test'; the file has train"):
        read_dataset(f"{tmp_path}/own.npz@test")
    with pytest.raises(InputError, match="is empty"):
        read_dataset(f"{tmp_path}/own.npz@3:3")


def test_a_slice_beyond_the_end_leaves_a_note(tmp_path: Path) -> None:
    own_npz(tmp_path / "own.npz")
    dataset = read_dataset(tmp_path / "own.npz")
    clipped = dataset.subset("2:10000")
    assert len(clipped) == 4
    (note,) = clipped.about.notes
    assert note.endswith("own.npz: the slice '2:10000' reaches beyond the 6 frames; it holds 4 of them.")
    assert dataset.subset("-7:").about.notes and clipped.subset("0:5").about.notes[1:]
    assert Joined([clipped, dataset]).about.notes == (note,)
    assert not any(dataset.subset(inside).about.notes for inside in ("0:6", "-6:", ":", "::-1", "5:2:-1"))
    assert [f.message for f in examine(clipped).of("file")] == [note]
    with pytest.raises(InputError, match="'6:9' is empty; there are 6 frames"):
        dataset.subset("6:9")


def test_subsets_of_extxyz_come_from_the_comment_lines(tmp_path: Path) -> None:
    marked = [crystal(split="test" if index == 1 else "train", REF_energy=float(index)) for index in range(3)]
    ase.io.write(tmp_path / "data.extxyz", marked)
    assert [s.energy for s in read_dataset(f"{tmp_path}/data.extxyz@train")] == [0.0, 2.0]


def test_an_existing_file_with_an_at_sign_is_taken_whole(tmp_path: Path) -> None:
    (tmp_path / "a@b.npz").touch()
    assert split_path(tmp_path / "a@b.npz") == (tmp_path / "a@b.npz", "")
    assert split_path("a.npz@b") == (Path("a.npz"), "b")


def test_official_fold_of_rmd17(shared_dir: Path) -> None:
    path = shared_dir / "data" / "rmd17_ethanol.npz"
    with np.load(path, allow_pickle=False) as raw:
        chosen = raw["split_train_01"]
        expected = raw["energy"][chosen], raw["forces"][chosen]
    fold = read_dataset(f"{path}@train_01")
    assert len(fold) == 1000
    np.testing.assert_array_equal([s.energy for s in fold], expected[0])
    np.testing.assert_array_equal(np.stack([s.forces for s in fold]), expected[1])


def test_charge_spin_group_and_isolated_atoms(tmp_path: Path) -> None:
    ion = ase.Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]], info={"total_charge": -1, "total_spin": 3, "group": "g"})
    atom = ase.Atoms("O", info={"config_type": "IsolatedAtom", "REF_energy": -2.0})
    ase.io.write(tmp_path / "data.extxyz", [ion, atom])
    first, second = read_dataset(tmp_path / "data.extxyz")
    assert (first.system.charge, first.system.unpaired, first.group, first.isolated_atom) == (-1.0, 2.0, "g", False)
    assert second.isolated_atom and second.energy == -2.0


def test_nan_labels_are_missing_labels(tmp_path: Path) -> None:
    atoms = with_results(crystal(), energy=np.nan, forces=np.full((2, 3), np.nan), stress=np.full(6, np.nan))
    ase.io.write(tmp_path / "data.extxyz", [atoms])
    sample = read_dataset(tmp_path / "data.extxyz")[0]
    assert (sample.energy, sample.forces, sample.stress) == (None, None, None)
    assert sample.nan_labels == ("energy", "forces", "stress")


def test_hdf5_keeps_everything(tmp_path: Path) -> None:
    system = System(positions=np.eye(3), numbers=np.array([8, 1, 1]), charge=1.0, unpaired=1.0)
    odd = Sample(system, energy=None, forces=np.ones((3, 3)), group="walk")
    atom = Sample(System(positions=np.zeros((1, 3)), numbers=np.array([8])), energy=-1.0, isolated_atom=True)
    ase.io.write(tmp_path / "data.extxyz", frames(5))
    dataset = Joined([read_dataset(tmp_path / "data.extxyz"), [odd, atom]])
    write_hdf5(dataset, tmp_path / "data.h5", subsets={"train": np.array([5, 1])})
    back = read_dataset(tmp_path / "data.h5")
    assert_same(back[:5], frames(5))
    assert back[5].energy is None and back[5].group == "walk" and back[6].forces is None and back[6].isolated_atom
    assert (back[5].system.charge, back[5].system.unpaired) == (1.0, 1.0)
    assert read_dataset(f"{tmp_path}/data.h5@train")[0].energy is None
    assert not list(tmp_path.glob(".*partial"))


def test_hdf5_without_labels_has_no_such_arrays(tmp_path: Path) -> None:
    write_hdf5([Sample(System(positions=np.zeros((1, 3)), numbers=np.array([8])), energy=1.0)], tmp_path / "data.h5")
    assert dict(read_dataset(tmp_path / "data.h5").about.label_keys) == {"energy": "energy"}


@pytest.mark.parametrize("name", ["big.extxyz", "big.npz", "big.h5"])
def test_large_files_are_not_loaded_whole(tmp_path: Path, name: str) -> None:
    """40 MB and more on disk; opening and reading one frame must take a small part of that in memory."""
    path, count, atoms = tmp_path / name, 2000, 300
    positions = np.random.default_rng(0).normal(size=(atoms, 3))
    system = System(positions=positions, numbers=np.full(atoms, 18))
    sample = Sample(system, energy=1.0, forces=positions)
    if name.endswith("npz"):
        block = np.broadcast_to(positions, (count, atoms, 3))
        np.savez(path, numbers=system.numbers, positions=block, forces=block, energy=np.zeros(count))
    elif name.endswith("h5"):
        write_hdf5([sample] * count, path)
    else:
        rows = "".join(f"Ar {x:.8f} {y:.8f} {z:.8f} {x:.8f} {y:.8f} {z:.8f}\n" for x, y, z in positions)
        frame = f"{atoms}\nProperties=species:S:1:pos:R:3:forces:R:3 energy=1.0\n{rows}"
        with path.open("w") as file:
            file.writelines(frame for _ in range(count))
    tracemalloc.start()
    read = read_dataset(path)
    np.testing.assert_allclose(read[count // 2].forces, positions, atol=1e-7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 20e6
    assert peak < 0.1 * path.stat().st_size


def test_frames_are_read_when_asked_for(tmp_path: Path) -> None:
    """A damaged frame in the middle harms nobody who does not read it."""
    path = tmp_path / "data.extxyz"
    ase.io.write(path, frames(4))
    path.write_text(path.read_text().replace("Si ", "Qq ", 1))
    dataset = read_dataset(path)
    assert dataset[0].energy == -10.0
    with pytest.raises(InputError, match=r"frame 1: unknown element 'Qq'"):
        dataset[1]


def test_joined_frames_and_index_errors() -> None:
    parts = [trajectory(3), trajectory(2, seed=1)]
    joined = Joined(parts)
    assert [joined[i].energy for i in range(5)] == [s.energy for part in parts for s in part]
    assert joined[-1].energy == parts[1][1].energy
    with pytest.raises(IndexError, match="frame 5"):
        joined[5]


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_dataset(tmp_path / "none.extxyz")
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(FileError, match=r"unknown extension '\.csv'; known are \.xyz"):
        read_dataset(tmp_path / "data.csv")
    with pytest.raises(FileError, match="is a directory"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["data.extxyz", "data.traj", "data.h5", "data.npz"])
def test_dipoles_and_hirshfeld_ratios(tmp_path: Path, name: str) -> None:
    """In every format; a frame without them has none."""
    rng = np.random.default_rng(4)
    positions = rng.normal(size=(3, 3, 3))
    dipoles, ratios = rng.normal(size=(3, 3)), rng.uniform(0.5, 1.0, size=(3, 3))
    dipoles[1], ratios[1] = np.nan, np.nan
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, numbers=[8, 1, 1], positions=positions, energy=np.zeros(3), forces=0 * positions,
                 dipole=dipoles, hirshfeld_ratios=ratios)  # fmt: skip
    else:
        images = [ase.Atoms("OH2", positions=p) for p in positions]
        for n in (0, 2):
            images[n].info["REF_dipole"] = dipoles[n]
            # ASE's trajectories keep no arrays of one's own, but `info`.
            keep = images[n].info if name.endswith("traj") else images[n].arrays
            keep["REF_hirshfeld_ratios"] = ratios[n]
        for atoms in images:
            atoms.info["REF_energy"] = 0.0
        source = tmp_path / ("source.extxyz" if name.endswith("h5") else name)
        ase.io.write(source, images)
        if name.endswith("h5"):
            write_hdf5(read_dataset(source), path)
    dataset = read_dataset(path)
    assert {"dipole", "hirshfeld_ratios"} <= dataset.about.label_keys.keys()
    for n, sample in enumerate(dataset):
        if n == 1:
            assert sample.dipole is None and sample.hirshfeld_ratios is None
            continue
        np.testing.assert_allclose(sample.dipole, dipoles[n], atol=1e-7)
        np.testing.assert_allclose(sample.hirshfeld_ratios, ratios[n], atol=1e-7)


@pytest.mark.parametrize(("unit", "factor"), [("Debye", units.DEBYE), ("e*Bohr", units.BOHR), (None, 1.0)])
def test_dipoles_are_converted_once(tmp_path: Path, unit: str | None, factor: float) -> None:
    atoms = ase.Atoms("OH2", positions=np.eye(3), info={"mu": np.array([1.0, -2.0, 3.0]), "REF_energy": 0.0})
    ase.io.write(tmp_path / "data.extxyz", atoms)
    (sample,) = read_dataset(tmp_path / "data.extxyz", dipole_key="mu", dipole_unit=unit)
    np.testing.assert_allclose(sample.dipole, factor * np.array([1.0, -2.0, 3.0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("REF_dipole", np.ones(2), r"'REF_dipole' has shape \(2,\), expected \(3,\)"),
        ("REF_hirshfeld_ratios", np.array([1.0, -0.1, 1.0]), "is -0.1 for atom 1; Hirshfeld ratios are positive"),
    ],
)
def test_dipoles_and_ratios_that_cannot_be(tmp_path: Path, key: str, value: np.ndarray, message: str) -> None:
    atoms = ase.Atoms("OH2", positions=np.eye(3), info={"REF_energy": 0.0})
    (atoms.info if "dipole" in key else atoms.arrays)[key] = value
    ase.io.write(tmp_path / "data.extxyz", atoms)
    with pytest.raises(InputError, match=f"frame 0: .*{message}"):
        list(read_dataset(tmp_path / "data.extxyz"))


def test_unknown_dipole_unit_is_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "data.extxyz", ase.Atoms("H", info={"REF_energy": 0.0}))
    with pytest.raises(InputError, match="unknown dipole unit 'esu'; known are Debye"):
        read_dataset(tmp_path / "data.extxyz", dipole_unit="esu")
