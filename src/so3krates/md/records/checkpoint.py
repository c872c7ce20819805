"""Checkpoints: the complete state of a run, of one structure or of many replicas, in one safetensors file, written
atomically."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from so3krates._errors import FileError
from so3krates._typing import Float
from so3krates.io.atomic import write_atomically
from so3krates.md.monitoring.findings import Disagreement, Findings
from so3krates.md.state import State
from so3krates.neighbors.lists import Neighbors

FORMAT = "so3krates-md-checkpoint"
VERSION = 1


class Progress(NamedTuple):
    """How far the trajectory of a replica is."""

    origin: Float[np.ndarray, " 3"]
    """What positions in the state are counted from, Å."""
    frames: int
    """Frames that belong to the state; later ones are cut off on resume."""
    reference: float
    """The conserved quantity at the start of the run, eV."""
    findings: Findings
    """What the monitor noticed in these frames."""
    ended: str | None = None
    """Why a replica goes on no further; None while it runs."""


class Checkpoint(NamedTuple):
    """Everything needed to go on."""

    state: State
    neighbors: Neighbors
    retries: int
    """How often the neighbour list was enlarged so far."""
    progress: tuple[Progress, ...]
    """Of each replica; one of them for a state without that axis."""

    @property
    def step(self) -> int:
        """Of the replicas that run."""
        return int(np.max(np.asarray(self.state.step)))

    def lean(self) -> "Checkpoint":
        """Without the candidates of neighbour lists, which follow from the rest and may be large."""
        verlet = self.state.verlet
        return self if verlet is None else self._replace(state=replace(self.state, verlet=verlet.reference()))


def checkpoint_path(trajectory: Path) -> Path:
    """run.h5 → run.h5.checkpoint.safetensors, which no model of the name `run` has beside it."""
    return trajectory.with_name(f"{trajectory.name}.checkpoint.safetensors")


class Glance(NamedTuple):
    """What a checkpoint says without the run that it belongs to."""

    step: int
    replicas: int | None
    """None: of a run on its own."""


def counted(replicas: int | None) -> str:
    """Such as: 4 replicas."""
    match replicas:
        case None:
            return "a run on its own"
        case 1:
            return "1 replica"
        case _:
            return f"{replicas} replicas"


def glance(path: Path) -> Glance:
    """Look at a checkpoint of whatever run.

    Raises:
        FileError: for a damaged file.
    """
    metadata, tensors = _read(path)
    step = tensors["state.step"]
    return Glance(int(step.max()), len(metadata["replicas"]) if step.ndim else None)


def save_checkpoint(path: Path, checkpoint: Checkpoint, settings_hash: str) -> None:
    """Write a checkpoint in the place of an older one.

    Raises:
        FileError: if it cannot be written; the older one is then still there.
    """
    tensors = {name: np.asarray(leaf) for name, leaf in _leaves(checkpoint.lean().state).items()}
    replicas = []
    for number, each in enumerate(checkpoint.progress):
        tensors[f"{number}.origin"] = each.origin
        tensors |= {f"{number}.disagreement.{name}": v for name, v in each.findings.disagreement._asdict().items()}
        events = each.findings.as_json()
        replicas.append({"frames": each.frames, "reference": each.reference, "ended": each.ended, "events": events})
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "settings": settings_hash,
        "retries": checkpoint.retries,
        "replicas": replicas,
        "neighbors": checkpoint.neighbors.recorded(),
    }
    write_atomically(path, save(tensors, metadata={name: json.dumps(value) for name, value in metadata.items()}))


def load_checkpoint(path: Path, template: State, neighbors: Neighbors, settings_hash: str) -> Checkpoint:
    """Read a checkpoint of the run described by `template`, `neighbors` and `settings_hash`.

    Raises:
        FileError: for a damaged file, or one that belongs to another model, structure or other settings.
    """
    metadata, tensors = _read(path)
    if metadata["settings"] != settings_hash:
        raise FileError(
            f"{path} belongs to a run with another model, start structure or settings; resume with the same ones, "
            "or start anew with --overwrite."
        )
    leaves = _leaves(template)
    wrong = [n for n, leaf in leaves.items() if n not in tensors or tensors[n].shape != np.shape(leaf)]
    if wrong:
        raise FileError(f"{path} lacks or has other shapes of {', '.join(wrong)}; start anew with --overwrite.")
    return Checkpoint(
        state=_restored(template, tensors),
        neighbors=neighbors.restored(metadata["neighbors"]),
        retries=metadata["retries"],
        progress=tuple(_progress(number, values, tensors) for number, values in enumerate(metadata["replicas"])),
    )


def _progress(number: int, values: dict[str, Any], tensors: dict[str, np.ndarray]) -> Progress:
    series = {name: tensors[f"{number}.disagreement.{name}"] for name in Disagreement._fields}
    findings = Findings.of(values["events"], series)
    return Progress(tensors[f"{number}.origin"], values["frames"], values["reference"], findings, values["ended"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is not a readable checkpoint: {error}; start anew with --overwrite.") from error
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise FileError(f"{path} is not a checkpoint this version of so3krates reads.")
    return metadata, tensors


def _plain(state: State) -> State:
    """With the random key as an array of integers."""
    return eqx.tree_at(lambda each: each.key, state, jax.random.key_data(state.key))


def _leaves(state: State) -> dict[str, Any]:
    found, _ = jax.tree_util.tree_flatten_with_path(_plain(state))
    return {"state" + jax.tree_util.keystr(path): leaf for path, leaf in found}


def _restored(template: State, tensors: dict[str, np.ndarray]) -> State:
    leaves = [jnp.asarray(tensors[name], leaf.dtype) for name, leaf in _leaves(template).items()]
    state = jax.tree.unflatten(jax.tree.structure(_plain(template)), leaves)
    return eqx.tree_at(lambda each: each.key, state, jax.random.wrap_key_data(state.key, impl="threefry2x32"))
