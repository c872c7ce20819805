"""Where `so3krates md` starts: structures with velocities and fixed atoms, from a file and the configuration."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so3krates._errors import FileError, InputError
from so3krates.md import Snapshot, repartition_hydrogen_mass
from so3krates.md.run_config import RunConfig
from so3krates.potential import Potential
from so3krates.system import System

if TYPE_CHECKING:
    import ase

SAME_AGAIN = ("nve", "nose-hoover", "npt-mtk")
"""Ensembles without noise."""
NAMED = 6
"""Ranges of fixed atoms that are said one by one at most."""


def read_starts(config: RunConfig) -> list[Snapshot]:
    """The starts of all replicas, or the one of a run on its own.

    Raises:
        FileError: for a file that cannot be read.
        InputError: for structures that cannot be taken as they are, with the name of the file.
    """
    every = config.replicas is not None and config.replicas.starts == "all"
    found = [_start(atoms, config, number) for number, atoms in enumerate(_read(config.start, every))]
    moving = [start.velocities is not None for start in found]
    if config.kind == "nve" and config.initial_temperature_K is None and not all(moving):
        raise InputError(f"--ensemble nve needs --temperature-K, or velocities in '{config.start}'.")
    if config.replicas is None:
        return found
    count = config.replicas.number(len(found))
    own = config.replicas.pressures_GPa is not None
    if len(found) == 1 and count > 1 and moving[0] and not own and config.kind in SAME_AGAIN:
        raise InputError(
            f"{count} replicas of {config.kind} from one start with velocities would all be the same, since there is "
            "no noise; give --temperature-K, so that each draws its own."
        )
    return found * count if len(found) == 1 else found


def said_of_fixed(start: Snapshot) -> str | None:
    """Such as: 12 atoms do not move: 0–9, 15, 20."""
    if not start.fixed:
        return None
    ends: list[list[int]] = []
    for atom in start.fixed:
        if ends and ends[-1][1] == atom - 1:
            ends[-1][1] = atom
        else:
            ends.append([atom, atom])
    shown = [f"{first}" if first == last else f"{first}–{last}" for first, last in ends[:NAMED]]
    more = ", …" if len(ends) > NAMED else ""
    verb = "atom does" if len(start.fixed) == 1 else "atoms do"
    return f"{len(start.fixed)} {verb} not move: {', '.join(shown)}{more}"


def remarks(potential: Potential, system: System, path: Path) -> list[str]:
    """What there is to say about a structure; what the model refuses of it names the file."""
    try:
        potential.check(system)
        potential.treated(system)
        potential.mesh(system)
        return list(potential.remarks(system).values())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read(path: Path, every: bool) -> list["ase.Atoms"]:
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    if not path.exists():
        raise FileError(f"structure file '{path}' does not exist.")
    _refuse_other_kind(path)
    try:
        found: Any = ase.io.read(path, index=":" if every else -1)
    except UnknownFileTypeError as error:
        raise FileError(
            f"'{path}' cannot be read as a structure: its format is not known; give extended XYZ, POSCAR, CIF or "
            "another format that ASE reads."
        ) from error
    except Exception as error:  # readers of other formats raise whatever they like
        reason = str(error) or type(error).__name__
        raise FileError(f"'{path}' cannot be read as a structure: {reason}") from error
    return found if every else [found]


def _refuse_other_kind(path: Path) -> None:
    """Files of this package that are taken for a start."""
    match path.suffix.lower():
        case ".h5" | ".hdf5":
            raise FileError(
                f"'{path}' is a trajectory, not a structure file; convert it first with `so3krates convert {path} "
                "start.extxyz`, whose last frame is the start then, or with --stop-ps TIME to start earlier."
            )
        case ".safetensors":
            raise FileError(
                f"'{path}' is a model file, not a structure; the model comes first: so3krates md MODEL START."
            )


def _start(atoms: "ase.Atoms", config: RunConfig, number: int) -> Snapshot:
    try:
        read = Snapshot.from_ase(atoms, velocities=not config.draws_velocities)
        return _heavier(replace(read, fixed=(*read.fixed, *config.fixed_atoms(len(atoms)))), config.hydrogen_mass_u)
    except InputError as error:
        where = f"{config.start}, frame {number}" if number else f"{config.start}"
        raise InputError(f"{where}: {error}") from error


def _heavier(start: Snapshot, hydrogen_mass_u: float | None) -> Snapshot:
    if hydrogen_mass_u is None:
        return start
    system = repartition_hydrogen_mass(start.system, hydrogen_mass_u)
    if start.velocities is not None and not np.allclose(system.masses, start.system.masses):
        raise InputError(
            "its velocities belong to other masses than those of heavier hydrogens, so they would be too hot; give "
            "--temperature-K, so that they are drawn."
        )
    return replace(start, system=system)
