"""Parameters of the original implementation (mlff, sparse "v1.0" naming) as our model.

Its files: parameters as a tree of arrays with names joined by "/", and hyper-parameters as JSON with the sections
`model`, `data`, `optimizer` and `training`. Every hyper-parameter is used, or known to leave the energy as it is, or
refused by name; every parameter likewise.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from so3krates._errors import ConfigError, FileError
from so3krates.io.model_file import skeleton
from so3krates.io.parameters import listed, with_parameters
from so3krates.model import ModelConfig
from so3krates.nn.embedding import ELEMENT_ROWS
from so3krates.potential import ElementTable, Potential

Terms = Literal["all", "network"]

_SAME_MEANING = MappingProxyType(
    {
        "num_features": "features",
        "num_layers": "layers",
        "num_heads": "heads",
        "num_radial_basis_fn": "radial_functions",
        "degrees": "degrees",
        "cutoff": "cutoff",
        "energy_regression_dim": "energy_features",
    }
)
_SWITCHES = MappingProxyType(
    {
        "layer_normalization_1": "attention_norm",
        "layer_normalization_2": "exchange_norm",
        "residual_mlp_1": "residual_mlp",
        "use_charge_embed": "charge_embedding",
        "use_spin_embed": "spin_embedding",
    }
)
"""Off where the file does not name them: each brings parameters, so that a wrong guess cannot go unnoticed."""
_CHOICES: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "cutoff_fn": ("cutoff_function", {"cosine": "cosine", "phys": "polynomial", "exponential": "exponential"}),
        "radial_basis_fn": ("radial_basis", {"physnet": "physnet", "bernstein": "bernstein"}),
        "message_normalization": (
            "attention_scale",
            {"sqrt_num_features": "sqrt_head_features", "avg_num_neighbors": "mean_neighbors", "identity": "none"},
        ),
    }
)
_ONLY: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "qk_non_linearity": ("identity",),
        "activation_fn": ("silu", "swish"),
        "energy_activation_fn": ("silu", "swish"),
    }
)
_NEVER = ("residual_mlp_2",)
_TERMS = MappingProxyType(
    {
        "zbl_repulsion_bool": "ZBL repulsion",
        "electrostatic_energy_bool": "electrostatics",
        "dispersion_energy_bool": "dispersion",
    }
)
_LEARNED_TABLES = ("energy_learn_atomic_type_scales", "energy_learn_atomic_type_shifts")
_WITHOUT_EFFECT = (
    # initial values, the form of the input, and a width that follows from features and heads
    "layers_behave_like_identity_fn_at_init",
    "output_is_zero_at_init",
    "input_convention",
    "num_features_head",
    # belong to the analytic terms, which are refused when they are on
    "cutoff_lr",
    "electrostatic_energy_scale",
    "dispersion_energy_scale",
    "dispersion_energy_cutoff_lr_damping",
)
_DATA_WITHOUT_EFFECT = (
    "energy_unit",
    "length_unit",
    "filepath",
    "neighbors_lr_bool",
    "neighbors_lr_cutoff",
    "shift_mode",
    "split_seed",
)
_SECTIONS_WITHOUT_EFFECT = ("optimizer", "training", "workdir", "neighborlist_format_lr")
_BESIDE_ENERGY = ("observables_0/electrostatic_energy/partial_charges/", "observables_2/")
"""Heads for partial charges and Hirshfeld ratios: made by the original for every model, without effect on the energy
while electrostatics and dispersion are off."""
_OF_OTHER_TERMS = ("observables_0/zbl_repulsion/", "observables_0/dispersion_energy/")


class MlffModel(NamedTuple):
    """What the files of the original implementation say, in our terms."""

    potential: Potential
    unused: tuple[str, ...]
    """Parameters without effect on the energy."""


def read_mlff(
    parameters: Mapping[str, np.ndarray],
    hyperparameters: Mapping[str, Any],
    *,
    terms: Terms = "all",
    numbers: tuple[int, ...] | None = None,
    energy_shifts: bool = False,
    source: str = "parameters",
) -> MlffModel:
    """Make a potential from the original implementation's parameters, in their precision.

    Args:
        parameters: arrays by names joined by "/", with or without the leading "params/".
        hyperparameters: the parsed JSON.
        terms: "all" refuses models with ZBL repulsion, electrostatics or dispersion; "network" reads the network's part
            of such a model, whose energies are then not those of the whole.
        numbers: elements the potential is meant for; every row of its embedding if not given.
        energy_shifts: add the file's `data.energy_shifts` as reference energies of the elements. The original adds them
            on request only, and its published files hold some that are no part of the reference energies.
        source: file name for messages.

    Raises:
        ConfigError: for a hyper-parameter that is missing, unknown, or of a value that this network does not offer.
        FileError: for parameters that are missing, left over, or of a wrong shape.
    """
    section = _section(hyperparameters, "model")
    _refuse_unknown_keys(hyperparameters)
    config = model_config(hyperparameters, terms=terms)
    arrays = _without_collection(parameters, source)
    wanted = dict(_sources(config, section))
    _refuse_missing(wanted, arrays, source)
    unused = _unused(wanted, arrays, terms, source)
    used = {foreign.name: arrays[foreign.name] for foreign in wanted.values()}
    dtype = _common_dtype(used, source)
    ours = {name: foreign.change(used[foreign.name]) for name, foreign in wanted.items()}
    for name in ("energy.scale", "energy.shift"):
        ours.setdefault(name, np.full(ELEMENT_ROWS, 1.0 if name == "energy.scale" else 0.0, dtype))
    network = with_parameters(skeleton(config, dtype), ours, dtype, source)
    rows = min(len(used[f.name]) for f in wanted.values() if f.change is _padded)
    elements = _elements(numbers, rows, hyperparameters if energy_shifts else None)
    return MlffModel(Potential(network, elements, _provenance(hyperparameters)), unused)


def model_config(hyperparameters: Mapping[str, Any], *, terms: Terms = "all") -> ModelConfig:
    """Our configuration of the network that the hyper-parameters describe.

    Raises:
        ConfigError: for a hyper-parameter that is missing, or of a value that this network does not offer.
    """
    section = _section(hyperparameters, "model")
    _refuse_options(section, terms)
    values: dict[str, Any] = {ours: _required(section, theirs) for theirs, ours in _SAME_MEANING.items()}
    values |= {ours: bool(section.get(theirs, False)) for theirs, ours in _SWITCHES.items()}
    for theirs, (ours, choices) in _CHOICES.items():
        value = _required(section, theirs)
        if value not in choices:
            raise ConfigError(f"model.{theirs} is {value!r}; readable are {', '.join(map(repr, choices))}.")
        values[ours] = choices[value]
    if values["attention_scale"] == "mean_neighbors":
        values["mean_neighbors"] = _mean_neighbors(hyperparameters)
    if values["energy_features"] is None:
        raise ConfigError("model.energy_regression_dim is null; a head without hidden layer is not offered here.")
    return ModelConfig.parse(values, source="hyper-parameters")


def _mean_neighbors(hyperparameters: Mapping[str, Any]) -> float:
    for name in ("model", "data"):
        value = _section(hyperparameters, name).get("avg_num_neighbors")
        if value is not None:
            return value
    raise ConfigError("data.avg_num_neighbors is missing, and model.message_normalization needs it.")


def _section(hyperparameters: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = hyperparameters.get(name)
    if name == "data" and section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ConfigError(
            f"the hyper-parameters have no section '{name}'; expected the original's hyperparameters.json."
        )
    return section


def _required(section: Mapping[str, Any], key: str) -> Any:
    if key not in section:
        raise ConfigError(f"model.{key} is missing from the hyper-parameters, and the energy depends on it.")
    return section[key]


def _refuse_options(section: Mapping[str, Any], terms: Terms) -> None:
    for key, allowed in _ONLY.items():
        if _required(section, key) not in allowed:
            raise ConfigError(f"model.{key} is {section[key]!r}; this network offers {allowed[0]!r} alone.")
    for key in _NEVER:
        if section.get(key, False):
            raise ConfigError(f"model.{key} is {section[key]!r}; this network has no such part.")
    on = [name for key, name in _TERMS.items() if section.get(key, False)]
    if on and terms == "all":
        raise ConfigError(f"the model has {', '.join(on)}, and such terms are not supported yet.")


def _refuse_unknown_keys(hyperparameters: Mapping[str, Any]) -> None:
    known = {
        "": {"model", "data", *_SECTIONS_WITHOUT_EFFECT},
        "data.": {"avg_num_neighbors", "energy_shifts", *_DATA_WITHOUT_EFFECT},
        "model.": {
            *_SAME_MEANING,
            *_SWITCHES,
            *_CHOICES,
            *_ONLY,
            *_NEVER,
            *_TERMS,
            *_LEARNED_TABLES,
            *_WITHOUT_EFFECT,
            "avg_num_neighbors",
        },
    }
    for prefix, keys in known.items():
        section = _section(hyperparameters, prefix[:-1]) if prefix else hyperparameters
        unknown = sorted(set(section) - keys)
        if unknown:
            raise ConfigError(
                f"hyper-parameter {listed([prefix + key for key in unknown])} is not known here, so its effect on the "
                "energy is not either; remove it from the file if it has none."
            )


class _Foreign(NamedTuple):
    """Where a parameter of ours comes from."""

    name: str
    change: Callable[[np.ndarray], np.ndarray]


def _as_is(array: np.ndarray) -> np.ndarray:
    return array


def _transposed(array: np.ndarray) -> np.ndarray:
    """(heads, out, in) to (heads, in, out)."""
    return array.swapaxes(1, 2) if array.ndim == 3 else array


def _padded(array: np.ndarray) -> np.ndarray:
    """A table with fewer rows than ours; the rows added belong to elements that the potential refuses."""
    return np.concatenate([array, np.zeros((max(ELEMENT_ROWS - len(array), 0), *array.shape[1:]), array.dtype)])


def _sources(config: ModelConfig, section: Mapping[str, Any]) -> Iterator[tuple[str, _Foreign]]:
    yield "embedding.table", _Foreign("feature_embeddings_0/Embed_0/embedding", _padded)
    # The original numbers its embeddings in the order in which they are switched on.
    embeddings = [n for n in ("charge_embedding", "spin_embedding") if getattr(config, n)]
    for number, name in enumerate(embeddings, start=1):
        yield from _electronic(name, f"feature_embeddings_{number}/ChargeSpinEmbedSparse_0")
    for number in range(config.layers):
        yield from _layer(config, f"layers.{number}", f"layers_{number}")
    yield from _dense("energy.hidden", "observables_0/energy_dense_regression")
    yield from _dense("energy.final", "observables_0/energy_dense_final")
    if section.get("energy_learn_atomic_type_scales", False):
        yield "energy.scale", _Foreign("observables_0/atomic_scales", _padded)
    if section.get("energy_learn_atomic_type_shifts", False):
        yield "energy.shift", _Foreign("observables_0/energy_offset", _padded)


def _electronic(ours: str, theirs: str) -> Iterator[tuple[str, _Foreign]]:
    yield f"{ours}.query", _Foreign(f"{theirs}/Embed_0/embedding", _padded)
    yield f"{ours}.key", _Foreign(f"{theirs}/Embed_1/embedding", _as_is)
    yield f"{ours}.value", _Foreign(f"{theirs}/Embed_2/embedding", _as_is)
    yield f"{ours}.first.weight", _Foreign(f"{theirs}/Residual_0/layers_0/kernel", _as_is)
    yield f"{ours}.second.weight", _Foreign(f"{theirs}/Residual_0/layers_1/kernel", _as_is)


def _layer(config: ModelConfig, ours: str, theirs: str) -> Iterator[tuple[str, _Foreign]]:
    for kind, name in (("query_f", "Wq1"), ("key_f", "Wk1"), ("value_f", "Wv1"), ("query_x", "Wq2"), ("key_x", "Wk2")):
        yield f"{ours}.attention.{kind}", _Foreign(f"{theirs}/attention_block/{name}", _transposed)
    for kind, number in (("filter_f", 1), ("filter_x", 2)):
        for part in ("radial", "spherical"):
            for step in range(2):
                yield from _dense(
                    f"{ours}.attention.{kind}.{part}.layers.{step}",
                    f"{theirs}/attention_block/{part}_filter{number}_layer_{step + 1}",
                )
    yield from _dense(f"{ours}.exchange.linear", f"{theirs}/exchange_block/mlp_layer_2")
    if config.attention_norm:
        yield from _norm(f"{ours}.attention_norm", f"{theirs}/layer_normalization_1")
    if config.residual_mlp:
        yield from _dense(f"{ours}.residual.first", f"{theirs}/res_mlp_1_layer_1")
        yield from _dense(f"{ours}.residual.second", f"{theirs}/res_mlp_1_layer_2")
    if config.exchange_norm:
        yield from _norm(f"{ours}.exchange_norm", f"{theirs}/layer_normalization_2")


def _dense(ours: str, theirs: str) -> Iterator[tuple[str, _Foreign]]:
    yield f"{ours}.weight", _Foreign(f"{theirs}/kernel", _as_is)
    yield f"{ours}.bias", _Foreign(f"{theirs}/bias", _as_is)


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, _Foreign]]:
    yield f"{ours}.weight", _Foreign(f"{theirs}/scale", _as_is)
    yield f"{ours}.bias", _Foreign(f"{theirs}/bias", _as_is)


def _without_collection(parameters: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    arrays = {name.removeprefix("params/"): array for name, array in parameters.items()}
    if len(arrays) != len(parameters):
        raise FileError(f"'{source}' holds some parameters twice, with and without 'params/'.")
    return arrays


def _refuse_missing(wanted: Mapping[str, _Foreign], arrays: Mapping[str, np.ndarray], source: str) -> None:
    missing = sorted(foreign.name for foreign in wanted.values() if foreign.name not in arrays)
    if missing:
        raise FileError(f"'{source}' lacks {listed(missing)}, which the hyper-parameters ask for.")


def _unused(
    wanted: Mapping[str, _Foreign], arrays: Mapping[str, np.ndarray], terms: Terms, source: str
) -> tuple[str, ...]:
    names = sorted(arrays.keys() - {foreign.name for foreign in wanted.values()})
    allowed = _BESIDE_ENERGY + (_OF_OTHER_TERMS if terms == "network" else ())
    surplus = [name for name in names if not name.startswith(allowed)]
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
    shifts = _section(shifted, "data").get("energy_shifts")
    if not isinstance(shifts, Mapping):
        raise ConfigError("data.energy_shifts is missing from the hyper-parameters, and adding it was asked for.")
    lacking = [z for z in chosen if str(z) not in shifts]
    if lacking:
        raise ConfigError(f"data.energy_shifts has no entry for atomic number {lacking[0]}; name the elements to keep.")
    return ElementTable(numbers=chosen, energies=tuple(float(shifts[str(z)]) for z in chosen))


def _provenance(hyperparameters: Mapping[str, Any]) -> str:
    kept = {key: hyperparameters[key] for key in ("model", "optimizer", "training") if key in hyperparameters}
    return json.dumps({"converted_from": "mlff", "hyperparameters": kept})
