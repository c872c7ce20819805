"""The compiled kernel for pairs where forces are trained on, on a CPU: attention from the geometry of the pairs to
messages, its derivative, and the derivatives of both.

Energies are differentiated by the geometry first, for forces, and what is made of energies and forces by the parameters
then, in reverse both times. These two steps are known here, and no other: what nobody asks for in training is NaN.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import Array, Float, Int
from so3krates.graph import Kinds
from so3krates.nn.fused import Variant, fits, kernels, parts_of, preferred

PAIRS_PER_PART = 64
"""Pairs that make another thread worth waking: every part has sums of its own."""


class FilterParameters(NamedTuple):
    """A filter as the kernel takes it: a radial and a spherical network with a common bias at the end.

    By kinds `radial_out` and `bias` have what makes scores: a row and a number for each two kinds and each chunk.
    """

    radial_in: Float[Array, "functions radial"]
    radial_bias: Float[Array, " radial"]
    spherical_in: Float[Array, "degrees spherical"]
    spherical_bias: Float[Array, " spherical"]
    radial_out: Float[Array, "radial features"]
    spherical_out: Float[Array, "spherical features"]
    bias: Float[Array, " features"]

    def by_kinds(
        self, query: Float[Array, "kinds chunks width"], key: Float[Array, "kinds chunks width"]
    ) -> "FilterParameters":
        """With q_a and k_b of any two kinds of atoms in what follows the hidden layer: Σ_k q_ak w_k k_bk is linear in
        it."""
        chunks, width = query.shape[1:]
        products = query[:, None] * key[None, :]
        of_hidden = self.radial_out.reshape(-1, chunks, width)
        vectors = jnp.einsum("abcw,hcw->abch", products, of_hidden).reshape(-1, len(of_hidden))
        numbers = jnp.einsum("abcw,cw->abc", products, self.bias.reshape(chunks, width)).reshape(-1)
        return self._replace(radial_out=vectors, bias=numbers)


class PairFilters(NamedTuple):
    """Both filters of a layer."""

    f: FilterParameters
    x: FilterParameters


class AtomRows(NamedTuple):
    """What attention needs of the atoms. By kinds there are no queries and keys, but heads and degrees."""

    f: Float[Array, "atoms heads 2 head"]
    """Queries and keys for f."""
    x: Float[Array, "atoms degrees 2 chunk"]
    """Queries and keys for x."""
    values: Float[Array, "atoms features"]


class PairRows(NamedTuple):
    """What it needs of the pairs."""

    phi: Float[Array, " pairs"]
    harmonics: Float[Array, "pairs orders"]
    basis: Float[Array, "pairs functions"]
    invariants: Float[Array, "pairs degrees"]
    """Of x_j − x_i; without columns, and without spherical networks, where all of them are zero."""


class Messages(NamedTuple):
    """What every atom receives."""

    f: Float[Array, "atoms features"]
    x: Float[Array, "atoms orders"]


class PairEnds(eqx.Module):
    """Atoms of the pairs, and how the features are cut."""

    centers: Int[Array, " pairs"]
    others: Int[Array, " pairs"]
    kinds: Kinds | None
    """None: every atom has queries and keys of its own."""
    degrees: tuple[int, ...] = eqx.field(static=True)
    scales: tuple[float, float] = eqx.field(static=True)
    """1/c for f and for x."""


class _Kept(NamedTuple):
    """What the way forward leaves for the ways back."""

    scores: Float[Array, "2 pairs chunks"]
    """Σ_k q_ik w_ij,k k_jk: to the centers, to the others."""
    values: Float[Array, "pairs 2 features"]
    """w_ij for f and for x; nothing by kinds."""
    hidden: Float[Array, "pairs 2 hidden"]
    """Before SiLU."""
    gate: Float[Array, "pairs 2 hidden"]
    """The logistic function of `hidden`."""
    packed: Any
    """Bytes: parameters as the kernel's products need them. Of derivatives None."""


def available(degrees: tuple[int, ...]) -> bool:
    """Whether there is a kernel for this device and these degrees."""
    return preferred() is not None and fits(degrees)


@jax.custom_vjp
def messages(pairs: PairRows, atoms: AtomRows, filters: PairFilters, ends: PairEnds) -> Messages:
    """What `Attention` computes of its pairs, from filters to messages."""
    return _attend(pairs, atoms, filters, ends)[0]


def _messages(pairs: PairRows, atoms: AtomRows, filters: PairFilters, ends: PairEnds) -> tuple[Messages, tuple]:
    made, kept = _attend(pairs, atoms, filters, ends)
    return made, (kept, pairs, atoms, filters, ends)


def _messages_back(saved: tuple, derivatives: Messages) -> tuple:
    kept, pairs, atoms, filters, ends = saved
    # The geometry is a constant from here on.
    geometry = jax.lax.stop_gradient((pairs.phi, pairs.harmonics))
    pairs_back, atoms_back = _back(derivatives, kept, geometry, atoms, filters, ends)
    return pairs_back, atoms_back, _unknown(filters), None


messages.defvjp(_messages, _messages_back)


# The same, to be differentiated by parameters; and its derivative, to be differentiated by them, too.


@jax.custom_vjp
def _attend(pairs: PairRows, atoms: AtomRows, filters: PairFilters, ends: PairEnds) -> tuple[Messages, _Kept]:
    return _make_messages(pairs, atoms, filters, ends)[0]


def _make_messages(
    pairs: PairRows, atoms: AtomRows, filters: PairFilters, ends: PairEnds
) -> tuple[tuple[Messages, _Kept], tuple]:
    call = _Call.of(atoms, filters, ends)
    out = (call.f, call.x, call.scores, call.values, call.hidden, call.hidden, call.packed)
    f, x, *kept = call("trained", out, *jax.tree.leaves(filters), *atoms, *pairs)
    return (Messages(f, x), _Kept(*kept)), (pairs, _Kept(*kept), atoms, filters, ends)


def _attend_back(saved: tuple, derivatives: tuple[Messages, _Kept]) -> tuple:
    pairs, kept, atoms, filters, ends = saved
    messages_back, more = derivatives
    call = _Call.of(atoms, filters, ends)
    out = (_like(pairs.invariants), *map(_like, atoms), call.scores, call.values, *map(_like, jax.tree.leaves(filters)))
    # What the gate and packed parameters add is part of the derivatives with respect to `hidden` and to the filters.
    of_kept = (more.scores, more.values, more.hidden)
    found = call("trained_weights", out, *atoms, *pairs, *kept[:-1], *messages_back, *of_kept, kept.packed)
    invariants, rows_f, rows_x, values, _, _, *parameters = found
    back = jax.tree.unflatten(jax.tree.structure(filters), parameters)
    phi, harmonics, basis = _unknown((pairs.phi, pairs.harmonics, pairs.basis))
    return PairRows(phi, harmonics, basis, invariants), AtomRows(rows_f, rows_x, values), back, None


_attend.defvjp(_make_messages, _attend_back)


@jax.custom_vjp
def _back(
    derivatives: Messages,
    kept: _Kept,
    geometry: tuple[Array, Array],
    atoms: AtomRows,
    filters: PairFilters,
    ends: PairEnds,
) -> tuple[PairRows, AtomRows]:
    return _make_back(derivatives, kept, geometry, atoms, filters, ends)[0]


def _make_back(
    derivatives: Messages,
    kept: _Kept,
    geometry: tuple[Array, Array],
    atoms: AtomRows,
    filters: PairFilters,
    ends: PairEnds,
) -> tuple[tuple[PairRows, AtomRows], tuple]:
    call = _Call.of(atoms, filters, ends)
    out = (*map(_like, geometry), call.basis, call.invariants, *map(_like, atoms))
    given = (*atoms, *geometry, *kept[:-1], *derivatives, kept.packed)
    found = call("trained_back", (*out, call.scores, call.values, call.hidden), *given)
    results = PairRows(*found[:4]), AtomRows(*found[4:7])
    return results, (derivatives, kept, found[7:], geometry, atoms, filters, ends)


def _back_of_back(saved: tuple, given_factors: tuple[PairRows, AtomRows]) -> tuple:
    derivatives, kept, more, geometry, atoms, filters, ends = saved
    pairs_factors, atoms_factors = given_factors
    call = _Call.of(atoms, filters, ends)
    shapes = [_like(leaf) for leaf in jax.tree.leaves(filters) if leaf.ndim == 2]
    out = (call.f, call.x, *map(_like, atoms), call.scores, call.values, call.hidden, *shapes)
    factors = (*pairs_factors[:2], *atoms_factors)
    given = (*atoms, *geometry, *pairs_factors[2:], *kept[:-1], *derivatives, *more, *factors, kept.packed)
    f, x, rows_f, rows_x, values, *rest = call("trained_second", out, *given)
    scores, of_values, hidden, *matrices = rest
    of_matrices = iter(matrices)
    back = jax.tree.map(lambda leaf: next(of_matrices) if leaf.ndim == 2 else jnp.zeros_like(leaf), filters)
    of_atoms = AtomRows(rows_f, rows_x, values)
    of_kept = _Kept(scores, of_values, hidden, jnp.zeros_like(kept.gate), None)
    return Messages(f, x), of_kept, _unknown(geometry), of_atoms, back, None


_back.defvjp(_make_back, _back_of_back)


def _unknown(tree: Any) -> Any:
    """Nobody shall differentiate by this and not notice; where it is not used it costs nothing."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), tree)


def _like(array: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


class _Call(NamedTuple):
    """The calls of a layer, and the shapes of what they give."""

    sizes: dict[str, int]
    ends: PairEnds
    dtype: np.dtype
    variant: Variant

    @classmethod
    def of(cls, atoms: AtomRows, filters: PairFilters, ends: PairEnds) -> "_Call":
        variant = preferred()
        assert variant is not None
        (functions, radial), (invariants, spherical) = filters.f.radial_in.shape, filters.f.spherical_in.shape
        pairs = len(ends.centers)
        sizes = {
            "atoms": atoms.values.shape[0],
            "pairs": pairs,
            "functions": functions,
            "invariants": invariants,
            "radial": radial,
            "spherical": spherical,
            "features": atoms.values.shape[1],
            "heads": atoms.f.shape[1],
            "kinds": 0 if ends.kinds is None else len(ends.kinds.examples),
        }
        call = cls(sizes, ends, np.dtype(atoms.values.dtype), variant)
        parts = parts_of(pairs, PAIRS_PER_PART, lambda parts: call._bytes(parts)[1])
        return call._replace(sizes={**sizes, "parts": parts})

    def _out(self, *shape: int | str) -> jax.ShapeDtypeStruct:
        sizes = [self.sizes[each] if isinstance(each, str) else each for each in shape]
        return jax.ShapeDtypeStruct(tuple(sizes), self.dtype)

    @property
    def f(self) -> jax.ShapeDtypeStruct:
        return self._out("atoms", "features")

    @property
    def x(self) -> jax.ShapeDtypeStruct:
        return self._out("atoms", sum(2 * degree + 1 for degree in self.ends.degrees))

    @property
    def scores(self) -> jax.ShapeDtypeStruct:
        return self._out(2, "pairs", self.sizes["heads"] + len(self.ends.degrees))

    @property
    def values(self) -> jax.ShapeDtypeStruct:
        return self._out("pairs", 2, 0 if self.sizes["kinds"] else "features")

    @property
    def hidden(self) -> jax.ShapeDtypeStruct:
        lanes = self.variant.lanes(self.dtype)
        padded = [-(-self.sizes[name] // lanes) * lanes for name in ("radial", "spherical")]
        return self._out("pairs", 2, sum(padded))

    @property
    def basis(self) -> jax.ShapeDtypeStruct:
        return self._out("pairs", "functions")

    @property
    def invariants(self) -> jax.ShapeDtypeStruct:
        return self._out("pairs", "invariants")

    @property
    def packed(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self._bytes(self.sizes["parts"])[0],), jnp.uint8)

    def _bytes(self, parts: int) -> tuple[int, int]:
        """Of packed parameters and of scratch memory."""
        workspace = kernels().training_workspace
        assert workspace is not None
        sizes = {**self.sizes, "parts": parts}
        return workspace(self.variant.number, self.dtype.itemsize, sizes, list(self.ends.degrees))

    def __call__(self, name: str, out: tuple[jax.ShapeDtypeStruct, ...], *arrays: Array) -> tuple[Array, ...]:
        _, scratch = self._bytes(self.sizes["parts"])
        kinds = self.ends.kinds
        kind = jnp.zeros(0, jnp.int32) if kinds is None else jnp.asarray(kinds.of_atoms, jnp.int32)
        suffix = "f64" if self.dtype.itemsize == 8 else "f32"
        results = (*out, jax.ShapeDtypeStruct((scratch,), jnp.uint8))
        call = jax.ffi.ffi_call(f"so3krates_{name}_{suffix}", results, vmap_method="sequential")
        attributes = {key: np.int64(value) for key, value in self.sizes.items()}
        found = call(
            self.ends.centers,
            self.ends.others,
            kind,
            *arrays,
            **attributes,
            variant=np.int64(self.variant.number),
            degrees=np.asarray(self.ends.degrees, np.int64),
            scale_f=np.float64(self.ends.scales[0]),
            scale_x=np.float64(self.ends.scales[1]),
        )
        return tuple(found[:-1])
