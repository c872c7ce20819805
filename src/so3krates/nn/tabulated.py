"""Attention for inference: filters of distance as tables.

Energies are differentiated once here, for forces; training and Hessians take the network itself.
"""

from collections.abc import Sequence
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
from so3krates.nn.radial import RADIAL_BASES
from so3krates.nn.radial_table import Knots, RadialTable, Sampled, tabulate

POINTS = 256
"""At which functions of distance are sampled at a time."""


class TabulatedAttention(eqx.Module):
    """`Attention` whose cutoff function and radial networks are read from one table.

    Where Euclidean variables are zero, in the first layer of most models, the network of the invariants is a constant,
    and part of the table.
    """

    exact: Attention
    table: RadialTable
    """φ, then the filters for f, then those for x."""
    starts_at_zero: bool = eqx.field(static=True)

    def __call__(
        self,
        f: Float[Array, "atoms features"],
        x: Float[Array, "atoms orders"] | None,
        geometry: PairGeometry,
        graph: Graph,
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms orders"], Coefficients]:
        """As `Attention`."""
        assert (x is None) == self.starts_at_zero
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


def filter_tables(
    layers: Sequence[Attention], radial: RadialPart, *, starts_at_zero: bool, tolerance: float
) -> tuple[Knots, Float[np.ndarray, "knots 2 layers functions"]]:
    """Knots, and values and slopes, in double precision, of what `TabulatedAttention` reads for each layer: φ, the
    filters for f, those for x, with the constants that the networks of the invariants add. Slopes keep to a tolerance
    in 1/Å: that of φ, and as a root mean square those of the filters of each layer.

    Raises:
        InputError: if no table keeps to the tolerance.
    """
    with precision_scope("float64"):
        wide: Sequence[Attention] = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array(leaf) else leaf, tuple(layers)
        )
        filters = [(layer.filter_f, layer.filter_x) for layer in wide]
        constants = [[_constant(own, starts_at_zero and n == 0) for own in both] for n, both in enumerate(filters)]
        constant = np.concatenate([np.zeros(1), *(each for both in constants for each in both)])
        networks = tuple(own.radial for both in filters for own in both)

        def function(r: Float[np.ndarray, " points"]) -> Sampled:
            # Always as many points at a time, for a single compilation.
            pieces = np.pad(r, (0, -len(r) % POINTS), mode="edge").reshape(-1, POINTS)
            sampled = [_sampled(networks, jnp.asarray(piece), radial) for piece in pieces]
            values, slopes = (np.concatenate(each)[: len(r)] for each in zip(*sampled, strict=True))
            return values + constant, slopes

        width = (len(constant) - 1) // len(wide)
        groups = [slice(1 + n * width, 1 + (n + 1) * width) for n in range(len(wide))]
        knots, values = tabulate(function, [slice(0, 1), *groups], radial.cutoff, tolerance)
    # φ once more for every layer.
    each = [np.concatenate([values[..., :1], values[..., group]], axis=-1) for group in groups]
    return knots, np.stack(each, axis=2)


@eqx.filter_jit
def _sampled(networks: tuple[MLP, ...], r: Float[Array, " points"], radial: RadialPart) -> tuple[Array, Array]:
    """φ and the radial networks of all filters, and their derivatives."""

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
