"""The frames the doctor looks at, gathered into arrays by structure type, so that the checks are vectorised."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from so3krates._errors import So3kratesError
from so3krates._typing import Float, Int
from so3krates.data.doctor_report import Frame
from so3krates.data.frames import about
from so3krates.data.sample import Dataset, Sample

RUN = 100
"""Consecutive frames taken together where a data set is too large to be read whole."""
MAX_UNREADABLE = 50


@dataclass(frozen=True)
class Block:
    """Frames with the same elements in the same order, charge, spin and periodic axes.

    Attributes:
        rows: rows of the table, ascending.
        numbers: atomic numbers.
        pbc: periodic axes.
        positions: Å.
        energy: eV, NaN where missing.
        forces: eV/Å, NaN where missing.
        stress: eV/Å³, NaN where missing.
        cell: rows are vectors; identity for molecules.
    """

    rows: Int[np.ndarray, " frames"]
    numbers: Int[np.ndarray, " atoms"]
    pbc: tuple[bool, bool, bool]
    positions: Float[np.ndarray, "frames atoms 3"]
    energy: Float[np.ndarray, " frames"]
    forces: Float[np.ndarray, "frames atoms 3"]
    stress: Float[np.ndarray, "frames 3 3"]
    cell: Float[np.ndarray, "frames 3 3"]

    @property
    def periodic(self) -> bool:
        return any(self.pbc)


@dataclass(frozen=True)
class FrameTable:
    """Samples, how to name them, which could not be read, and the named splits as rows."""

    samples: tuple[Sample, ...]
    names: tuple[Frame, ...]
    sequence: Int[np.ndarray, " frames"]
    """Numbers that are consecutive exactly where two frames are consecutive in one file."""
    unreadable: tuple[tuple[Frame, str], ...]
    splits: Mapping[str, Int[np.ndarray, " rows"]]
    blocks: tuple[Block, ...]
    total: int
    """Frames in the files, of which `samples` may be a part."""
    keys: Mapping[str, tuple[str, ...]]
    """Part of the data to what its file calls by a name."""

    def named(self, rows: Int[np.ndarray, " rows"] | Sequence[int]) -> tuple[Frame, ...]:
        return tuple(self.names[int(row)] for row in rows)

    @property
    def energy(self) -> Float[np.ndarray, " frames"]:
        return np.array([np.nan if sample.energy is None else sample.energy for sample in self.samples])


def gather(parts: Mapping[str, Dataset], max_frames: int) -> FrameTable:
    """Read the frames of one or several data sets.

    A larger set is represented by runs of consecutive frames, evenly spread. Frames that cannot be read are listed,
    not raised. With one data set the splits are its named subsets; with several, each is a split.
    """
    samples: list[Sample] = []
    names: list[Frame] = []
    sequence: list[int] = []
    unreadable: list[tuple[Frame, str]] = []
    splits: dict[str, np.ndarray] = {}
    start = 0
    for part, dataset in parts.items():
        row_of: dict[int, int] = {}
        for index in chosen_frames(len(dataset), max_frames // len(parts)).tolist():
            name: Frame = f"{part}:{index}" if len(parts) > 1 else index
            try:
                sample = dataset[index]
            except So3kratesError as error:
                unreadable.append((name, str(error)))
                if len(unreadable) >= MAX_UNREADABLE:
                    break
                continue
            row_of[index] = len(samples)
            samples.append(sample)
            names.append(name)
            sequence.append(start + index)
        start += len(dataset) + 1
        named = about(dataset).subsets if len(parts) == 1 else {part: np.arange(len(dataset))}
        for split, indices in named.items():
            splits[split] = np.array([row_of[i] for i in np.unique(indices).tolist() if i in row_of], dtype=np.int64)
    total = sum(map(len, parts.values()))
    order = np.array(sequence, dtype=np.int64)
    keys = {part: about(dataset).keys for part, dataset in parts.items()}
    return FrameTable(tuple(samples), tuple(names), order, tuple(unreadable), splits, _blocks(samples), total, keys)


def chosen_frames(length: int, limit: int) -> Int[np.ndarray, " frames"]:
    """All frames, or evenly spread runs of consecutive ones that make up about `limit`."""
    if length <= limit:
        return np.arange(length)
    runs = max(limit // RUN, 1)
    starts = np.linspace(0, length - min(RUN, limit), runs).astype(np.int64)
    return np.unique(starts[:, None] + np.arange(min(RUN, limit)))


def _blocks(samples: Dataset) -> tuple[Block, ...]:
    rows_by_kind: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        system = sample.system
        rows_by_kind[(system.numbers.tobytes(), system.charge, system.unpaired, system.pbc)].append(row)
    return tuple(_block([samples[row] for row in rows], rows) for rows in rows_by_kind.values())


def _block(samples: Dataset, rows: Sequence[int]) -> Block:
    atoms = len(samples[0].system)
    no_forces, no_stress = np.full((atoms, 3), np.nan), np.full((3, 3), np.nan)
    return Block(
        rows=np.array(rows, dtype=np.int64),
        numbers=samples[0].system.numbers,
        pbc=samples[0].system.pbc,
        positions=np.stack([sample.system.positions for sample in samples]),
        energy=np.array([np.nan if sample.energy is None else sample.energy for sample in samples]),
        forces=np.stack([no_forces if sample.forces is None else sample.forces for sample in samples]),
        stress=np.stack([no_stress if sample.stress is None else sample.stress for sample in samples]),
        cell=np.stack([np.eye(3) if sample.system.cell is None else sample.system.cell for sample in samples]),
    )
