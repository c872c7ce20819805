"""Trajectories in chemiscope: a structure to turn around, linked with energies and temperature; notebook or file.

Needs the extra `viz`.
"""

from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.io.trajectory import Trajectory, frames_to_ase

ARROW_ANGSTROM = 1.0
"""Length of the longest force arrow of a trajectory."""
PROPERTIES = {
    "time_fs": ("time", "ps", 1e-3),
    "potential_energy": ("potential energy", "eV", 1.0),
    "kinetic_energy": ("kinetic energy", "eV", 1.0),
    "temperature": ("temperature", "K", 1.0),
    "closest": ("closest approach", "Å", 1.0),
}
"""Name in the trajectory -> name, unit and factor in chemiscope."""


def show_trajectory(source: str | PathLike[str], every: int = 1) -> Any:
    """A chemiscope widget of every `every`-th frame, for a Jupyter notebook.

    Raises:
        FileError: if the file is missing or not a trajectory.
        InputError: if chemiscope is not installed, or the trajectory holds no frame.
    """
    dataset = chemiscope_dataset(source, every)
    import chemiscope

    return chemiscope.show(**dataset)


def write_chemiscope(source: str | PathLike[str], target: str | PathLike[str], every: int = 1) -> None:
    """Write every `every`-th frame to `target`, .json or .json.gz, which chemiscope opens in a browser.

    Raises:
        FileError: if the file is missing or not a trajectory.
        InputError: if chemiscope is not installed, the name ends otherwise, or the trajectory holds no frame.
    """
    if not str(target).endswith((".json", ".json.gz")):
        raise InputError(f"{target}: chemiscope reads .json and .json.gz; choose one of these.")
    dataset = chemiscope_dataset(source, every)
    import chemiscope

    chemiscope.write_input(str(target), **dataset)


def chemiscope_dataset(source: str | PathLike[str], every: int = 1) -> dict[str, Any]:
    """What `chemiscope.show` and `chemiscope.write_input` take: structures, properties, and stored forces as arrows."""
    if find_spec("chemiscope") is None:
        raise InputError('chemiscope is not installed; install the extra: pip install "so3krates[viz]".')
    trajectory = Trajectory(source)
    frames = trajectory.read(every=every)
    if not len(frames):
        raise InputError(f"{source} holds no frame to show.")
    structures = frames_to_ase(frames, trajectory.system, trajectory.reference_energy)
    values = frames.series()
    dataset: dict[str, Any] = {
        "structures": structures,
        "properties": {
            name: {"target": "structure", "values": np.asarray(values[key], np.float64) * factor, "units": unit}
            for key, (name, unit, factor) in PROPERTIES.items()
        },
        "metadata": {"name": f"{Path(source).name}, {trajectory.system.formula}"},
    }
    if frames.forces is not None:
        dataset["shapes"] = {"forces": _arrows(frames.forces)}
        dataset["settings"] = {"structure": [{"shape": ["forces"]}]}
    return dataset


def _arrows(forces: Float[np.ndarray, "frames atoms 3"]) -> dict[str, Any]:
    """Arrows on the atoms, all on one scale."""
    longest = max(float(np.linalg.norm(forces, axis=-1).max()), float(np.finfo(np.float32).tiny))
    vectors = (forces.astype(np.float64) * (ARROW_ANGSTROM / longest)).reshape(-1, 3)
    shape = {"baseRadius": 0.04, "headRadius": 0.08, "headLength": 0.12}
    return {
        "kind": "arrow",
        "parameters": {"global": shape, "atom": [{"vector": vector} for vector in vectors.tolist()]},
    }
