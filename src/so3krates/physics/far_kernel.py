"""The compiled kernel for long-range pairs on a CPU: energies and their derivatives, and forces along the pairs.

`cpp/far_pairs.h` has its interface. Pairs beyond the cutoff and padding are left out before anything is computed; of
arrays of pairs, none but lengths, mask and ∂E/∂r touch the memory.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import AnyArray, Array, Bool, Float, Int
from so3krates.graph import Graph
from so3krates.long_range import AllPairs
from so3krates.nn.fused import Variant, kernels, variants
from so3krates.pair_table import columns

PAIRS_PER_PART = 4096
"""Pairs that make another part worth its own sums over all atoms."""


class FarPairs(eqx.Module):
    """Long-range pairs as the kernel takes them; of the table of all pairs it needs no indices."""

    mask: Bool[AnyArray, " long"]
    centers: Int[AnyArray, " indices"]
    others: Int[AnyArray, " indices"]
    structure: Int[AnyArray, " indexed"]
    cutoffs: Float[AnyArray, " structures"]
    atoms: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    """Of the table; 0 for a list."""
    variant: Variant = eqx.field(static=True)

    @classmethod
    def of(cls, graph: Graph, variant: Variant) -> "FarPairs":
        pairs = graph.long_range
        assert pairs is not None
        cutoffs = jnp.asarray(pairs.cutoff)
        if isinstance(pairs, AllPairs):
            none = jnp.zeros(0, jnp.int32)
            return cls(pairs.mask, none, none, none, cutoffs, graph.atoms, columns(graph.atoms), variant)
        centers, others, structure = (jnp.asarray(a, jnp.int32) for a in (pairs.centers, pairs.others, graph.structure))
        return cls(pairs.mask, centers, others, structure, cutoffs, graph.atoms, 0, variant)

    @property
    def parts(self) -> int:
        """Fixed by the number of pairs, so that sums are the same on any number of threads."""
        rows = len(self.mask) // self.columns if self.columns else len(self.mask)
        return max(1, min(len(self.mask) // PAIRS_PER_PART, rows, kernels().most_far_parts))

    @property
    def arrays(self) -> tuple[Array, ...]:
        return tuple(map(jnp.asarray, (self.mask, self.centers, self.others, self.structure)))

    @property
    def attributes(self) -> dict[str, Any]:
        return {"variant": np.int64(self.variant.number), "columns": np.int64(self.columns)}


class Constants(NamedTuple):
    """What the kernel must know of the terms, in the order in which it takes them."""

    coulomb: float
    bohr: float
    hartree: float
    """Units: e²/(4πε₀) in eV Å, Å, eV."""
    width: float
    """σ of the damped Coulomb interaction, Å."""
    switch_from: float
    """Where its switch begins, in units of the cutoff."""
    switch_width: float
    """Of the switch of dispersion, Å."""
    radius: float
    damping: float
    """The van der Waals radius and the damping radius, Bohr, both per α^{1/7}."""
    polynomial: tuple[float, float, float, float]
    """Of the width of an oscillator in the van der Waals radius, from b₀ on."""

    @property
    def array(self) -> Float[np.ndarray, " constants"]:
        return np.array([*self[:-1], *self.polynomial])


class PairedAtoms(NamedTuple):
    """Properties of the atoms that pairs depend on; no atoms where the term is left out."""

    charges: Float[Array, " charged"]
    """e."""
    alphas: Float[Array, " polarisable"]
    """Polarisabilities, Bohr³."""
    periods: Float[Array, " polarisable"]
    """α²/C₆, atomic units: proportional to the periods of the oscillators, and the same for any Hirshfeld ratio."""


def far_energies(
    lengths: Float[Array, " long"], atoms: PairedAtoms, pairs: FarPairs, constants: Constants
) -> Float[Array, "2 atoms"]:
    """Electrostatic and dispersion energies in eV, half of that of a pair to each atom; zeros for a term left out.

    Differentiable once, in lengths, charges and polarisabilities.
    """
    return _energies(lengths, atoms, pairs, constants)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _energies(lengths: Array, atoms: PairedAtoms, pairs: FarPairs, constants: Constants) -> Any:
    return _forward(lengths, atoms, pairs, constants)[0]


def _forward(lengths: Array, atoms: PairedAtoms, pairs: FarPairs, constants: Constants) -> tuple[Array, tuple]:
    dtype = lengths.dtype
    out = jax.ShapeDtypeStruct
    two = out((2, pairs.atoms), dtype)
    call = jax.ffi.ffi_call(
        _target("energies", dtype),
        (two, out(lengths.shape, dtype), two, out((pairs.parts, pairs.atoms, 4), dtype)),
        vmap_method="sequential",
    )
    given = (lengths, *pairs.arrays, jnp.asarray(pairs.cutoffs, dtype), *atoms)
    energies, slopes, of_atoms, _ = call(*given, **pairs.attributes, constants=constants.array)
    return energies, (given, slopes, of_atoms, pairs)


def _backward(constants: Constants, saved: tuple, cotangents: Array) -> tuple:
    given, slopes, of_atoms, pairs = saved
    dtype = slopes.dtype
    out = jax.ShapeDtypeStruct
    count = len(given)
    call = jax.ffi.ffi_call(
        _target("slopes", dtype),
        (out(slopes.shape, dtype), out((2, pairs.atoms), dtype), out((pairs.parts, pairs.atoms, 4), dtype)),
        vmap_method="sequential",
        # For cotangents of one, as forces have them, what the forward call found is what is wanted.
        input_output_aliases={count + 1: 0, count + 2: 1},
    )
    slopes, of_atoms, _ = call(*given, cotangents, slopes, of_atoms, **pairs.attributes, constants=constants.array)
    charges, alphas, periods = given[-3:]
    # Nobody shall differentiate by constants of elements and not notice.
    unknown = jnp.full_like(periods, jnp.nan)
    back = PairedAtoms(of_atoms[0] if len(charges) else charges, of_atoms[1] if len(alphas) else alphas, unknown)
    return slopes, back, None


_energies.defvjp(_forward, _backward)


def push_along(graph: Graph, slopes: Float[Array, " long"], variant: Variant) -> tuple[Array, Array]:
    """Forces and Σ r ⊗ ∂E/∂r of every structure from the derivatives with respect to the lengths of long-range pairs.

    Returns:
        (atoms, 3) in eV/Å and (structures, 3, 3) in eV, for slopes in eV/Å.
    """
    assert graph.long_range is not None
    pairs = FarPairs.of(graph, variant)
    dtype = slopes.dtype
    out = jax.ShapeDtypeStruct
    call = jax.ffi.ffi_call(
        _target("push", dtype),
        (
            out((graph.atoms, 3), dtype),
            out((graph.structures, 3, 3), dtype),
            out((pairs.parts, graph.atoms, 4), dtype),
            out((pairs.parts, graph.structures, 3, 4), dtype),
        ),
        vmap_method="sequential",
    )
    lengths, vectors = (jnp.asarray(each, dtype) for each in (graph.long_range.lengths, graph.long_range.vectors))
    forces, virial, _, _ = call(lengths, *pairs.arrays, vectors, slopes, **pairs.attributes)
    return forces, virial


def widest() -> Variant:
    """The instruction set with the longest registers: pairs fill them up, and nothing is wasted on padding."""
    return max(variants(), key=lambda variant: variant.bytes)


def _target(what: str, dtype: object) -> str:
    precision = "f64" if np.dtype(dtype) == np.float64 else "f32"  # type: ignore[call-overload]
    return f"so3krates_far_{what}_{precision}"
