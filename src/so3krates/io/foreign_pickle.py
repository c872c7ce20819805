"""Pickles of NumPy arrays from other implementations, read without running anything that they ask for.

A pickle is a program. Here its calls reach only the stand-ins below, which record the type, shape and bytes of an
array; every other name is refused. Nothing of NumPy's own unpickling runs.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from so3krates._errors import FileError

_KINDS = "fiub"


class _Dtype:
    """Stands in for `numpy.dtype`: a plain number type and its byte order."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        del align, copy
        dtype = np.dtype(name) if isinstance(name, str) and len(name) <= 4 else np.dtype(object)
        if dtype.kind not in _KINDS:
            raise _refusal(f"an array of type {name!r}")
        self.value = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise _refusal(f"byte order {order!r}")
        self.value = self.value.newbyteorder(order)


class _Array:
    """Stands in for `numpy.ndarray`, as an array under reconstruction."""

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _from_bytes(data, dtype, shape, "F" if fortran else "C")


class _Marker:
    """Stands in for the class `numpy.ndarray` where it is an argument; it cannot be called."""


_NDARRAY = _Marker()


def _reconstruct(kind: object, shape: object, letter: object) -> _Array:
    del shape, letter
    if kind is not _NDARRAY:
        raise _refusal("a subclass of numpy.ndarray")
    return _Array()


def _frombuffer(data: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.value = _from_bytes(data, dtype, shape, order)
    return array


def _scalar(dtype: object, data: object = b"") -> _Array:
    return _frombuffer(data, dtype, (), "C")


def _from_bytes(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        raise _refusal("an array whose content is not plain numbers")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _refusal(f"an array of shape {shape!r}")
    if math.prod(shape) * dtype.value.itemsize != len(data):
        raise _refusal(f"an array of shape {shape} with {len(data)} bytes")
    flat = np.frombuffer(data, dtype.value) if data else np.zeros(0, dtype.value)
    return flat.reshape(shape, order=order).astype(dtype.value.newbyteorder("="))  # type: ignore[call-overload]


_ADMITTED: Mapping[tuple[str, str], object] = MappingProxyType(
    {
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _Dtype,
        ("collections", "OrderedDict"): OrderedDict,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
        **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    }
)


class _Refused(pickle.UnpicklingError):
    """Something that is not an array or a plain container."""


def _refusal(what: str) -> _Refused:
    return _Refused(f"it holds {what}")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _refusal(f"'{module}.{name}'") from None

    def persistent_load(self, pid: object) -> Any:
        raise _refusal("a reference to an object outside of the file")


def read_pickled_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a pickled tree of dictionaries, keys joined by "/".

    Raises:
        FileError: if the file cannot be read, is truncated, or holds anything but NumPy arrays in plain containers.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    try:
        tree = _Unpickler(io.BytesIO(data)).load()
    except _Refused as error:
        raise FileError(
            f"'{path}' is refused: {error}, and only NumPy arrays in dictionaries, lists and tuples are read from a "
            "pickle; save the parameters as npz instead."
        ) from error
    except (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError) as error:
        raise FileError(f"'{path}' is not a complete pickle: {error}.") from error
    except (RecursionError, TypeError, ValueError) as error:
        raise FileError(f"'{path}' is not a pickle of NumPy arrays: {error}.") from error
    arrays: dict[str, np.ndarray] = {}
    _flatten(tree, "", arrays, path)
    return arrays


def _flatten(tree: object, prefix: str, arrays: dict[str, np.ndarray], path: Path, depth: int = 0) -> None:
    if depth > 64:
        raise FileError(f"'{path}' is refused: its tree is nested without end.")
    if isinstance(tree, _Array):
        arrays[prefix] = tree.value
        return
    if isinstance(tree, dict):
        branches = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        branches = [(str(number), value) for number, value in enumerate(tree)]
    else:
        raise FileError(f"'{path}' holds {type(tree).__name__} at '{prefix}'; expected NumPy arrays.")
    for name, value in branches:
        _flatten(value, f"{prefix}/{name}" if prefix else name, arrays, path, depth + 1)
