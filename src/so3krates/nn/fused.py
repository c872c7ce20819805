"""The compiled kernel for attention on a CPU: parameters as it wants them, and the call with its derivative.

`cpp/` holds the kernel: a block of pairs goes from geometry to messages, and back, without leaving the cache. Where the
package was installed without a compiler, or on another device, attention runs in JAX (`TabulatedAttention`).
"""

import logging
import os
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Float, Int

WITHOUT = "so3krates runs without its compiled kernel, with the same results, several times slower on a CPU"
SUMS_BYTES = 2**30
"""Upper limit of the sums of all parts."""
PAIRS_PER_PART = 192
"""Pairs that make another thread worth waking: every part has sums of its own for all atoms."""


class Variant(NamedTuple):
    """One instruction set of the kernel that this processor has."""

    number: int
    """By which the kernel calls it."""
    name: str
    bytes: int
    """Of a register."""

    def lanes(self, dtype: object) -> int:
        """Numbers in a register."""
        return self.bytes // np.dtype(dtype).itemsize  # type: ignore[call-overload]


class KernelLayer(NamedTuple):
    """What the kernel must know of a layer beside its parameters."""

    variant: Variant
    heads: int
    hidden: int
    degrees: tuple[int, ...]
    scales: tuple[float, float]
    cutoff: float
    bend: float


class KernelParameters(eqx.Module):
    """Parameters of one attention layer, chunks padded to whole registers; see `cpp/attention.h`."""

    cutoff: Float[Array, "knots 2"]
    radial: Float[Array, "knots 2 columns"]
    inner: Float[Array, "inputs 2 padded_hidden"]
    outer: Float[Array, "hidden columns"]
    outer_back: Float[Array, "2 features padded_hidden"]
    project_f: Float[Array, "3 features padded_head"]
    project_x: Float[Array, "2 features padded_chunk"]
    back_f: Float[Array, "3 features padded_head"]
    back_x: Float[Array, "2 features padded_chunk"]
    layer: KernelLayer = eqx.field(static=True)


class Kernels(NamedTuple):
    """What the compiled module offers here."""

    variants: tuple[Variant, ...]
    """The preferred one first."""
    most_degrees: int
    highest_degree: int
    most_parts: int
    missing: str
    """Why there are no variants; empty if there are."""


@cache
def kernels() -> Kernels:
    """The compiled module, made known to JAX; without variants where it is missing or cannot be used."""
    try:
        # By name: where the package was installed without a compiler there is no such module.
        module: Any = import_module("so3krates._kernels")
    except ModuleNotFoundError:
        return Kernels((), 0, 0, 1, "it was not compiled when the package was installed, which takes GCC 12 or Clang")
    except ImportError as error:
        return Kernels((), 0, 0, 1, f"it cannot be loaded: {error}")
    try:
        for name, capsule in module.targets().items():
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except Exception as error:  # of XLA, where the kernel was compiled for a jaxlib that is newer than this one
        return Kernels((), 0, 0, 1, f"jaxlib {version('jaxlib')} does not take it: {error}")
    found = tuple(Variant(n, name, size) for n, (name, size) in enumerate(module.variants()))
    return Kernels(found, module.max_degrees, module.max_degree, module.max_parts, "")


def variants() -> tuple[Variant, ...]:
    """Instruction sets of the kernel that this processor has, the preferred one first; none without a kernel."""
    return kernels().variants


@cache
def preferred() -> Variant | None:
    """The instruction set the kernel uses unless it is told otherwise; None on other devices, and without a kernel,
    which is said once."""
    if jax.default_backend() != "cpu":
        return None
    if not variants():
        logging.getLogger("so3krates").warning(f"{WITHOUT}: {kernels().missing}.")
        return None
    return variants()[0]


def fits(degrees: tuple[int, ...]) -> bool:
    """Whether the kernel can represent these degrees."""
    return len(degrees) <= kernels().most_degrees and max(degrees) <= kernels().highest_degree


class Edges(NamedTuple):
    """Pairs as the kernel takes them."""

    centers: Int[Array, " pairs"]
    others: Int[Array, " pairs"]
    mask: Bool[Array, " pairs"]


@jax.custom_vjp
def fused_attention(
    f: Float[Array, "atoms features"],
    x: Float[Array, "atoms known"],
    vectors: Float[Array, "pairs 3"],
    edges: Edges,
    parameters: KernelParameters,
) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"]]:
    """Messages Δf and Δx by the kernel; `x` has no columns where all Euclidean variables are zero.

    Differentiable once, in f, x and vectors: for forces and stress. Derivatives with respect to parameters are NaN.
    """
    return _forward(f, x, vectors, edges, parameters)[0]


def _forward(f: Array, x: Array, vectors: Array, edges: Edges, parameters: KernelParameters) -> tuple:
    sizes = _sizes(parameters, len(f), len(vectors))
    out = jax.ShapeDtypeStruct
    dtype = f.dtype
    call = jax.ffi.ffi_call(
        f"so3krates_attention_{_suffix(dtype)}",
        (
            out(f.shape, dtype),
            out((len(f), sizes.orders), dtype),
            out((len(f), sizes.row), dtype),
            out((sizes.parts, len(f), sizes.sums), dtype),
        ),
        vmap_method="sequential",
    )
    delta_f, delta_x, rows, _ = call(f, x, vectors, *edges, *_arrays(parameters), **_attributes(parameters))
    return (delta_f, delta_x), (rows, f, x, vectors, edges, parameters)


def _backward(saved: tuple, cotangents: tuple[Array, Array]) -> tuple:
    rows, f, x, vectors, edges, parameters = saved
    sizes = _sizes(parameters, len(f), len(vectors))
    out = jax.ShapeDtypeStruct
    dtype = f.dtype
    call = jax.ffi.ffi_call(
        f"so3krates_attention_back_{_suffix(dtype)}",
        (
            out(f.shape, dtype),
            out(x.shape, dtype),
            out(vectors.shape, dtype),
            out((len(f), sizes.sums), dtype),
            out((sizes.parts, len(f), sizes.row), dtype),
        ),
        vmap_method="sequential",
    )
    back = call(*cotangents, rows, f, x, vectors, *edges, *_arrays(parameters), **_attributes(parameters))
    # Nobody shall train with this and not notice; where it is not used it costs nothing.
    unknown = jax.tree.map(lambda values: jnp.full_like(values, jnp.nan), parameters)
    return back[0], back[1], back[2], None, unknown


fused_attention.defvjp(_forward, _backward)


class _Sizes(NamedTuple):
    orders: int
    row: int
    sums: int
    parts: int


def _sizes(parameters: KernelParameters, atoms: int, pairs: int) -> _Sizes:
    layer = parameters.layer
    lanes = layer.variant.lanes(parameters.radial.dtype)
    orders = sum(2 * degree + 1 for degree in layer.degrees)
    columns, columns_f = parameters.radial.shape[2], layer.heads * parameters.project_f.shape[2]
    padded = _padded(orders, lanes)
    row = 2 * columns + columns_f + padded
    room = SUMS_BYTES // max(1, atoms * row * parameters.radial.dtype.itemsize)
    # Also makes the kernel known where parameters came from another process.
    parts = max(1, min(_cores(), pairs // PAIRS_PER_PART, kernels().most_parts, room))
    return _Sizes(orders, row, columns_f + padded, parts)


def _cores() -> int:
    """That this process may use; compiled code has as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _arrays(p: KernelParameters) -> tuple[Array, ...]:
    return (p.cutoff, p.radial, p.inner, p.outer, p.outer_back, p.project_f, p.project_x, p.back_f, p.back_x)


def _attributes(parameters: KernelParameters) -> dict[str, Any]:
    layer = parameters.layer
    return {
        "variant": np.int64(layer.variant.number),
        "heads": np.int64(layer.heads),
        "hidden": np.int64(layer.hidden),
        "degrees": np.asarray(layer.degrees, np.int64),
        "scale_f": np.float64(layer.scales[0]),
        "scale_x": np.float64(layer.scales[1]),
        "cutoff": np.float64(layer.cutoff),
        "bend": np.float64(layer.bend),
    }


def _suffix(dtype: object) -> str:
    return "f64" if np.dtype(dtype) == np.float64 else "f32"  # type: ignore[call-overload]


def _padded(count: int, lanes: int) -> int:
    return -(-count // lanes) * lanes
