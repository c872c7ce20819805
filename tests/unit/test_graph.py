"""Graphs: offsets, padding, buckets, and sums over pairs and structures."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so3krates._errors import InputError
from so3krates.graph import Graph, Sizes, bucket, make_graph, pair_vectors, scatter_pairs
from so3krates.neighbors.host import find_pair_lists
from so3krates.system import System


def systems() -> list[System]:
    rng = np.random.default_rng(0)
    molecule = System(rng.uniform(-1.0, 1.0, (4, 3)), np.array([6, 1, 1, 8]), charge=-1.0, unpaired=1.0)
    crystal = System(rng.uniform(0.0, 3.0, (2, 3)), np.array([11, 17]), 3.0 * np.eye(3), (True, True, True))
    return [molecule, System(np.zeros((1, 3)), np.array([2])), crystal]


def graph(sizes: Sizes | None = None, dtype: str = "float64") -> Graph:
    return make_graph(systems(), [find_pair_lists(s, 3.5) for s in systems()], dtype, sizes)


@given(st.integers(0, 10**7))
def test_bucket_holds_the_count_with_little_padding(count: int) -> None:
    size = bucket(count)
    assert size >= max(count, 8)
    assert size % 8 == 0
    assert size - max(count, 1) < max(8, count / 8 + 1)
    assert bucket(size) == size


@given(st.integers(0, 10**6), st.integers(0, 1000))
def test_bucket_never_falls(count: int, more: int) -> None:
    assert bucket(count + more) >= bucket(count)


def test_buckets_are_few() -> None:
    assert len({bucket(n) for n in range(10_000)}) < 80


def test_pairs_point_to_their_own_structure() -> None:
    found, lists = graph(), [find_pair_lists(s, 3.5) for s in systems()]
    counts = [len(pairs.near.centers) for pairs in lists]
    owner = np.repeat([0, 1, 2], counts)
    pairs = sum(counts)
    np.testing.assert_array_equal(found.structure[found.centers[:pairs]], owner)
    np.testing.assert_array_equal(found.structure[found.others[:pairs]], owner)
    np.testing.assert_array_equal(found.vectors[:pairs], np.concatenate([p.near.vectors for p in lists]))
    np.testing.assert_array_equal(found.numbers[:7], [6, 1, 1, 8, 2, 11, 17])


def test_padding_is_what_the_documentation_says() -> None:
    found = graph(Sizes(5, 32, 400))
    pairs = int(found.pair_mask.sum())
    assert found.pair_mask[:pairs].all()
    assert found.atom_mask.tolist() == [True] * 7 + [False] * 25
    for padded in (found.vectors[pairs:], found.centers[pairs:], found.others[pairs:], found.numbers[7:]):
        assert (padded == 0).all()
    assert found.charge.tolist() == [-1.0, 0.0, 0.0, 0.0, 0.0]
    assert found.unpaired.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert (found.atoms, found.structures) == (32, 5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_types(dtype: str) -> None:
    found = graph(dtype=dtype)
    assert {found.vectors.dtype.name, found.charge.dtype.name, found.unpaired.dtype.name} == {dtype}
    integers = (found.centers, found.others, found.numbers, found.structure)
    assert {array.dtype.name for array in integers} == {"int32"}


@pytest.mark.parametrize("sizes", [Sizes(2, 32, 400), Sizes(3, 6, 400), Sizes(3, 32, 10)])
def test_refuses_sizes_that_are_too_small(sizes: Sizes) -> None:
    with pytest.raises(InputError, match="does not fit"):
        graph(sizes)


def test_sizes_of_is_the_smallest_bucket_and_grown_the_larger() -> None:
    lists = [find_pair_lists(s, 3.5) for s in systems()]
    assert Sizes.of(systems(), lists) == Sizes(3, 8, bucket(sum(len(p.near.centers) for p in lists)))
    assert Sizes(1, 16, 8).grown(Sizes(2, 8, 32)) == Sizes(2, 16, 32)


def test_scatter_adds_both_ends() -> None:
    found = graph()
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=found.vectors.shape) for _ in range(2))
    expected = np.zeros((found.atoms, 3))
    for pair in range(len(first)):
        expected[found.centers[pair]] += first[pair]
        expected[found.others[pair]] += second[pair]
    np.testing.assert_allclose(scatter_pairs(jnp.asarray(first), jnp.asarray(second), found), expected, atol=1e-12)


def test_sum_over_structures() -> None:
    found = graph()
    values = jnp.where(jnp.asarray(found.atom_mask), jnp.arange(1.0, found.atoms + 1.0), 0.0)
    assert found.sum_structures(values).tolist() == [1 + 2 + 3 + 4, 5, 6 + 7]


def test_pair_vectors_equal_those_of_the_list() -> None:
    crystal = systems()[2]
    pairs = find_pair_lists(crystal, 3.5)
    found = pair_vectors(
        jnp.asarray(crystal.positions),
        jnp.asarray(crystal.cell),
        jnp.asarray(pairs.near.centers),
        jnp.asarray(pairs.near.others),
        jnp.asarray(pairs.near.shifts),
    )
    np.testing.assert_allclose(found, pairs.near.vectors, atol=1e-14)


def test_with_geometry_replaces_nothing_else() -> None:
    found = graph()
    other = found.with_geometry(found.geometry._replace(near=jnp.asarray(2.0 * found.vectors)))
    np.testing.assert_array_equal(other.vectors, 2.0 * found.vectors)
    assert other.centers is found.centers
