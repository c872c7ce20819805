"""The model file: one safetensors file is a whole potential.

Header (JSON): format and package version, the terms with their configurations, units, elements with their reference
energies, provenance, checksum. Arrays: the parameters by their path in the model, in the precision they were given in.
"""

import json
from numbers import Real
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from so3krates._errors import ConfigError, FileError, InputError
from so3krates._precision import checked_dtype
from so3krates._version import __version__
from so3krates.config import Config
from so3krates.inference import TOLERANCE, default_tolerance
from so3krates.io.atomic import write_atomically
from so3krates.io.container import Contents, decode, encode
from so3krates.io.parameters import named_parameters, with_parameters
from so3krates.io.terms import NetworkHeader, TermHeader, described, skeleton
from so3krates.io.upgrade import FORMAT_VERSION, upgraded
from so3krates.potential import Potential
from so3krates.prediction import ElementTable


class Units(Config):
    """Units of everything in the file."""

    energy: Literal["eV"] = "eV"
    length: Literal["Angstrom"] = "Angstrom"


class Header(Config):
    """What a model file says about itself."""

    format_version: int
    package_version: str
    terms: tuple[TermHeader, ...] = Field(min_length=1)
    units: Units = Units()
    elements: ElementTable | None
    provenance: str
    long_range_cutoff: float | None = Field(default=None, gt=0)
    """Å; None leaves it to what the structure is."""

    @field_validator("provenance")
    @classmethod
    def _json_object(cls, text: str) -> str:
        if not isinstance(json.loads(text), dict):
            raise ValueError("not a JSON object")
        return text


class ModelInfo(NamedTuple):
    """A model file without its parameters."""

    header: Header
    parameters: int
    """Number of trainable numbers."""
    dtype: str
    sha256: str
    size: int
    """Bytes."""


def save(potential: Potential, path: str | Path) -> None:
    """Write a potential; an older file of that name is replaced only when the new one is complete.

    Raises:
        InputError: for a model that has no file format, or parameters that are not finite.
        FileError: if the file cannot be written.
    """
    write_atomically(Path(path), to_bytes(potential))


def to_bytes(potential: Potential) -> bytes:
    """The content of a model file."""
    header = Header.parse(
        {
            "format_version": FORMAT_VERSION,
            "package_version": __version__,
            "terms": described(potential.model),
            "elements": potential.elements,
            "provenance": potential.provenance,
            "long_range_cutoff": potential.long_range_cutoff,
        },
        source="model",
    )
    parameters = named_parameters(potential.model)
    for name, values in parameters.items():
        if not np.isfinite(values).all():
            raise InputError(f"parameter '{name}' holds values that are not finite; such a model is not written.")
    return encode(header.model_dump(mode="json"), parameters)


def load(
    path: str | Path,
    dtype: object = "float32",
    *,
    long_range_cutoff: float | None = None,
    isolated: bool | None = None,
    full_range: bool = False,
    exact: bool | None = None,
    tolerance: float | None = None,
) -> Potential:
    """Read a potential.

    Args:
        path: a model file.
        dtype: precision of its arithmetic, "float32" or "float64".
        long_range_cutoff: Å, for a model with long-range terms; if not given, that which the model was saved with, if
            any, else 12 Å for periodic structures and none for molecules.
        isolated: whether long-range terms take structures as isolated although they have a cell; if not given, where
            the cell only stands for vacuum.
        full_range: sum electrostatics over all periodic images; see `Potential.full_range`.
        exact: no tables; if not given, in double precision alone, unless a tolerance is.
        tolerance: of tables, eV/Å.

    Raises:
        FileError: for a file that is missing, truncated, changed in any byte, of another kind or of an unknown version,
            or whose parameters do not fit its architecture.
        InputError: for options of long-range terms that make no sense, or that the model does not have.
    """
    target = checked_dtype(dtype)
    contents = _read(path)
    header = _header(contents, str(path))
    model = with_parameters(skeleton(header.terms, target), contents.arrays, target, str(path))
    if not model.long_range and long_range_cutoff is not None:
        raise InputError(
            f"'{path}' has no terms with a long-range cutoff, so long_range_cutoff (--long-range-cutoff) means nothing."
        )
    if isolated is not None and not (model.long_range or model.mesh_spacing is not None):
        raise InputError(f"'{path}' has no long-range terms, so isolated (--isolated, --no-isolated) means nothing.")
    if long_range_cutoff is not None and not isinstance(long_range_cutoff, Real):
        raise InputError(f"long_range_cutoff is {long_range_cutoff!r}; it must be a number, in Å.")
    if tolerance is not None and not any(isinstance(term, NetworkHeader) for term in header.terms):
        raise InputError(f"'{path}' has no network, so there is nothing to tabulate and tolerance means nothing.")
    if long_range_cutoff is not None and not 0.0 < long_range_cutoff < np.inf:
        raise InputError(f"long_range_cutoff is {long_range_cutoff} Å; it must be positive and finite.")
    potential = Potential(
        model,
        header.elements,
        header.provenance,
        header.long_range_cutoff if long_range_cutoff is None else long_range_cutoff,
        isolated,
        _tolerance(target, exact, tolerance),
    )
    return potential.full_range() if full_range else potential


def _tolerance(dtype: object, exact: bool | None, tolerance: float | None) -> float | None:
    if tolerance is None:
        return default_tolerance(dtype) if exact is None else None if exact else TOLERANCE
    if exact:
        raise InputError(f"exact=True means no tables, so tolerance={tolerance:g} means nothing; give one of them.")
    if not tolerance > 0.0:
        raise InputError(f"tolerance is {tolerance} eV/Å; it must be positive. exact=True evaluates without tables.")
    return tolerance


def inspect(path: str | Path) -> ModelInfo:
    """What a model file says about itself; checks the file as `load` does, without making a model.

    Raises:
        FileError: as `load`.
    """
    contents = _read(path)
    dtypes = sorted({array.dtype.name for array in contents.arrays.values()})
    count = sum(array.size for array in contents.arrays.values())
    size = Path(path).stat().st_size
    return ModelInfo(_header(contents, str(path)), count, ", ".join(dtypes), contents.sha256, size)


def _read(path: str | Path) -> Contents:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"model file '{path}' cannot be read: {error.strerror or error}.") from error
    return upgraded(decode(data, str(path)), str(path))


def _header(contents: Contents, source: str) -> Header:
    try:
        return Header.parse(contents.header, source="header")
    except ConfigError as error:
        raise FileError(f"'{source}' cannot be understood: {error}") from error
