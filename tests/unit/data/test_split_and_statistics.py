"""Splits are disjoint and as asked for; statistics equal what NumPy says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from molecules import trajectory

from so3krates._errors import InputError
from so3krates.data.sample import Sample
from so3krates.data.split import (
    Split,
    block_split,
    consecutive_groups,
    group_split,
    random_split,
    split_dataset,
)
from so3krates.data.statistics import dataset_statistics, element_shifts, mean_neighbors
from so3krates.system import System


def assert_disjoint(split: Split, frames: int, unused: int = 0) -> None:
    together = np.concatenate(split)
    assert len(np.unique(together)) == len(together) == frames - unused
    assert together.min() >= 0 and together.max() < frames


@given(frames=st.integers(2, 60), share=st.floats(0.1, 0.9), seed=st.integers(0, 5))
def test_random_splits_partition_the_data(frames: int, share: float, seed: int) -> None:
    n_train = max(1, min(frames - 1, int(share * frames)))
    split = random_split(frames, n_train=n_train, n_valid=1, seed=seed)
    assert_disjoint(split, frames)
    assert (len(split.train), len(split.valid)) == (n_train, 1)
    np.testing.assert_array_equal(split.train, random_split(frames, n_train=n_train, n_valid=1, seed=seed).train)


def test_seeds_differ() -> None:
    assert not np.array_equal(*(random_split(100, n_train=50, n_valid=10, seed=seed).train for seed in (0, 1)))


def test_blocks_keep_their_distance() -> None:
    split = block_split(100, n_train=50, n_valid=20, gap=5)
    assert_disjoint(split, 100, unused=10)
    assert split.valid.min() - split.train.max() == 6 == split.test.min() - split.valid.max()


def test_groups_stay_together() -> None:
    groups = consecutive_groups(100, 10)
    split = group_split(groups, n_train=60, n_valid=20, seed=3)
    assert_disjoint(split, 100)
    assert [len(part) for part in split] == [60, 20, 20]
    members = [set(np.array(groups)[part].tolist()) for part in split]
    assert not members[0] & members[1] and not members[0] & members[2] and not members[1] & members[2]


def test_groups_named_by_the_samples() -> None:
    samples = [replace(s, group=f"run {i // 5}") for i, s in enumerate(trajectory(20))]
    train, valid, test = split_dataset(samples, n_train=10, n_valid=5, method="groups").of(samples)
    assert (len(train), len(valid), len(test)) == (10, 5, 5)
    assert not {s.group for s in train} & {s.group for s in valid}
    with pytest.raises(InputError, match="frame 3: no group is given"):
        split_dataset([*samples[:3], trajectory(4)[3]], n_train=1, n_valid=1, method="groups")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_train": 0, "n_valid": 5}, "n_train = 0 makes an empty split"),
        ({"n_train": 5, "n_valid": 0}, "n_valid = 0 makes an empty split"),
        ({"n_train": 18, "n_valid": 3}, r"n_train = 18 \+ n_valid = 3 is more than the 20 frames"),
        ({"n_train": 10, "n_valid": 6, "method": "blocks", "gap": 5}, "a gap of 5 is more than the 20"),
        ({"n_train": 10, "n_valid": 5, "gap": 5}, "means nothing in a split by 'random'"),
        ({"n_train": 10, "n_valid": 5, "group_size": 5}, "means nothing in a split by 'random'"),
        (
            {"n_train": 12, "n_valid": 3, "method": "groups", "group_size": 5},
            "no group fits into the 3 frames of 'valid'",
        ),
        ({"n_train": 12, "n_valid": 3, "method": "groups", "group_size": 0}, "group size 0"),
    ],
)
def test_impossible_splits_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        split_dataset(trajectory(20), **arguments)  # type: ignore[arg-type]


def molecule(symbols: dict[int, int], energy: float | None, isolated: bool = False) -> Sample:
    numbers = np.repeat(list(symbols), list(symbols.values()))
    positions = 3.0 * np.arange(3 * len(numbers), dtype=float).reshape(-1, 3)
    return Sample(System(positions=positions, numbers=numbers), energy=energy, isolated_atom=isolated)


def test_least_squares_finds_additive_energies() -> None:
    truth = {1: -13.0, 6: -1035.0, 8: -2040.0}
    compositions = [{1: 4, 6: 1}, {1: 2, 8: 1}, {6: 1, 8: 2}, {1: 6, 6: 2, 8: 1}]
    samples = [molecule(c, sum(truth[z] * n for z, n in c.items())) for c in compositions]
    shifts = element_shifts(samples)
    assert shifts.unique and shifts.source == "least_squares"
    np.testing.assert_allclose([shifts.energies[z] for z in (1, 6, 8)], list(truth.values()), rtol=1e-9)
    assert shifts.rms_residual < 1e-8


def test_one_composition_gives_the_smallest_solution_and_says_so() -> None:
    shifts = element_shifts([molecule({1: 6, 6: 2, 8: 1}, energy) for energy in (-4209.0, -4211.0)])
    assert not shifts.unique and "do not determine single elements" in shifts.note
    assert 6 * shifts.energies[1] + 2 * shifts.energies[6] + shifts.energies[8] == pytest.approx(-4210.0)
    counts = np.array([6.0, 2.0, 1.0])
    np.testing.assert_allclose(list(shifts.energies.values()), -4210.0 * counts / (counts @ counts))


def test_isolated_atoms() -> None:
    atoms = [molecule({1: 1}, -13.6, isolated=True), molecule({8: 1}, -2041.0, isolated=True)]
    water = [molecule({1: 2, 8: 1}, -2078.0)]
    shifts = element_shifts([*water, *atoms], "isolated_atoms")
    assert dict(shifts.energies) == {1: -13.6, 8: -2041.0} and shifts.unique
    assert shifts.rms_residual == pytest.approx((2078.0 - 2041.0 - 27.2) / 3)
    with pytest.raises(InputError, match="no isolated-atom energy for O"):
        element_shifts([*water, atoms[0]], "isolated_atoms")
    with pytest.raises(InputError, match="no frame has one"):
        element_shifts([molecule({1: 1}, None)])


def test_statistics_equal_numpy() -> None:
    samples = trajectory(40)
    samples[0] = replace(samples[0], forces=None)
    statistics = dataset_statistics(samples, cutoff=5.0)
    forces = np.stack([s.forces for s in samples[1:]])
    assert statistics.force_rms == pytest.approx(np.sqrt(np.mean(forces**2)))
    assert statistics.energy_mean == pytest.approx(np.mean([s.energy for s in samples]))
    assert statistics.elements == (1, 6)
    counts = {"energy": 40, "forces": 39, "stress": 0, "dipole": 0, "hirshfeld_ratios": 0}
    assert dict(statistics.counts) == counts
    assert statistics.mean_neighbors == pytest.approx(4.0)
    with pytest.raises(InputError, match="empty"):
        dataset_statistics([], cutoff=5.0)


def test_mean_neighbors_counts_images() -> None:
    """A simple cubic lattice has 6 neighbours at a, and 12 more at √2 a."""
    cell = np.eye(3) * 2.0
    crystal = Sample(System(np.zeros((1, 3)), np.array([84]), cell, (True, True, True)))
    assert mean_neighbors([crystal], 2.1) == pytest.approx(6.0)
    assert mean_neighbors([crystal], 2.9) == pytest.approx(18.0)
