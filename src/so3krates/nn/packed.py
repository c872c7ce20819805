"""Parameters of the layers as the compiled kernel takes them: all layers in one array, chunks padded to registers.

`cpp/network.h` says what each array holds.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._precision import precision_scope
from so3krates._typing import Array, Float
from so3krates.nn.attention import Attention
from so3krates.nn.fused import FusedLayers, KernelShape, Variant
from so3krates.nn.layer import LAYER_NORM_EPSILON, Layer
from so3krates.nn.radial_table import Knots


def packed(
    layers: Sequence[Layer],
    knots: Knots,
    tables: Float[np.ndarray, "knots 2 layers functions"],
    *,
    starts_at_zero: bool,
    variant: Variant,
    dtype: object,
) -> FusedLayers:
    """Layers for the kernel, from those of the network itself and the tables of their filters."""
    arrays = [_layer_arrays(layer, tables[:, :, n], variant.lanes(dtype)) for n, layer in enumerate(layers)]
    first, own = layers[0], _attention(layers[0])
    shape = KernelShape(
        variant=variant,
        layers=len(layers),
        heads=own.heads,
        hidden=own.filter_f.spherical.layers[1].weight.shape[0],
        intervals=len(knots) - 1,
        features=(tables.shape[3] - 1) // 2,
        degrees=own.degrees,
        scales=(own.scale_f, own.scale_x),
        cutoff=float(knots[-1]),
        epsilon=LAYER_NORM_EPSILON,
        starts_at_zero=starts_at_zero,
        attention_norm=first.attention_norm is not None,
        residual=first.residual is not None,
        exchange_norm=first.exchange_norm is not None,
    )
    stacked = {name: np.stack([each[name] for each in arrays]) for name in arrays[0]}
    with precision_scope(dtype):
        return FusedLayers(
            knots=jnp.asarray(knots, dtype),  # type: ignore[arg-type]
            cutoff=jnp.asarray(tables[:, :, 0, 0], dtype),  # type: ignore[arg-type]
            **{name: jnp.asarray(values, dtype) for name, values in stacked.items()},  # type: ignore[arg-type]
            shape=shape,
        )


def _attention(layer: Layer) -> Attention:
    assert isinstance(layer.attention, Attention)
    return layer.attention


def _layer_arrays(layer: Layer, table: Float[np.ndarray, "knots 2 functions"], lanes: int) -> dict[str, np.ndarray]:
    attention = _attention(layer)
    heads, degrees = attention.heads, len(attention.degrees)
    features = (table.shape[2] - 1) // 2

    def columns(f: Array | np.ndarray, x: Array | np.ndarray) -> np.ndarray:
        return np.concatenate([_chunks(f, heads, lanes), _chunks(x, degrees, lanes)], axis=-1)

    both = [own.spherical.layers for own in (attention.filter_f, attention.filter_x)]
    inner = [np.concatenate([hidden.weight, np.asarray(hidden.bias)[None]]) for hidden, _ in both]
    outer = [np.asarray(final.weight) for _, final in both]
    matrices_f = [np.asarray(m) for m in (attention.query_f, attention.key_f, attention.value_f)]
    matrices_x = [np.asarray(m) for m in (attention.query_x, attention.key_x)]
    mixing = np.asarray(layer.exchange.linear.weight)

    def exchanged(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([_padded(rows[..., :features], lanes), _padded(rows[..., features:], lanes)], axis=-1)

    return {
        "radial": columns(table[:, :, 1 : 1 + features], table[:, :, 1 + features :]),
        "inner": _padded(np.concatenate(inner, axis=1), lanes),
        "outer": columns(*outer),
        "outer_back": np.stack([_padded(part.T, lanes) for part in outer]),
        "project_f": np.stack([_in_rows(m, lanes) for m in matrices_f]),
        "project_x": np.stack([_in_rows(m, lanes) for m in matrices_x]),
        "back_f": np.stack([_in_rows(m.transpose(0, 2, 1), lanes) for m in matrices_f]),
        "back_x": np.stack([_in_rows(m.transpose(0, 2, 1), lanes) for m in matrices_x]),
        "norms": _norms((layer.attention_norm, layer.exchange_norm), features, lanes),
        **_residual(layer, features, lanes),
        "exchange": exchanged(np.concatenate([mixing, np.asarray(layer.exchange.linear.bias)[None]])),
        "exchange_back": exchanged(mixing.T),
    }


def _norms(norms: tuple[eqx.nn.LayerNorm | None, ...], features: int, lanes: int) -> np.ndarray:
    """Scale and shift of both, those of none where only one is there, nothing where there is none."""
    if norms == (None, None):
        return np.zeros((0, -(-features // lanes) * lanes))
    nothing = [np.ones(features), np.zeros(features)]
    rows = [nothing if norm is None else [np.asarray(norm.weight), np.asarray(norm.bias)] for norm in norms]
    return _padded(np.concatenate(rows), lanes)


def _residual(layer: Layer, features: int, lanes: int) -> dict[str, np.ndarray]:
    if layer.residual is None:
        nothing = np.zeros((0, features, -(-features // lanes) * lanes))
        return {"residual": nothing, "residual_back": nothing}
    both = [(np.asarray(each.weight), np.asarray(each.bias)) for each in (layer.residual.first, layer.residual.second)]
    rows = np.stack([np.concatenate([weight, bias[None]]) for weight, bias in both])
    return {"residual": _padded(rows, lanes), "residual_back": _padded(np.stack([w.T for w, _ in both]), lanes)}


def _padded(values: Array | np.ndarray, lanes: int) -> np.ndarray:
    """The last axis filled with zeros to a multiple of the lanes."""
    values = np.asarray(values)
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % lanes)])


def _chunks(values: Array | np.ndarray, chunks: int, lanes: int) -> np.ndarray:
    """Each of the chunks of the last axis, filled with zeros to a multiple of the lanes."""
    values = np.asarray(values)
    return _padded(values.reshape(*values.shape[:-1], chunks, -1), lanes).reshape(*values.shape[:-1], -1)


def _in_rows(matrices: Float[np.ndarray, "chunks width width"], lanes: int) -> np.ndarray:
    """A row for every input of every chunk."""
    return _padded(matrices.reshape(-1, matrices.shape[-1]), lanes)
