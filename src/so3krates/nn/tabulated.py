"""Attention for inference: filters of distance as tables, and the compiled kernel where there is one.

Energies are differentiated once here, for forces; training and Hessians take the network itself.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._precision import precision_scope
from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.nn.attention import AtomInputs, Attention, Coefficients, PairGeometry, PairInputs, pair_attention
from so3krates.nn.blocks import in_blocks
from so3krates.nn.cutoff import CUTOFF_FUNCTIONS
from so3krates.nn.degrees import invariants
from so3krates.nn.dense import MLP
from so3krates.nn.filter import Filter
from so3krates.nn.fused import Edges, KernelLayer, KernelParameters, Variant, fits, fused_attention
from so3krates.nn.radial import RADIAL_BASES
from so3krates.nn.radial_table import BEND, RadialTable, Sampled, table_values


class TabulatedAttention(eqx.Module):
    """`Attention` whose cutoff function and radial networks are read from one table.

    Where Euclidean variables are zero, in the first layer of most models, the network of the invariants is a constant,
    and part of the table.
    """

    exact: Attention
    table: RadialTable
    """φ, then the filters for f, then those for x."""
    starts_at_zero: bool = eqx.field(static=True)
    kernel: KernelParameters | None

    def __call__(
        self,
        f: Float[Array, "atoms features"],
        x: Float[Array, "atoms orders"] | None,
        geometry: PairGeometry,
        graph: Graph,
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients | None]:
        """As `Attention`; no coefficients where the kernel ran, which does not keep them."""
        assert (x is None) == self.starts_at_zero
        if self.kernel is None or not graph.inference or jax.default_backend() != "cpu":
            return self._in_jax(f, x, geometry, graph)
        edges = Edges(jnp.asarray(graph.centers), jnp.asarray(graph.others), jnp.asarray(graph.pair_mask))
        known = jnp.zeros((len(f), 0), f.dtype) if x is None else x
        return *fused_attention(f, known, jnp.asarray(graph.vectors), edges, self.kernel), None

    def _in_jax(
        self, f: Array, x: Array | None, geometry: PairGeometry, graph: Graph
    ) -> tuple[Array, Array, Coefficients]:
        atoms = self.exact.atom_inputs(f, x)
        size = sum(2 * degree + 1 for degree in self.exact.degrees)
        nothing = (jnp.zeros_like(f), jnp.zeros((len(f), size), f.dtype))
        pairs = PairInputs(jnp.asarray(graph.centers), jnp.asarray(graph.others), geometry)
        mask = jnp.asarray(graph.pair_mask)
        add = partial(self._messages, atoms)
        if graph.inference:
            (delta_f, delta_x), coefficients = in_blocks(add, nothing, (pairs, mask))
        else:
            (delta_f, delta_x), coefficients = add(nothing, (pairs, mask))
        return delta_f, delta_x, coefficients

    def _messages(
        self, atoms: AtomInputs, sums: tuple[Array, Array], given: tuple[PairInputs, Array]
    ) -> tuple[tuple[Array, Array], Coefficients]:
        pairs, mask = given
        functions = self.table(pairs.geometry.lengths)
        filters = functions[:, 1:]
        if atoms.x is not None:
            s = invariants(atoms.x[pairs.others] - atoms.x[pairs.centers], self.exact.degrees)
            both = (self.exact.filter_f, self.exact.filter_x)
            filters = filters + jnp.concatenate([_without_constant(own, s) for own in both], axis=1)
        cutoff = jnp.where(mask, functions[:, 0], 0.0)
        geometry = pairs.geometry._replace(cutoff=cutoff)
        return pair_attention(
            atoms,
            filters,
            pairs._replace(geometry=geometry),
            sums,
            heads=self.exact.heads,
            degrees=self.exact.degrees,
            scales=(self.exact.scale_f, self.exact.scale_x),
        )


class RadialPart(NamedTuple):
    """What of a configuration the tables need."""

    cutoff: float
    cutoff_function: str
    basis: str
    functions: int


def tabulated(
    attention: Attention, radial: RadialPart, *, starts_at_zero: bool, tolerance: float, variant: Variant | None
) -> TabulatedAttention:
    """Attention with tables whose slopes keep to a tolerance in 1/Å, and with parameters for the kernel if it is given
    an instruction set.

    Raises:
        InputError: if no table keeps to the tolerance.
    """
    dtype = attention.query_f.dtype
    with precision_scope("float64"):
        wide: Attention = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array(leaf) else leaf, attention
        )
        filters = (wide.filter_f, wide.filter_x)
        constant = np.concatenate([np.zeros(1), *(_constant(own, starts_at_zero) for own in filters)])

        def function(r: Float[np.ndarray, " knots"]) -> Sampled:
            values, slopes = _sampled((wide.filter_f.radial, wide.filter_x.radial), jnp.asarray(r), radial)
            return np.asarray(values) + constant, np.asarray(slopes)

        values = table_values(function, radial.cutoff, tolerance)
        kernel = None
        if variant is not None and fits(attention.degrees):
            kernel = _packed(wide, values, radial.cutoff, variant, dtype)
    with precision_scope(dtype):
        table = RadialTable(jnp.asarray(values, dtype), radial.cutoff)
    return TabulatedAttention(attention, table, starts_at_zero, kernel)


@eqx.filter_jit
def _sampled(networks: tuple[MLP, MLP], r: Float[Array, " knots"], radial: RadialPart) -> tuple[Array, Array]:
    """φ and the radial networks of both filters, and their derivatives."""

    def functions(r: Array) -> Array:
        basis = RADIAL_BASES[radial.basis](r, radial.functions, radial.cutoff)
        phi = CUTOFF_FUNCTIONS[radial.cutoff_function](r, radial.cutoff)[:, None]
        return jnp.concatenate([phi, *(network(basis) for network in networks)], axis=1)

    return jax.jvp(functions, (r,), (jnp.ones_like(r),))


def _constant(own: Filter, starts_at_zero: bool) -> Float[np.ndarray, " features"]:
    """What the network of the invariants adds whatever they are."""
    hidden, final = own.spherical.layers
    assert final.bias is not None
    if not starts_at_zero:
        return np.asarray(final.bias)
    return np.asarray(own.spherical(jnp.zeros(hidden.weight.shape[0], final.bias.dtype)))


def _without_constant(own: Filter, s: Float[Array, "pairs degrees"]) -> Float[Array, "pairs features"]:
    hidden, final = own.spherical.layers
    return jax.nn.silu(hidden(s)) @ final.weight


def _packed(
    attention: Attention, values: Float[np.ndarray, "knots 2 functions"], cutoff: float, variant: Variant, dtype: object
) -> KernelParameters:
    lanes = variant.lanes(dtype)
    heads, degrees = attention.heads, len(attention.degrees)
    features = (values.shape[2] - 1) // 2

    def columns(f: Array | np.ndarray, x: Array | np.ndarray) -> np.ndarray:
        return np.concatenate([_padded_chunks(f, heads, lanes), _padded_chunks(x, degrees, lanes)], axis=-1)

    both = [own.spherical.layers for own in (attention.filter_f, attention.filter_x)]
    inner = [np.concatenate([hidden.weight, np.asarray(hidden.bias)[None]]) for hidden, _ in both]
    outer = [np.asarray(final.weight) for _, final in both]
    matrices_f = [np.asarray(m) for m in (attention.query_f, attention.key_f, attention.value_f)]
    matrices_x = [np.asarray(m) for m in (attention.query_x, attention.key_x)]
    arrays = {
        "cutoff": values[:, :, 0],
        "radial": columns(values[:, :, 1 : 1 + features], values[:, :, 1 + features :]),
        "inner": np.stack([_padded_chunks(part, 1, lanes) for part in inner], axis=1),
        "outer": columns(*outer),
        "outer_back": np.stack([_padded_chunks(part.T, 1, lanes) for part in outer]),
        "project_f": np.stack([_in_rows(m, lanes) for m in matrices_f]),
        "project_x": np.stack([_in_rows(m, lanes) for m in matrices_x]),
        "back_f": np.stack([_in_rows(m.transpose(0, 2, 1), lanes) for m in matrices_f]),
        "back_x": np.stack([_in_rows(m.transpose(0, 2, 1), lanes) for m in matrices_x]),
    }
    scales = (attention.scale_f, attention.scale_x)
    layer = KernelLayer(variant, heads, outer[0].shape[0], attention.degrees, scales, cutoff, BEND)
    with precision_scope(dtype):
        return KernelParameters(**{name: jnp.asarray(a, dtype) for name, a in arrays.items()}, layer=layer)  # type: ignore[arg-type]


def _padded_chunks(values: Array | np.ndarray, chunks: int, lanes: int) -> np.ndarray:
    """Each of the chunks of the last axis, filled with zeros to a multiple of the lanes."""
    values = np.asarray(values)
    parts = values.reshape(*values.shape[:-1], chunks, -1)
    padding = [(0, 0)] * (parts.ndim - 1) + [(0, -parts.shape[-1] % lanes)]
    return np.pad(parts, padding).reshape(*values.shape[:-1], -1)


def _in_rows(matrices: Float[np.ndarray, "chunks width width"], lanes: int) -> np.ndarray:
    """A row for every input of every chunk."""
    return _padded_chunks(matrices.reshape(-1, matrices.shape[-1]), 1, lanes)
