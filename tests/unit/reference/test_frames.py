"""Frames through files: every digit kept, labels of earlier work left behind, bad text refused."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates.reference.frames import bare, fingerprint, write_extxyz


def structure(rng: np.random.Generator) -> ase.Atoms:
    atoms = ase.Atoms("CHO", positions=rng.normal(size=(3, 3)), cell=rng.normal(size=(3, 3)) + 5 * np.eye(3), pbc=True)
    atoms.info = {"name": "a b", "count": 3, "flag": True, "value": 0.1 + 0.2, "vector": np.array([1.5, 1 / 3])}
    return atoms


def test_a_file_gives_back_the_same_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = [structure(rng), structure(rng)]
    forces = [rng.normal(size=(3, 3)) * 1e-7, rng.normal(size=(3, 3)) * 1e7]
    write_extxyz(tmp_path / "out.extxyz", frames, forces)
    for before, force, after in zip(frames, forces, ase.io.read(tmp_path / "out.extxyz", ":"), strict=True):
        np.testing.assert_array_equal(after.positions, before.positions)
        np.testing.assert_array_equal(after.arrays["REF_forces"], force)
        np.testing.assert_array_equal(np.asarray(after.cell), np.asarray(before.cell))
        assert after.get_chemical_symbols() == ["C", "H", "O"] and all(after.pbc)
        vector, expected = after.info.pop("vector"), before.info["vector"]
        np.testing.assert_array_equal(vector, expected)
        assert after.info == {"name": "a b", "count": 3, "flag": True, "value": 0.1 + 0.2}


@pytest.mark.parametrize("value", ['a "quoted" word', "two\nlines", {"a": 1}, None])
def test_what_extxyz_cannot_hold_is_refused(tmp_path: Path, rng: np.random.Generator, value: object) -> None:
    atoms = structure(rng)
    atoms.info["odd"] = value
    with pytest.raises(InputError, match=r"info\['odd'\]"):
        write_extxyz(tmp_path / "out.extxyz", [atoms])
    assert not list(tmp_path.iterdir())


def test_bare_leaves_structure_and_words_alone(rng: np.random.Generator) -> None:
    atoms = structure(rng)
    atoms.info["REF_energy"] = -3.0
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    atoms.set_momenta(np.ones((3, 3)))
    kept = bare(atoms)
    assert sorted(kept.arrays) == ["numbers", "positions"]
    assert "REF_energy" not in kept.info and kept.info["name"] == "a b"


@pytest.mark.parametrize("change", ["element", "position", "cell", "axis", "charge", "order"])
def test_the_fingerprint_notices_any_change(rng: np.random.Generator, change: str) -> None:
    frames = [structure(rng), structure(rng)]
    before = fingerprint(frames)
    assert fingerprint([atoms.copy() for atoms in frames]) == before
    last = frames[1]
    match change:
        case "element":
            last.numbers[0] = 7
        case "position":
            last.positions[2, 2] = np.nextafter(last.positions[2, 2], np.inf)
        case "cell":
            last.cell[0, 0] += 1e-9
        case "axis":
            last.pbc = (True, True, False)
        case "charge":
            last.info["charge"] = 1
        case "order":
            frames.reverse()
    assert fingerprint(frames) != before
