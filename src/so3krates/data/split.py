"""Splits: which frames train, validate and test. At random, by blocks of time, or by group."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Int
from so3krates.data.frames import Subset
from so3krates.data.sample import Dataset

SplitMethod = Literal["random", "blocks", "groups"]


class Split(NamedTuple):
    """Frame indices of the three parts; no frame is in two of them."""

    train: Int[np.ndarray, " train"]
    valid: Int[np.ndarray, " valid"]
    test: Int[np.ndarray, " test"]

    def of(self, dataset: Dataset) -> tuple[Subset, Subset, Subset]:
        """The three parts of a data set as views."""
        train, valid, test = (Subset(dataset, part, name) for part, name in zip(self, self._fields, strict=True))
        return train, valid, test


def split_dataset(
    dataset: Dataset,
    *,
    n_train: int,
    n_valid: int,
    method: SplitMethod = "random",
    seed: int = 0,
    gap: int = 0,
    group_size: int | None = None,
) -> Split:
    """Split a data set; the frames left over are for tests.

    Args:
        dataset: what to split.
        n_train: frames to train on.
        n_valid: frames to validate on.
        method: "random" frames; "blocks" of time in the order of the file; whole "groups".
        seed: of the random choice.
        gap: frames left out between the blocks of time.
        group_size: with groups, that many consecutive frames are a group; else each sample's own group counts.

    Raises:
        InputError: for numbers the data cannot serve, or options that do not belong to the method.
    """
    if gap and method != "blocks":
        raise InputError(f"a gap of {gap} frames means nothing in a split by '{method}'; use method 'blocks'.")
    if group_size is not None and method != "groups":
        raise InputError(f"group_size {group_size} means nothing in a split by '{method}'; use method 'groups'.")
    if method == "random":
        return random_split(len(dataset), n_train=n_train, n_valid=n_valid, seed=seed)
    if method == "blocks":
        return block_split(len(dataset), n_train=n_train, n_valid=n_valid, gap=gap)
    groups = sample_groups(dataset) if group_size is None else consecutive_groups(len(dataset), group_size)
    return group_split(groups, n_train=n_train, n_valid=n_valid, seed=seed)


def random_split(frames: int, *, n_train: int, n_valid: int, seed: int = 0) -> Split:
    """Frames at random, without regard to time. Leaks where consecutive frames are alike.

    Raises:
        InputError: if a part would be empty or the data are too few.
    """
    _check(frames, n_train, n_valid)
    order = np.random.default_rng(seed).permutation(frames)
    return Split(order[:n_train], order[n_train : n_train + n_valid], np.sort(order[n_train + n_valid :]))


def block_split(frames: int, *, n_train: int, n_valid: int, gap: int = 0) -> Split:
    """The first frames train, the next validate, the last test, with `gap` unused frames between the blocks.

    Raises:
        InputError: if a part would be empty or the data are too few.
    """
    if gap < 0:
        raise InputError(f"gap {gap} must not be negative.")
    _check(frames, n_train, n_valid, extra=gap)
    order = np.arange(frames)
    start = n_train + gap
    return Split(order[:n_train], order[start : start + n_valid], order[start + n_valid + gap :])


def group_split(groups: Sequence[str | int], *, n_train: int, n_valid: int, seed: int = 0) -> Split:
    """Whole groups, such as molecules or trajectories, taken in random order.

    A group goes to training if it still fits into `n_train`, else to validation if it fits into `n_valid`, else to
    the test. The parts may therefore be a little smaller than asked for.

    Raises:
        InputError: if a part would be empty or the data are too few.
    """
    _check(len(groups), n_train, n_valid)
    names, membership = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    sizes = np.bincount(membership).tolist()
    part = np.full(len(names), 2)
    room = [n_train, n_valid]
    for group in np.random.default_rng(seed).permutation(len(names)):
        fitting = next((index for index in (0, 1) if sizes[group] <= room[index]), None)
        if fitting is not None:
            part[group] = fitting
            room[fitting] -= sizes[group]
    parts = [np.flatnonzero(part[membership] == index) for index in range(3)]
    for name, indices, wanted in zip(("train", "valid"), parts, (n_train, n_valid), strict=False):
        if not len(indices):
            raise InputError(
                f"no group fits into the {wanted} frames of '{name}': the smallest of {len(names)} groups has "
                f"{min(sizes)} frames; ask for more frames or make smaller groups."
            )
    return Split(*parts)


def sample_groups(dataset: Dataset) -> list[str]:
    """The group each sample names.

    Raises:
        InputError: if a sample names none.
    """
    groups = [sample.group for sample in dataset]
    if not all(groups):
        sample = dataset[groups.index("")]
        raise InputError(
            f"{sample.origin or 'a sample'}: no group is given (info key trajectory, group or molecule); give the "
            "number of consecutive frames that make a group, or split by blocks."
        )
    return groups


def consecutive_groups(frames: int, size: int) -> list[int]:
    """Groups of `size` consecutive frames.

    Raises:
        InputError: for a size below 1.
    """
    if size < 1:
        raise InputError(f"group size {size} must be at least 1.")
    return [frame // size for frame in range(frames)]


def _check(frames: int, n_train: int, n_valid: int, extra: int = 0) -> None:
    for name, count in (("n_train", n_train), ("n_valid", n_valid)):
        if count < 1:
            raise InputError(f"{name} = {count} makes an empty split; ask for at least 1 frame.")
    if n_train + n_valid + extra > frames:
        wanted = f"n_train = {n_train} + n_valid = {n_valid}" + (f" + a gap of {extra}" if extra else "")
        raise InputError(f"{wanted} is more than the {frames} frames of the data.")
