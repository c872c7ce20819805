"""Parameters of the original implementation (mlff, sparse "v1.0" naming) as our model.

Its files: parameters as a tree of arrays with names joined by "/", and hyper-parameters as JSON with the sections
`model`, `data`, `optimizer` and `training`. Every hyper-parameter is used, or known to leave the energy as it is, or
refused by name; every parameter likewise.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from so3krates._errors import ConfigError, FileError
from so3krates.io.foreign_names import BESIDE_ENERGY, ZBL_SOURCES, Foreign, padded, padded_column, sources
from so3krates.io.foreign_options import headers, model_config, refuse_unknown_keys, section_of
from so3krates.io.parameters import listed, with_parameters
from so3krates.io.terms import ZBLHeader, skeleton
from so3krates.nn.embedding import ELEMENT_ROWS
from so3krates.potential import Potential
from so3krates.prediction import ElementTable


class MlffModel(NamedTuple):
    """What the files of the original implementation say, in our terms."""

    potential: Potential
    unused: tuple[str, ...]
    """Parameters without effect on the energy."""


def read_mlff(
    parameters: Mapping[str, np.ndarray],
    hyperparameters: Mapping[str, Any],
    *,
    numbers: tuple[int, ...] | None = None,
    energy_shifts: bool = False,
    source: str = "parameters",
) -> MlffModel:
    """Make a potential from the original implementation's parameters, in their precision.

    Args:
        parameters: arrays by names joined by "/", with or without the leading "params/".
        hyperparameters: the parsed JSON.
        numbers: elements the potential is meant for; every row of its embedding if not given.
        energy_shifts: add the file's `data.energy_shifts` as reference energies of the elements. The original adds them
            on request only, and its published files hold some that are no part of the reference energies.
        source: file name for messages.

    Raises:
        ConfigError: for a hyper-parameter that is missing, unknown, or of a value that this network does not offer.
        FileError: for parameters that are missing, left over, or of a wrong shape.
    """
    options = section_of(hyperparameters, "model")
    refuse_unknown_keys(hyperparameters)
    config = model_config(hyperparameters)
    terms = headers(config, options)
    arrays = _without_collection(parameters, source)
    # A model of one term names its parameters directly, a sum by the numbers of its terms.
    prefixes = [f"terms.{n}." if len(terms) > 1 else "" for n in range(len(terms))]
    wanted = {prefixes[0] + name: foreign for name, foreign in sources(config, options)}
    wanted |= {
        prefix + name: foreign
        for header, prefix in zip(terms, prefixes, strict=True)
        if isinstance(header, ZBLHeader)
        for name, foreign in ZBL_SOURCES.items()
    }
    _refuse_missing(wanted, arrays, source)
    unused = _unused(wanted, arrays, source)
    used = {name: arrays[name] for foreign in wanted.values() for name in foreign.names}
    dtype = _common_dtype(used, source)
    ours = {name: foreign.change(*(used[n] for n in foreign.names)) for name, foreign in wanted.items()}
    for name, value in (("scale", 1.0), ("shift", 0.0)):
        ours.setdefault(f"{prefixes[0]}energy.{name}", np.full(ELEMENT_ROWS, value, dtype))
    model = with_parameters(skeleton(terms, dtype), ours, dtype, source)
    rows = min(len(used[n]) for f in wanted.values() if f.change in (padded, padded_column) for n in f.names)
    elements = _elements(numbers, rows, hyperparameters if energy_shifts else None)
    return MlffModel(Potential(model, elements, _provenance(hyperparameters)), unused)


def _without_collection(parameters: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    arrays = {name.removeprefix("params/"): array for name, array in parameters.items()}
    if len(arrays) != len(parameters):
        raise FileError(f"'{source}' holds some parameters twice, with and without 'params/'.")
    return arrays


def _refuse_missing(wanted: Mapping[str, Foreign], arrays: Mapping[str, np.ndarray], source: str) -> None:
    missing = sorted(name for foreign in wanted.values() for name in foreign.names if name not in arrays)
    if missing:
        raise FileError(f"'{source}' lacks {listed(missing)}, which the hyper-parameters ask for.")


def _unused(wanted: Mapping[str, Foreign], arrays: Mapping[str, np.ndarray], source: str) -> tuple[str, ...]:
    names = sorted(arrays.keys() - {name for foreign in wanted.values() for name in foreign.names})
    surplus = [name for name in names if not name.startswith(BESIDE_ENERGY)]
    if surplus:
        raise FileError(f"'{source}' holds {listed(surplus)}, which has no place beside these hyper-parameters.")
    return tuple(names)


def _common_dtype(arrays: Mapping[str, np.ndarray], source: str) -> np.dtype:
    for name, array in arrays.items():
        if array.dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise FileError(f"'{source}': parameter '{name}' is {array.dtype}; expected float32 or float64.")
        if not np.isfinite(array).all():
            raise FileError(f"'{source}': parameter '{name}' holds values that are not finite.")
    return np.result_type(*(array.dtype for array in arrays.values()))


def _elements(numbers: tuple[int, ...] | None, rows: int, shifted: Mapping[str, Any] | None) -> ElementTable:
    chosen = tuple(range(1, rows)) if numbers is None else tuple(sorted(set(numbers)))
    beyond = [z for z in chosen if not 1 <= z < rows]
    if not chosen or beyond:
        raise ConfigError(f"elements {list(chosen)} were asked for; this model has parameters for 1 to {rows - 1}.")
    if shifted is None:
        return ElementTable(numbers=chosen, energies=(0.0,) * len(chosen))
    shifts = section_of(shifted, "data").get("energy_shifts")
    if not isinstance(shifts, Mapping):
        raise ConfigError("data.energy_shifts is missing from the hyper-parameters, and adding it was asked for.")
    lacking = [z for z in chosen if str(z) not in shifts]
    if lacking:
        raise ConfigError(f"data.energy_shifts has no entry for atomic number {lacking[0]}; name the elements to keep.")
    return ElementTable(numbers=chosen, energies=tuple(float(shifts[str(z)]) for z in chosen))


def _provenance(hyperparameters: Mapping[str, Any]) -> str:
    kept = {key: hyperparameters[key] for key in ("model", "optimizer", "training") if key in hyperparameters}
    return json.dumps({"converted_from": "mlff", "hyperparameters": kept})
