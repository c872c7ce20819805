"""Parameters of a model by readable names, such as `layers.0.attention.query_f`, and back."""

from collections.abc import Mapping
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from so3krates._errors import FileError
from so3krates._precision import checked_dtype, precision_scope

Model = TypeVar("Model")
SHOWN = 3


def named_parameters(model: object) -> dict[str, np.ndarray]:
    """The arrays of a model, on the host, by their path in the tree."""
    leaves, _ = tree_flatten_with_path(eqx.filter(model, eqx.is_array))
    return {_name(path): np.asarray(jax.device_get(leaf)) for path, leaf in leaves}


def with_parameters(skeleton: Model, parameters: Mapping[str, np.ndarray], dtype: object, source: str) -> Model:
    """Put arrays into a model in place of its own.

    Args:
        skeleton: a model of the wanted structure; of its leaves nothing but the shapes is used.
        parameters: arrays by name; exactly those of the skeleton.
        dtype: precision of the result.
        source: file name for messages.

    Raises:
        FileError: naming parameters that are missing, not known, or of a wrong shape.
    """
    target = checked_dtype(dtype)
    leaves, structure = tree_flatten_with_path(skeleton)
    shapes = {_name(path): tuple(leaf.shape) for path, leaf in leaves}
    _refuse_differences(shapes, parameters, source)
    with precision_scope(target):
        return tree_unflatten(structure, [jnp.asarray(parameters[name].astype(target)) for name in shapes])


def _name(path: tuple[object, ...]) -> str:
    return keystr(path, simple=True, separator=".")


def _refuse_differences(
    shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, np.ndarray], source: str
) -> None:
    missing = sorted(shapes.keys() - parameters.keys())
    surplus = sorted(parameters.keys() - shapes.keys())
    if missing or surplus:
        parts = [f"{word} {listed(names)}" for word, names in (("lacks", missing), ("has besides", surplus)) if names]
        raise FileError(f"'{source}' does not hold the parameters of its architecture: it {' and '.join(parts)}.")
    for name, shape in shapes.items():
        if parameters[name].shape != shape:
            raise FileError(f"'{source}': parameter '{name}' has shape {parameters[name].shape}; expected {shape}.")


def listed(names: list[str]) -> str:
    """The first names and how many more there are."""
    text = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return text if len(names) <= SHOWN else f"{text} and {len(names) - SHOWN} more"
