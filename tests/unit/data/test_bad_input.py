"""Bad files: one clear sentence that names file, frame and key, of the package's own kind of error."""

from pathlib import Path

import ase
import ase.db
import ase.io
import h5py
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from molecules import trajectory

from so3krates._errors import FileError, InputError, So3kratesError
from so3krates.data.hdf5_reader import write_hdf5
from so3krates.data.readers import read_dataset

HEADER = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0"
ROWS = "O 0 0 0 1 1 1\nH 0 0 1 -1 -1 -1\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.extxyz"
    path.write_text(text)
    return path


def npz(tmp_path: Path, **changes: object) -> Path:
    content: dict[str, object] = {
        "numbers": np.array([8, 1]), "positions": np.ones((4, 2, 3)) * np.arange(2)[:, None],
        "energy": np.zeros(4), "forces": np.zeros((4, 2, 3)), **changes,
    }  # fmt: skip
    path = tmp_path / "data.npz"
    np.savez(path, **{name: value for name, value in content.items() if value is not None})  # type: ignore[arg-type]
    return path


def read_all(path: Path | str) -> None:
    for _ in read_dataset(path):
        pass


EXTXYZ = {
    "truncated in a frame": (f"2\n{HEADER}\n{ROWS}2\n{HEADER}\nO 0 0 0 1 1 1\n", "frame 1: .* 2 atoms but holds 1"),
    "truncated in a line": (f"2\n{HEADER}\n{ROWS}2\n{HEADER}\nO 0 0 0 1 1 1\nH 0 0", "frame 1: cannot be parsed"),
    "no atom count": (f"two\n{HEADER}\n{ROWS}", "frame 0: expected a number of atoms"),
    "text for a number": (f"2\n{HEADER}\n{ROWS.replace('-1', 'abc', 1)}", "frame 0: cannot be parsed"),
    "unknown element": (f"2\n{HEADER}\n{ROWS.replace('O ', 'Xy ')}", "frame 0: unknown element 'Xy'"),
    "dummy element": (f"2\n{HEADER}\n{ROWS.replace('O ', 'X ')}", "frame 0: atom 0 has atomic number 0"),
    "energy that is no number": (f"2\n{HEADER.replace('-1.0', 'none')}\n{ROWS}", "frame 0: 'energy' is 'none'"),
    "periodic without a cell": (f'2\n{HEADER} pbc="T T T"\n{ROWS}', "frame 0: pbc is .* cell"),
    "cell of zero volume": (f'2\n{HEADER} Lattice="1 0 0 2 0 0 0 0 3"\n{ROWS}', "frame 0: the cell .* zero volume"),
    "position NaN": (f"2\n{HEADER}\n{ROWS.replace('O 0', 'O nan')}", "frame 0: position of atom 0 is not finite"),
    "mixed units": (f"2\n{HEADER} energy_unit=eV\n{ROWS}2\n{HEADER}\n{ROWS}", "frame 1: mixed units"),
    "unknown unit": (f"2\n{HEADER} energy_unit=cal\n{ROWS}", "unknown energy unit 'cal'; known are eV"),
    "stress of a wrong shape": (
        f'2\n{HEADER} Lattice="3 0 0 0 3 0 0 0 3" REF_stress="1 2 3"\n{ROWS}', "frame 0: 'REF_stress' has shape"
    ),
    "stress not symmetric": (
        f'2\n{HEADER} Lattice="3 0 0 0 3 0 0 0 3" REF_stress="1 2 3 4 5 6 7 8 9"\n{ROWS}', "'REF_stress' is not sym"
    ),
    "forces of a wrong shape": (
        f"2\n{HEADER.replace('forces:R:3', 'REF_forces:R:2')}\n{ROWS}", r"frame 0: 'REF_forces' has shape \(2, 2\)"
    ),
    "empty file": ("", "the file is empty"),
    "only a line break": ("\n", "holds no frames"),
}  # fmt: skip


@pytest.mark.parametrize("case", EXTXYZ)
def test_bad_extxyz(tmp_path: Path, case: str) -> None:
    text, sentence = EXTXYZ[case]
    path = written(tmp_path, text)
    with pytest.raises(So3kratesError, match=sentence) as caught:
        read_all(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


NPZ = {
    "frames differ": ({"energy": np.zeros(3)}, r"'energy' has shape \(3,\), expected \(4,\) or \(4, 1\)"),
    "atoms differ": ({"numbers": np.array([8, 1, 1])}, r"'numbers' has shape \(3,\)"),
    "positions flat": ({"positions": np.zeros((4, 6))}, r"'positions' has shape \(4, 6\)"),
    "text for numbers": ({"forces": np.full((4, 2, 3), "a")}, "'forces' has type"),
    "unknown element": ({"numbers": np.array([8, 119])}, "frame 0: atom 1 has atomic number 119"),
    "periodic without a cell": ({"pbc": np.array([True, True, True])}, "frame 0: pbc is"),
    "zero volume": ({"pbc": np.array(True), "cell": np.ones((3, 3))}, "frame 0: the cell .* zero volume"),
    "split outside": ({"split_test": np.array([4])}, "'split_test' points outside the 4 frames"),
    "unknown layout": ({"positions": None}, "no known layout"),
    "no frames": ({"positions": np.zeros((0, 2, 3)), "energy": None, "forces": None}, "no frames"),
}  # fmt: skip


@pytest.mark.parametrize("case", NPZ)
def test_bad_npz(tmp_path: Path, case: str) -> None:
    changes, sentence = NPZ[case]
    path = npz(tmp_path, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=sentence) as caught:
        read_all(path)
    assert str(path) in str(caught.value)


def test_objects_in_npz_are_never_unpickled(tmp_path: Path) -> None:
    path = npz(tmp_path, energy=np.array([1.0, None, 2.0, 3.0], dtype=object))
    with pytest.raises(FileError, match="member 'energy' cannot be read"):
        read_all(path)


def truncated(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("suffix", [".npz", ".h5", ".traj", ".db"])
def test_truncated_binary_files(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"data{suffix}"
    samples = trajectory(200)
    if suffix == ".npz":
        path = npz(tmp_path)
    elif suffix == ".h5":
        write_hdf5(samples, path)
    else:
        atoms = [sample.system.to_ase() for sample in samples]
        for sample, structure in zip(samples, atoms, strict=True):
            structure.calc = SinglePointCalculator(structure, energy=sample.energy, forces=sample.forces)
        if suffix == ".traj":
            ase.io.write(path, atoms)
        else:
            with ase.db.connect(path) as database:
                for structure in atoms:
                    database.write(structure)
    with pytest.raises(FileError, match=str(path)):
        read_all(truncated(path, share))


def test_damaged_compressed_member(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(path, numbers=[8, 1], positions=rng.normal(size=(50, 2, 3)), energy=np.zeros(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(FileError, match="member 'positions'"):
        read_all(path)


def test_foreign_and_inconsistent_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = [1.0]
    with pytest.raises(FileError, match="this reader knows 'so3krates-dataset'"):
        read_dataset(path)
    write_hdf5(trajectory(3), path)
    with h5py.File(path, "r+") as file:
        del file["forces"]
        file["forces"] = np.zeros((7, 3))
    with pytest.raises(InputError, match=r"'forces' has shape \(7, 3\), expected \(15, 3\)"):
        read_dataset(path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.h5"
    write_hdf5(trajectory(2), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("so3krates.data.hdf5_reader._append", full)
    with pytest.raises(FileError, match="cannot be written .*No space left"):
        write_hdf5(trajectory(3), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_keys_make_no_sense_for_npz(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fixed layout"):
        read_dataset(npz(tmp_path), energy_key="E")
