"""What tells a potential from another one, so that a run only goes on with its own."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial

import equinox as eqx
import numpy as np

from so3krates.potential import Potential

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""In the text of an object; it differs from process to process."""


@lru_cache(maxsize=8)
def potential_hash(potential: Potential) -> str:
    """SHA-256 over all parameters and settings of a potential by their names, and the tolerance of its tables.

    It names what this package and the terms call things and nothing that belongs to JAX or a process, so that a run
    still knows its model after an upgrade of either.
    """
    digest = hashlib.sha256()
    if potential.tolerance is not None:
        digest.update(f"tables {potential.tolerance}".encode())
    for part in _parts(potential.model, "model"):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: object, name: str) -> Iterator[bytes]:
    """What a value holds, with the names that lead to it."""
    if eqx.is_array_like(value) and hasattr(value, "shape"):
        values = np.asarray(value)
        yield f"{name}: {values.dtype} {values.shape}".encode()
        yield values.tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        yield f"{name}: {_name(type(value))}".encode()
        for field in fields(value):
            yield from _parts(getattr(value, field.name, None), f"{name}.{field.name}")
    elif isinstance(value, dict):
        yield f"{name}: {len(value)} entries".encode()
        for key in sorted(value, key=repr):
            yield from _parts(value[key], f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        yield f"{name}: {len(value)} entries".encode()
        for number, each in enumerate(value):
            yield from _parts(each, f"{name}[{number}]")
    elif isinstance(value, partial):
        yield from _parts((value.func, value.args, value.keywords), name)
    elif callable(value):
        yield f"{name}: {_name(value)}".encode()
    else:
        yield f"{name}: {ADDRESS.sub('', repr(value))}".encode()


def _name(value: object) -> str:
    found = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '')}.{found}"
