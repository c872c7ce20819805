"""Parameters of the original implementation: which of its arrays becomes which of our parameters, and how."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from so3krates.model import ModelConfig
from so3krates.nn.embedding import ELEMENT_ROWS

_CHARGES, _RATIOS = "observables_0/electrostatic_energy/partial_charges", "observables_2"
BESIDE_ENERGY = (f"{_CHARGES}/", f"{_RATIOS}/")
"""Heads for partial charges and Hirshfeld ratios: made by the original for every model, without effect on the energy
while electrostatics and dispersion are off; then they are left out."""


class Foreign(NamedTuple):
    """Where a parameter of ours comes from."""

    names: tuple[str, ...]
    change: Callable[..., np.ndarray]
    """Of their arrays."""


def _as_is(array: np.ndarray) -> np.ndarray:
    return array


def _transposed(array: np.ndarray) -> np.ndarray:
    """(heads, out, in) to (heads, in, out)."""
    return array.swapaxes(1, 2) if array.ndim == 3 else array


def padded(array: np.ndarray) -> np.ndarray:
    """A table with fewer rows than ours; the rows added belong to elements that the potential refuses."""
    return np.concatenate([array, np.zeros((max(ELEMENT_ROWS - len(array), 0), *array.shape[1:]), array.dtype)])


def padded_column(array: np.ndarray) -> np.ndarray:
    """(rows, 1) to (rows,)."""
    return padded(array[:, 0])


def _stacked(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays)


def _number(array: np.ndarray) -> np.ndarray:
    return array.reshape(())


ZBL_SOURCES: Mapping[str, Foreign] = MappingProxyType(
    {
        "exponents": Foreign(tuple(f"observables_0/zbl_repulsion/a{n}" for n in (1, 2, 3, 4)), _stacked),
        "coefficients": Foreign(tuple(f"observables_0/zbl_repulsion/c{n}" for n in (1, 2, 3, 4)), _stacked),
        "power": Foreign(("observables_0/zbl_repulsion/p",), _number),
        "inverse_length": Foreign(("observables_0/zbl_repulsion/d",), _number),
    }
)


def sources(config: ModelConfig, section: Mapping[str, Any]) -> Iterator[tuple[str, Foreign]]:
    yield "embedding.table", Foreign(("feature_embeddings_0/Embed_0/embedding",), padded)
    # The original numbers its embeddings in the order in which they are switched on.
    embeddings = [n for n in ("charge_embedding", "spin_embedding") if getattr(config, n)]
    for number, name in enumerate(embeddings, start=1):
        yield from _electronic(name, f"feature_embeddings_{number}/ChargeSpinEmbedSparse_0")
    for number in range(config.layers):
        yield from _layer(config, f"layers.{number}", f"layers_{number}")
    yield from _dense("energy.hidden", "observables_0/energy_dense_regression")
    yield from _dense("energy.final", "observables_0/energy_dense_final")
    if section.get("energy_learn_atomic_type_scales", False):
        yield "energy.scale", Foreign(("observables_0/atomic_scales",), padded)
    if section.get("energy_learn_atomic_type_shifts", False):
        yield "energy.shift", Foreign(("observables_0/energy_offset",), padded)
    if config.charges:
        yield from _dense("charges.hidden", f"{_CHARGES}/charge_dense_regression_vec")
        yield from _dense("charges.final", f"{_CHARGES}/charge_dense_final_vec")
        yield "charges.bias", Foreign((f"{_CHARGES}/Embed_0/embedding",), padded_column)
    if config.hirshfeld_ratios:
        yield from _dense("hirshfeld.hidden", f"{_RATIOS}/hirshfeld_ratios_dense_regression")
        yield from _dense("hirshfeld.final", f"{_RATIOS}/hirshfeld_ratios_dense_final")
        yield "hirshfeld.shift", Foreign((f"{_RATIOS}/Embed_0/embedding",), padded_column)
        yield "hirshfeld.table", Foreign((f"{_RATIOS}/Embed_1/embedding",), padded)


def _electronic(ours: str, theirs: str) -> Iterator[tuple[str, Foreign]]:
    yield f"{ours}.query", Foreign((f"{theirs}/Embed_0/embedding",), padded)
    yield f"{ours}.key", Foreign((f"{theirs}/Embed_1/embedding",), _as_is)
    yield f"{ours}.value", Foreign((f"{theirs}/Embed_2/embedding",), _as_is)
    yield f"{ours}.first.weight", Foreign((f"{theirs}/Residual_0/layers_0/kernel",), _as_is)
    yield f"{ours}.second.weight", Foreign((f"{theirs}/Residual_0/layers_1/kernel",), _as_is)


def _layer(config: ModelConfig, ours: str, theirs: str) -> Iterator[tuple[str, Foreign]]:
    for kind, name in (("query_f", "Wq1"), ("key_f", "Wk1"), ("value_f", "Wv1"), ("query_x", "Wq2"), ("key_x", "Wk2")):
        yield f"{ours}.attention.{kind}", Foreign((f"{theirs}/attention_block/{name}",), _transposed)
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


def _dense(ours: str, theirs: str) -> Iterator[tuple[str, Foreign]]:
    yield f"{ours}.weight", Foreign((f"{theirs}/kernel",), _as_is)
    yield f"{ours}.bias", Foreign((f"{theirs}/bias",), _as_is)


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, Foreign]]:
    yield f"{ours}.weight", Foreign((f"{theirs}/scale",), _as_is)
    yield f"{ours}.bias", Foreign((f"{theirs}/bias",), _as_is)
