"""Hyper-parameters of the original implementation in our terms.

Every one of them is used, or known to leave the energy as it is, or refused by name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from so3krates._errors import ConfigError
from so3krates.io.parameters import listed
from so3krates.io.terms import (
    DispersionHeader,
    ElectrostaticsHeader,
    NetworkHeader,
    TermHeader,
    ZBLHeader,
)
from so3krates.model import ModelConfig
from so3krates.physics.dispersion import SWITCH_WIDTH

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
_ZBL, _ELECTROSTATICS, _DISPERSION = "zbl_repulsion_bool", "electrostatic_energy_bool", "dispersion_energy_bool"
_TERMS = (_ZBL, _ELECTROSTATICS, _DISPERSION)
_LEARNED_TABLES = ("energy_learn_atomic_type_scales", "energy_learn_atomic_type_shifts")
_WITHOUT_EFFECT = (
    # initial values, the form of the input, and a width that follows from features and heads
    "layers_behave_like_identity_fn_at_init",
    "output_is_zero_at_init",
    "input_convention",
    "num_features_head",
    # a cutoff for training: which one to use is for the user of the model to say
    "cutoff_lr",
)
_OF_TERMS = ("electrostatic_energy_scale", "dispersion_energy_scale", "dispersion_energy_cutoff_lr_damping")
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


def headers(config: ModelConfig, section: Mapping[str, Any]) -> tuple[TermHeader, ...]:
    headers: list[TermHeader] = [NetworkHeader(config=config)]
    if section.get(_ZBL, False):
        headers.append(ZBLHeader(cutoff=config.cutoff, cutoff_function=config.cutoff_function))
    if section.get(_ELECTROSTATICS, False):
        headers.append(ElectrostaticsHeader(width=_required(section, "electrostatic_energy_scale")))
    if section.get(_DISPERSION, False):
        headers.append(DispersionHeader(scale=_required(section, "dispersion_energy_scale")))
    return tuple(headers)


def model_config(hyperparameters: Mapping[str, Any]) -> ModelConfig:
    """Our configuration of the network that the hyper-parameters describe.

    Raises:
        ConfigError: for a hyper-parameter that is missing, or of a value that this network does not offer.
    """
    section = section_of(hyperparameters, "model")
    _refuse_options(section)
    values: dict[str, Any] = {ours: _required(section, theirs) for theirs, ours in _SAME_MEANING.items()}
    values |= {ours: bool(section.get(theirs, False)) for theirs, ours in _SWITCHES.items()}
    values |= {"charges": bool(section.get(_ELECTROSTATICS)), "hirshfeld_ratios": bool(section.get(_DISPERSION))}
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
        value = section_of(hyperparameters, name).get("avg_num_neighbors")
        if value is not None:
            return value
    raise ConfigError("data.avg_num_neighbors is missing, and model.message_normalization needs it.")


def section_of(hyperparameters: Mapping[str, Any], name: str) -> Mapping[str, Any]:
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


def _refuse_options(section: Mapping[str, Any]) -> None:
    for key, allowed in _ONLY.items():
        if _required(section, key) not in allowed:
            raise ConfigError(f"model.{key} is {section[key]!r}; this network offers {allowed[0]!r} alone.")
    for key in _NEVER:
        if section.get(key, False):
            raise ConfigError(f"model.{key} is {section[key]!r}; this network has no such part.")
    if section.get(_DISPERSION, False) and not section.get(_ELECTROSTATICS, False):
        raise ConfigError("the model has dispersion without electrostatics; the original makes no such model.")
    damping = section.get("dispersion_energy_cutoff_lr_damping")
    if damping not in (None, SWITCH_WIDTH):
        raise ConfigError(
            f"model.dispersion_energy_cutoff_lr_damping is {damping!r}; dispersion is switched off over "
            f"{SWITCH_WIDTH} Å here."
        )


def refuse_unknown_keys(hyperparameters: Mapping[str, Any]) -> None:
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
            *_OF_TERMS,
            *_LEARNED_TABLES,
            *_WITHOUT_EFFECT,
            "avg_num_neighbors",
        },
    }
    for prefix, keys in known.items():
        section = section_of(hyperparameters, prefix[:-1]) if prefix else hyperparameters
        unknown = sorted(set(section) - keys)
        if unknown:
            raise ConfigError(
                f"hyper-parameter {listed([prefix + key for key in unknown])} is not known here, so its effect on the "
                "energy is not either; remove it from the file if it has none."
            )
