"""The table of all pairs: each pair once, and sums as a list of the same pairs gives them."""

import jax.numpy as jnp
import numpy as np
import pytest

from so3krates.long_range import AllPairs, LongRangePairs
from so3krates.pair_table import columns, following, held


@pytest.mark.parametrize("atoms", range(1, 10))
def test_every_pair_is_held_once(atoms: int) -> None:
    rows, offsets = np.nonzero(held(atoms))
    pairs = [frozenset((i, (i + k + 1) % atoms)) for i, k in zip(rows.tolist(), offsets.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs)) == atoms * (atoms - 1) // 2
    assert all(len(pair) == 2 for pair in pairs)


def test_rows_follow_each_other_round_the_end() -> None:
    values = jnp.arange(10.0).reshape(5, 2)
    found = following(values, 2)
    assert found.shape == (5, 2, 2)
    np.testing.assert_array_equal(found[4, :, 0], [0.0, 2.0])
    np.testing.assert_array_equal(following(values, 3, first=0)[3, :, 1], [7.0, 9.0, 1.0])


@pytest.mark.parametrize("atoms", [1, 2, 5, 6])
def test_table_and_list_of_the_same_pairs_agree(atoms: int, rng: np.random.Generator) -> None:
    count = atoms * columns(atoms)
    vectors, lengths, mask = rng.normal(size=(count, 3)), rng.uniform(1.0, 2.0, count), rng.random(count) < 0.5
    cutoff = np.array([3.0])
    table = AllPairs(vectors, lengths, mask, cutoff, atoms)
    listed = LongRangePairs(vectors, lengths, np.asarray(table.centers), np.asarray(table.others), mask, cutoff)
    values = rng.normal(size=atoms)
    for one, other in zip(table.ends(values), listed.ends(values), strict=True):
        np.testing.assert_array_equal(one, other)
    for shape in ((count,), (count, 3)):
        to_centers, to_others = jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape))
        sums = (pairs.to_atoms(to_centers, to_others, atoms) for pairs in (table, listed))
        np.testing.assert_allclose(*sums, atol=1e-12)
