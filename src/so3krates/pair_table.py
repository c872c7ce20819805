"""All pairs of one structure in a table of N rows: each pair once, and no list of indices.

Row i, column k holds atoms i and j = i + k + 1, counted round the end, for offsets up to N/2. The second atoms of a row
follow each other, so that values of pairs are copied and summed in runs; a list would gather and scatter them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._typing import AnyArray, Array, Bool, Float, Int


def columns(atoms: int) -> int:
    """Of the table; at least one, so that no array is empty."""
    return max(atoms // 2, 1)


def held(atoms: int) -> Bool[np.ndarray, "atoms columns"]:
    """Where the table holds a pair: with an even number of atoms, half of the last column would repeat the other."""
    return np.asarray(counted_once(np.arange(atoms)[:, None], np.arange(1, columns(atoms) + 1), atoms))


def counted_once(rows: AnyArray, offsets: AnyArray, atoms: int) -> AnyArray:
    """Whether the pair of `rows` and rows + `offsets` is the one that stands for both directions; not for offset 0."""
    return (offsets > 0) & ((2 * offsets < atoms) | ((2 * offsets == atoms) & (rows < offsets)))


def following(values: Array, count: int, first: int = 1) -> Array:
    """(atoms, …) to (atoms, count, …): row i holds the values of `count` atoms from i + `first` on, round the end."""
    atoms = values.shape[0]
    rows = jnp.arange(atoms, dtype=jnp.int32)
    return following_rows(values, rows, count, first)


def following_rows(values: Array, rows: Int[Array, " rows"], count: int, first: int) -> Array:
    """Some rows of `following`."""
    atoms = values.shape[0]
    ahead = values[np.arange(first, first + atoms + count - 1) % atoms]
    return jax.vmap(lambda row: jax.lax.dynamic_slice_in_dim(ahead, row, count))(rows)


def summed_to_atoms(
    to_centers: Float[Array, "pairs *rest"], to_others: Float[Array, "pairs *rest"], atoms: int
) -> Float[Array, "atoms *rest"]:
    """Sum over each atom's pairs: `to_centers` of its row, and `to_others` of the pairs whose second atom it is."""
    rest = to_centers.shape[1:]
    shape = (atoms, columns(atoms), *rest)
    one_per_atom = jax.ShapeDtypeStruct((atoms, *rest), to_others.dtype)
    (received,) = jax.linear_transpose(lambda values: following(values, shape[1]), one_per_atom)(
        to_others.reshape(shape)
    )
    return jnp.sum(to_centers.reshape(shape), axis=1) + received
