"""Checkpoint of a training run: state, best model so far and bookkeeping in one file, written atomically."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import FileError
from so3krates.graph import Sizes
from so3krates.io.atomic import write_atomically
from so3krates.io.container import decode, encode
from so3krates.io.parameters import named_parameters
from so3krates.term import Term
from so3krates.training.step import TrainState

FORMAT = "so3krates-training-checkpoint"
VERSION = 1


@dataclass
class Bookkeeping:
    """What the loop knows besides arrays."""

    step: int = 0
    seconds: float = 0.0
    """Training time spent, over all parts of the run."""
    best_loss: float | None = None
    best_step: int = 0
    since_best: int = 0
    """Validations since the best one."""
    validation_mark: int = 0
    """How many of the evenly spread marks of the budget at which a validation is due have been passed."""
    validated_step: int = 0
    recoveries: int = 0
    rate_factor: float = 1.0
    """The learning rate is multiplied by this; halved by each recovery."""
    log_bytes: int = 0
    """Length of the log; what was written after the checkpoint is cut off on resume."""
    sizes: Sizes | None = None


class Checkpoint(NamedTuple):
    """Everything needed to go on."""

    state: TrainState
    best: Term
    book: Bookkeeping


def checkpoint_path(output: Path) -> Path:
    """model.safetensors → model.checkpoint.safetensors."""
    return output.with_name(f"{output.stem}.checkpoint.safetensors")


def save_checkpoint(path: Path, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Replace the checkpoint; the older one is there until the new one is complete.

    Raises:
        FileError: if it cannot be written.
    """
    # Step counters are whole numbers far below 2^53: float64 keeps them exactly.
    arrays = {
        name: array if array.dtype == np.float32 else array.astype(np.float64)
        for name, array in named_parameters((checkpoint.state, checkpoint.best)).items()
    }
    header = {"format": FORMAT, "version": VERSION, "settings": dict(settings), "book": asdict(checkpoint.book)}
    write_atomically(path, encode(header, arrays))


def load_checkpoint(path: Path, template: Checkpoint, settings: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint of the run that `settings` describes.

    Raises:
        FileError: if there is none, it is damaged, or it belongs to a run with other settings.
    """
    try:
        contents = decode(path.read_bytes(), str(path))
    except OSError as error:
        raise FileError(f"there is no checkpoint '{path}' to resume from ({error.strerror}).") from error
    header = contents.header
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise FileError(f"'{path}' is not a training checkpoint that this version reads.")
    before = header["settings"]
    changed = sorted(name for name in before | dict(settings) if before.get(name) != settings.get(name))
    if changed:
        raise FileError(
            f"'{path}' belongs to a run with other settings or other data ({', '.join(changed)}); resume with the same "
            "ones, or start anew with --overwrite."
        )
    state, best = _filled((template.state, template.best), contents.arrays, path)
    book = header["book"]
    sizes = None if book["sizes"] is None else Sizes(*book["sizes"])
    return Checkpoint(state, best, Bookkeeping(**(book | {"sizes": sizes})))


def _filled(template: Any, arrays: dict[str, np.ndarray], path: Path) -> Any:
    dynamic, static = eqx.partition(template, eqx.is_array)
    names = list(named_parameters(dynamic))
    leaves, structure = jax.tree.flatten(dynamic)
    missing = [
        name for name, leaf in zip(names, leaves, strict=True) if arrays.get(name, np.zeros(0)).shape != leaf.shape
    ]
    if missing:
        raise FileError(f"'{path}' lacks {missing[0]} or has it in another shape; start anew with --overwrite.")
    new = [jnp.asarray(arrays[name].astype(leaf.dtype)) for name, leaf in zip(names, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, new), static)
