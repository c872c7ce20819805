"""The model file: exact round trip, every damage detected, every misfit named."""

import errno
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase.build
import equinox as eqx
import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from so3krates._errors import FileError, InputError
from so3krates.io.container import Contents, decode, encode
from so3krates.io.model_file import inspect, load, save, to_bytes
from so3krates.io.parameters import named_parameters
from so3krates.io.upgrade import upgraded
from so3krates.model import ModelConfig, SO3krates
from so3krates.physics.lennard_jones import LennardJones
from so3krates.physics.zbl import ZBL
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System

SMALL = ModelConfig(
    features=12,
    layers=2,
    heads=2,
    degrees=(1, 3),
    radial_functions=5,
    attention_scale="mean_neighbors",
    mean_neighbors=7.123456789012345,
    attention_norm=True,
    exchange_norm=True,
    residual_mlp=True,
    charge_embedding=True,
    spin_embedding=True,
)
OLD_FILE = Path(__file__).parent / "files" / "model_v1.safetensors"
OLD_ENERGY = -3121.319718628174
"""eV, of methanol, when the file was written."""
OLD_FORCE = 0.37884840544387466


def potential(dtype: str = "float32") -> Potential:
    table = ElementTable(numbers=(1, 6, 8), energies=(-13.6, -1027.123456789, -2041.1))
    network = SO3krates(SMALL, key=jax.random.key(3), dtype=dtype)
    return Potential(network, table, json.dumps({"data": "é", "sha256": "0"}))


def molecule(charge: float = 0.0) -> System:
    atoms = ase.build.molecule("CH3OH")
    return System(atoms.positions, atoms.numbers, charge=charge, unpaired=charge)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save(potential(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_read_is_what_was_written(tmp_path: Path, dtype: str) -> None:
    original = potential(dtype)
    save(original, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors", dtype=dtype, exact=True)
    assert (again.elements, again.provenance) == (original.elements, original.provenance)
    assert again.model.config == SMALL
    before, after = named_parameters(original.model), named_parameters(again.model)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)
    assert jax.tree.structure(again) == jax.tree.structure(original)
    assert original.energy(molecule(1.0)) == again.energy(molecule(1.0))


def test_precision_is_chosen_on_reading(file: Path) -> None:
    assert load(file).dtype == np.float32
    assert load(file, dtype="float64").dtype == np.float64
    assert load(file, dtype="float64").energy(molecule()) == potential().astype("float64").energy(molecule())
    with pytest.raises(InputError, match="float16"):
        load(file, dtype="float16")


def test_names_are_readable_by_any_safetensors_reader(file: Path) -> None:
    arrays = safetensors.numpy.load_file(file)
    assert arrays["layers.0.attention.query_f"].shape == (2, 6, 6)
    assert {"embedding.table", "energy.scale", "layers.1.attention_norm.weight"} <= arrays.keys()
    with safetensors.safe_open(file, "numpy") as opened:
        header = json.loads(opened.metadata()["so3krates"])
    assert header["terms"][0]["kind"] == "so3krates"
    assert header["terms"][0]["config"]["mean_neighbors"] == 7.123456789012345
    assert header["units"] == {"energy": "eV", "length": "Angstrom"}


def test_the_same_potential_gives_the_same_bytes() -> None:
    assert to_bytes(potential()) == to_bytes(potential())


def test_inspect_counts(file: Path) -> None:
    info = inspect(file)
    leaves = jax.tree.leaves(eqx.filter(potential().model, eqx.is_array))
    assert info.parameters == sum(leaf.size for leaf in leaves)
    assert (info.dtype, info.size) == ("float32", file.stat().st_size)
    assert len(info.sha256) == 64


def test_any_changed_byte_is_detected(file: Path, rng: np.random.Generator) -> None:
    data = file.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    places = [*range(12), header - 1, header, len(data) - 1]
    places += [*rng.integers(8, header, 150), *rng.integers(header, len(data), 100)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        with pytest.raises(FileError, match=r"damaged|truncated|not a so3krates|holds no so3krates"):
            decode(bytes(changed), "model")


@pytest.mark.parametrize("place", range(8))
def test_an_impossible_length_of_the_header_is_named(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 0x80
    with pytest.raises(FileError, match=r"damaged|truncated|not a so3krates"):
        decode(bytes(data), "model")
    with pytest.raises(FileError, match="not a so3krates"):
        decode(b"\xff" * 100, "model")


def test_changed_padding_is_detected(file: Path) -> None:
    """White space that JSON ignores is a changed byte all the same."""
    data = encode({"format_version": 1, "pad": "x"}, {"a": np.zeros(1)})
    spaces = [n for n in range(8, len(data)) if data[n : n + 1] == b" " and data[n - 1 : n] in (b"}", b" ")]
    assert spaces
    for place in spaces:
        with pytest.raises(FileError, match="damaged"):
            decode(data[:place] + b"\t" + data[place + 1 :], "model")


def test_changed_byte_through_load(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(FileError, match=r"model\.safetensors' is damaged: its checksum"):
        load(file)


@pytest.mark.parametrize("keep", [0, 5, 8, 60, 2000, -1])
def test_truncated(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FileError, match="truncated|empty|not a so3krates model file"):
        load(file)


def test_appended_bytes_are_detected(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(FileError, match="damaged"):
        load(file)


def test_other_kinds_of_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(FileError, match="cannot be read: No such file"):
        load(path)
    with pytest.raises(FileError, match="Is a directory"):
        load(tmp_path)
    path.write_text("just some text that is longer than eight bytes")
    with pytest.raises(FileError, match="not a so3krates model file"):
        load(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(FileError, match="holds no so3krates model"):
        load(path)


def rewritten(file: Path, change: Callable[[dict, dict], None]) -> None:
    """A file that is whole, with other content."""
    contents = decode(file.read_bytes(), "model")
    arrays = {name: np.array(values) for name, values in contents.arrays.items()}
    change(contents.header, arrays)
    file.write_bytes(encode(contents.header, arrays))


def test_misfits_are_named(file: Path) -> None:
    whole = file.read_bytes()
    cases: list[tuple[Callable[[dict, dict], object], str]] = [
        (lambda h, a: a.pop("energy.scale"), r"lacks 'energy\.scale'"),
        (lambda h, a: a.update(extra=np.zeros(2)), r"has besides 'extra'"),
        (lambda h, a: a.update({"energy.shift": np.zeros(3)}), r"'energy\.shift' has shape \(3,\); expected \(119,\)"),
        (lambda h, a: a.update({"energy.shift": np.zeros(119, np.int64)}), r"'energy\.shift' is I64"),
        (lambda h, a: h.update(format_version=99), r"format version 99 .* reads up to 1; upgrade"),
        (lambda h, a: h.update(format_version=0), r"format version 0, for which there is no upgrade"),
        (lambda h, a: h.update(format_version="1"), r"format version '1'; expected a whole number"),
        (lambda h, a: h.update(colour="red"), r"unknown key 'colour'"),
        (lambda h, a: h["terms"][0]["config"].update(gamma=1), r"unknown key 'terms\.0\.config\.gamma'"),
        (lambda h, a: h["terms"][0]["config"].update(features=13), r"not divisible"),
        (lambda h, a: h["terms"][0].update(kind="zbl"), r"terms\.0\.cutoff"),
        (lambda h, a: h["terms"][0].update(kind="magic"), r"terms\.0"),
        (lambda h, a: h.update(terms=[]), r"terms"),
        (lambda h, a: h["units"].update(energy="kcal/mol"), r"units\.energy"),
        (lambda h, a: h.update(provenance="{"), r"provenance"),
    ]
    for change, sentence in cases:
        file.write_bytes(whole)
        rewritten(file, change)  # type: ignore[arg-type]
        with pytest.raises(FileError, match=sentence):
            load(file)


def test_models_that_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match="LennardJones has no file format"):
        save(Potential(LennardJones(0.01, 3.4, 8.0)), path)
    broken = potential()
    model = eqx.tree_at(lambda m: m.energy.shift, broken.model, jax.numpy.full(119, np.nan, "float32"))
    broken = replace(broken, model=model)
    with pytest.raises(InputError, match=r"'energy\.shift' holds values that are not finite"):
        save(broken, path)
    with pytest.raises(InputError, match="provenance"):
        save(Potential(potential().model, None, "made by hand"), path)
    assert list(tmp_path.iterdir()) == []


def test_disk_full_keeps_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"cannot be written: the disk is full"):
        save(potential("float64"), file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="folder '.*nowhere' does not exist"):
        save(potential(), tmp_path / "nowhere" / "m.safetensors")


def test_upgrades_run_in_order() -> None:
    def step(name: str) -> Callable[[Contents], Contents]:
        return lambda c: c._replace(header={**c.header, "steps": [*c.header["steps"], name]})

    old = Contents({"format_version": 1, "steps": []}, {}, "")
    new = upgraded(old, "m", {1: step("one"), 2: step("two")}, target=3)
    assert new.header == {"format_version": 3, "steps": ["one", "two"]}


def test_file_of_version_1_gives_its_energies() -> None:
    """The file was written when format 1 was new and is never written again."""
    old = load(OLD_FILE, dtype="float64")
    energy, forces = old.energy_and_forces(molecule())
    assert energy == pytest.approx(OLD_ENERGY, abs=1e-9)
    assert np.abs(forces).max() == pytest.approx(OLD_FORCE, abs=1e-9)
    assert json.loads(old.provenance) == {"made_by": "a test"}


def test_tables_and_exact_filters(tmp_path: Path) -> None:
    """Single precision takes tables unless told otherwise, double precision none unless a tolerance is given."""
    saved = tmp_path / "m.safetensors"
    save(potential(), saved)
    assert load(saved).tolerance == 1e-4 and load(saved, exact=True).tolerance is None
    assert load(saved, "float64").tolerance is None and load(saved, "float64", exact=False).tolerance == 1e-4
    assert load(saved, "float64", tolerance=1e-6).tolerance == 1e-6
    with pytest.raises(InputError, match="give one of them"):
        load(saved, exact=True, tolerance=1e-4)
    with pytest.raises(InputError, match="must be positive"):
        load(saved, tolerance=0.0)
    save(Potential(ZBL(5.0, "cosine")), tmp_path / "zbl.safetensors")
    with pytest.raises(InputError, match="no network"):
        load(tmp_path / "zbl.safetensors", tolerance=1e-4)
