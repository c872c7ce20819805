"""Frames on their way through files: reading, a fingerprint, and an extxyz writer that keeps every digit."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np

from so3krates._errors import FileError, InputError
from so3krates._typing import Float
from so3krates.io.atomic import write_atomically
from so3krates.system import CHARGE_KEYS, MULTIPLICITY_KEYS

ELECTRON_KEYS = (*CHARGE_KEYS, *MULTIPLICITY_KEYS)
RESULT_KEYS = frozenset({"REF_energy", "REF_forces", "REF_stress", "energy", "free_energy", "forces", "stress"})
"""Entries of `info` that speak of an earlier calculation."""


def read_frames(path: Path) -> list[ase.Atoms]:
    """All frames of a file ASE can read, with their `info` and without old results.

    Raises:
        FileError: the file is missing, cannot be read or holds no frame.
    """
    if not path.exists():
        raise FileError(f"{path}: no such file.")
    try:
        frames: Any = ase.io.read(path, index=":")
    except Exception as error:  # the readers of ASE raise whatever the broken text leads them to
        raise FileError(f"{path}: ASE cannot read it ({type(error).__name__}: {error}).") from error
    if not frames:
        raise FileError(f"{path} holds no frame.")
    return [bare(frame) for frame in frames]


def bare(atoms: ase.Atoms) -> ase.Atoms:
    """A copy with structure, isotopes and `info` alone: no calculator, momenta, constraints or labels."""
    masses = atoms.get_masses() if atoms.has("masses") else None
    copy = ase.Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc, masses=masses)
    copy.info = {key: value for key, value in atoms.info.items() if key not in RESULT_KEYS}
    return copy


def fingerprint(frames: Sequence[ase.Atoms]) -> str:
    """SHA-256 over elements, isotopes, positions, cells, periodicity, charge and spin of all frames, in order."""
    digest = hashlib.sha256()
    for atoms in frames:
        digest.update(np.asarray(atoms.numbers, dtype=np.int64).tobytes())
        digest.update(np.asarray(atoms.positions, dtype=np.float64).tobytes())
        digest.update(np.asarray(atoms.cell, dtype=np.float64).tobytes())
        digest.update(np.asarray(atoms.pbc, dtype=np.uint8).tobytes())
        if atoms.has("masses"):
            digest.update(np.asarray(atoms.get_masses(), dtype=np.float64).tobytes())
        electrons = [(key, str(atoms.info[key])) for key in ELECTRON_KEYS if key in atoms.info]
        digest.update(repr(electrons).encode())
    return digest.hexdigest()


def write_extxyz(
    path: Path, frames: Sequence[ase.Atoms], forces: Sequence[Float[np.ndarray, "atoms 3"]] | None = None
) -> None:
    """Write frames with their `info`, atomically, with the digits that give back the same float64.

    ASE's own writer keeps eight decimals of the positions, so that labels would belong to slightly other geometries.

    Args:
        path: replaced in one step once everything is written.
        frames: structures; their `info` may hold numbers, text, and arrays of numbers.
        forces: written as `REF_forces`, eV/Å.

    Raises:
        FileError: the file cannot be written.
    """
    given = [None] * len(frames) if forces is None else forces
    text = "".join(_frame_text(atoms, force) for atoms, force in zip(frames, given, strict=True))
    write_atomically(path, text.encode())


def _frame_text(atoms: ase.Atoms, forces: Float[np.ndarray, "atoms 3"] | None) -> str:
    columns = np.asarray(atoms.positions) if forces is None else np.hstack([atoms.positions, forces])
    properties = "species:S:1:pos:R:3" + ("" if forces is None else ":REF_forces:R:3")
    rows = (
        f"{symbol} " + " ".join(repr(float(value)) for value in row)
        for symbol, row in zip(atoms.get_chemical_symbols(), columns, strict=True)
    )
    return f"{len(atoms)}\n{_comment(atoms, properties)}\n" + "\n".join(rows) + "\n"


def _comment(atoms: ase.Atoms, properties: str) -> str:
    flags = " ".join("T" if flag else "F" for flag in atoms.pbc)
    lattice = [f'Lattice="{_numbers(np.asarray(atoms.cell))}"'] if np.any(atoms.pbc) else []
    return " ".join([*lattice, f"Properties={properties}", f'pbc="{flags}"', *_info(atoms.info)])


def _info(info: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_value(key, value)}" for key, value in info.items()]


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, str) and '"' not in value and "\n" not in value and "\\" not in value:
        return f'"{value}"'
    if isinstance(value, np.ndarray | list | tuple) and np.asarray(value).dtype.kind in "iuf":
        return f'"{_numbers(np.asarray(value))}"'
    raise InputError(f"info['{key}'] = {value!r} cannot be written to extxyz; use numbers, arrays or plain text.")


def _numbers(values: Float[np.ndarray, "..."]) -> str:
    return " ".join(str(value) for value in values.reshape(-1).tolist())
