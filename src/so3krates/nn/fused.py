"""The compiled kernel for the layers of the network on a CPU: the call with its derivative.

`cpp/` holds the kernel: a block of pairs goes from filters to messages, and back, without leaving the cache. Where the
package was installed without a compiler, or on another device, layers run in JAX (`TabulatedAttention`).
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Bool, Float, Int, UInt
from so3krates.graph import Graph

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


class KernelShape(NamedTuple):
    """What the kernel must know of the layers beside their parameters."""

    variant: Variant
    layers: int
    heads: int
    hidden: int
    intervals: int
    features: int
    degrees: tuple[int, ...]
    scales: tuple[float, float]
    cutoff: float
    epsilon: float
    starts_at_zero: bool
    attention_norm: bool
    residual: bool
    exchange_norm: bool

    @property
    def orders(self) -> int:
        return sum(2 * degree + 1 for degree in self.degrees)

    def sizes(self, atoms: int, pairs: int, parts: int) -> dict[str, int]:
        """Of everything in a call."""
        names = ("layers", "heads", "hidden", "intervals", "features", "starts_at_zero", "attention_norm", "residual")
        own = {name: int(getattr(self, name)) for name in (*names, "exchange_norm")}
        return {**own, "atoms": atoms, "pairs": pairs, "parts": parts}


class FusedLayers(eqx.Module):
    """All layers of a network for the kernel; parameters as `cpp/network.h` has them, made by `packed`."""

    knots: Float[Array, " knots"]
    cutoff: Float[Array, "knots 2"]
    radial: Float[Array, "layers knots 2 columns"]
    inner: Float[Array, "layers inputs hidden_row"]
    outer: Float[Array, "layers hidden columns"]
    outer_back: Float[Array, "layers 2 features padded_hidden"]
    project_f: Float[Array, "layers 3 features padded_head"]
    project_x: Float[Array, "layers 2 features padded_chunk"]
    back_f: Float[Array, "layers 3 features padded_head"]
    back_x: Float[Array, "layers 2 features padded_chunk"]
    norms: Float[Array, "layers norm_rows padded_features"]
    residual: Float[Array, "layers matrices residual_rows padded_features"]
    residual_back: Float[Array, "layers matrices features padded_features"]
    exchange: Float[Array, "layers exchange_inputs_and_bias exchange_columns"]
    exchange_back: Float[Array, "layers exchange_inputs exchange_columns"]
    shape: KernelShape = eqx.field(static=True)

    def __call__(
        self, f: Float[Array, "atoms features"], x: Float[Array, "atoms orders"] | None, graph: Graph
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"]]:
        """The final f and x; `x` is None where all Euclidean variables start at zero.

        Differentiable once, in x and the graph's vectors: for forces and stress. Derivatives with respect to f and to
        parameters are NaN.
        """
        assert (x is None) == self.shape.starts_at_zero
        centers, others = jnp.asarray(graph.centers, jnp.int32), jnp.asarray(graph.others, jnp.int32)
        edges = Edges(centers, others, jnp.asarray(graph.pair_mask))
        known = jnp.zeros((len(f), 0), f.dtype) if x is None else x
        types = _types(jax.lax.stop_gradient(f), jnp.asarray(graph.atom_mask), self)
        return _fused(f, known, jnp.asarray(graph.vectors), edges, types, self)


class Kernels(NamedTuple):
    """What the compiled module offers here."""

    variants: tuple[Variant, ...] = ()
    """The preferred one first."""
    most_degrees: int = 0
    highest_degree: int = 0
    most_parts: int = 1
    most_far_parts: int = 1
    """Of long-range pairs."""
    workspace: Callable[..., tuple[int, int, int, int]] | None = None
    """Bytes of types, of what is saved for the way back, and of scratch memory forward and back."""
    training_workspace: Callable[[int, int, dict[str, int], list[int]], tuple[int, int]] | None = None
    """Bytes of packed parameters and of scratch memory in training (`trained_pairs`)."""
    missing: str = ""
    """Why there are no variants; empty if there are."""


@cache
def kernels() -> Kernels:
    """The compiled module, made known to JAX; without variants where it is missing or cannot be used."""
    try:
        # By name: where the package was installed without a compiler there is no such module.
        module: Any = import_module("so3krates._kernels")
    except ModuleNotFoundError:
        return Kernels(missing="it was not compiled when the package was installed, which takes GCC 12 or Clang")
    except ImportError as error:
        return Kernels(missing=f"it cannot be loaded: {error}")
    try:
        for name, capsule in module.targets().items():
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except Exception as error:  # of XLA, where the kernel was compiled for a jaxlib that is newer than this one
        return Kernels(missing=f"jaxlib {version('jaxlib')} does not take it: {error}")
    found = tuple(Variant(n, name, size) for n, (name, size) in enumerate(module.variants()))
    return Kernels(
        found,
        most_degrees=module.max_degrees,
        highest_degree=module.max_degree,
        most_parts=module.max_parts,
        most_far_parts=module.max_far_parts,
        workspace=module.workspace,
        training_workspace=module.training_workspace,
    )


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


def _types(
    f: Float[Array, "atoms features"], mask: Bool[Array, " atoms"], layers: FusedLayers
) -> UInt[Array, " bytes"]:
    """What the features at the start decide. A call of its own: in a loop over steps XLA makes it once, before them."""
    if not layers.shape.starts_at_zero:
        return jnp.zeros(0, jnp.uint8)
    call = _Call.of(layers.shape, len(f), 0, f.dtype)
    made = jax.ffi.ffi_call(
        f"so3krates_types_{call.suffix}", jax.ShapeDtypeStruct((call.types,), jnp.uint8), vmap_method="sequential"
    )
    return made(f, mask, *jax.tree.leaves(jax.lax.stop_gradient(layers)), **call.attributes)


@jax.custom_vjp
def _fused(
    f: Float[Array, "atoms features"],
    x: Float[Array, "atoms known"],
    vectors: Float[Array, "pairs 3"],
    edges: Edges,
    types: UInt[Array, " bytes"],
    layers: FusedLayers,
) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"]]:
    return _forward(f, x, vectors, edges, types, layers)[0]


def _forward(f: Array, x: Array, vectors: Array, edges: Edges, types: Array, layers: FusedLayers) -> tuple:
    out = jax.ShapeDtypeStruct
    call = _Call.of(layers.shape, len(f), len(vectors), f.dtype)
    run = jax.ffi.ffi_call(
        f"so3krates_layers_{call.suffix}",
        (
            out(f.shape, f.dtype),
            out((len(f), layers.shape.orders), f.dtype),
            out((call.saved,), jnp.uint8),
            out((call.scratch,), jnp.uint8),
        ),
        vmap_method="sequential",
    )
    new_f, new_x, kept, _ = run(types, f, x, vectors, *edges, *jax.tree.leaves(layers), **call.attributes)
    return (new_f, new_x), (kept, f, x, vectors, edges, types, layers)


def _backward(saved: tuple, cotangents: tuple[Array, Array]) -> tuple:
    kept, f, x, vectors, edges, types, layers = saved
    out = jax.ShapeDtypeStruct
    call = _Call.of(layers.shape, len(f), len(vectors), f.dtype)
    run = jax.ffi.ffi_call(
        f"so3krates_layers_back_{call.suffix}",
        (out(x.shape, x.dtype), out(vectors.shape, x.dtype), out((call.scratch_back,), jnp.uint8)),
        vmap_method="sequential",
    )
    given = (*cotangents, kept, types, f, x, vectors, *edges, *jax.tree.leaves(layers))
    x_back, vectors_back, _ = run(*given, **call.attributes)
    # Nobody shall train with this and not notice; where it is not used it costs nothing.
    unknown_f, unknown = jax.tree.map(lambda values: jnp.full_like(values, jnp.nan), (f, layers))
    return unknown_f, x_back, vectors_back, None, None, unknown


_fused.defvjp(_forward, _backward)


class _Call(NamedTuple):
    """Sizes of one call, in bytes, and what it is told beside its arrays."""

    types: int
    saved: int
    scratch: int
    scratch_back: int
    attributes: dict[str, Any]
    suffix: str

    @classmethod
    def of(cls, shape: KernelShape, atoms: int, pairs: int, dtype: object) -> "_Call":
        # Also makes the kernel known where parameters came from another process.
        workspace = kernels().workspace
        assert workspace is not None
        itemsize = np.dtype(dtype).itemsize  # type: ignore[call-overload]

        def memory(parts: int) -> tuple[int, int, int, int]:
            return workspace(shape.variant.number, itemsize, shape.sizes(atoms, pairs, parts), list(shape.degrees))

        parts = parts_of(pairs, PAIRS_PER_PART, lambda parts: memory(parts)[3])
        attributes = {
            **{name: np.int64(size) for name, size in shape.sizes(atoms, pairs, parts).items()},
            "variant": np.int64(shape.variant.number),
            "degrees": np.asarray(shape.degrees, np.int64),
            "scale_f": np.float64(shape.scales[0]),
            "scale_x": np.float64(shape.scales[1]),
            "cutoff": np.float64(shape.cutoff),
            "epsilon": np.float64(shape.epsilon),
        }
        return cls(*memory(parts), attributes, "f64" if itemsize == 8 else "f32")


def parts_of(pairs: int, pairs_per_part: int, scratch: Callable[[int], int]) -> int:
    """Parts of the pairs that threads work on, each with sums of its own, in memory that is limited; `scratch` says how
    many bytes so many parts take."""
    wanted = max(1, min(cores(), pairs // pairs_per_part, kernels().most_parts))
    return max(1, min(wanted, SUMS_BYTES // max(1, scratch(2) - scratch(1))))


def cores() -> int:
    """That this process may use; compiled code has as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
