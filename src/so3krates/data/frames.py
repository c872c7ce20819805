"""Frames: data sets that read a frame only when it is asked for, their named subsets, and several files as one."""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Int
from so3krates.data.sample import Dataset, Sample


@dataclass(frozen=True)
class About:
    """What a reader learned about a file before reading its frames.

    Attributes:
        path: the file.
        label_keys: label to the key it is read from, such as energy → REF_energy.
        units: the units of the file, in words.
        subsets: named subsets as frame indices.
        notes: oddities a user should hear of.
        keys: everything the file calls by a name, labels or not, apart from the structure itself.
    """

    path: Path
    label_keys: Mapping[str, str]
    units: str = "eV, Angstrom, eV/Angstrom, eV/Angstrom^3"
    subsets: Mapping[str, Int[np.ndarray, " frames"]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Frames(Dataset):
    """A data set on disk. Indexing reads one frame; a slice is a view that reads nothing."""

    @property
    @abstractmethod
    def about(self) -> About:
        """Where the labels come from, units, named subsets."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Read frame `index`, 0 ≤ index < len(self)."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Subset": ...
    def __getitem__(self, index: int | slice) -> "Sample | Subset":
        if isinstance(index, slice):
            return Subset(self, np.arange(len(self))[index])
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"frame {index} of {self.about.path}, which has {len(self)} frames.")
        return self.read(position)

    def subset(self, name: str) -> "Subset":
        """The frames of a named subset, or of a slice written `START:STOP` or `START:STOP:STEP`.

        A slice that reaches beyond the frames is cut short, and says so in the notes of its `about`.

        Raises:
            InputError: for a name the file does not have, listing those it has, or an empty subset.
        """
        if ":" in name:
            chosen = self._sliced(name)
        elif name in self.about.subsets:
            chosen = Subset(self, self.about.subsets[name], name)
        else:
            have = ", ".join(self.about.subsets) or "no named subsets"
            raise InputError(f"{self.about.path}: no subset '{name}'; the file has {have}.")
        if not len(chosen):
            raise InputError(f"{self.about.path}: subset '{name}' is empty; there are {len(self)} frames.")
        return chosen

    def _sliced(self, text: str) -> "Subset":
        path, length = self.about.path, len(self)
        bounds = _parse_slice(text, path)
        indices = np.arange(length)[bounds]
        if all(bound is None or abs(bound) <= length for bound in (bounds.start, bounds.stop)):
            return Subset(self, indices)
        note = f"{path}: the slice '{text}' reaches beyond the {length} frames; it holds {len(indices)} of them."
        return Subset(self, indices, notes=(note,))


class Subset(Frames):
    """Chosen frames of another data set, in the given order; `notes` join those of the data set."""

    def __init__(
        self, parent: Dataset, indices: Int[np.ndarray, " frames"], name: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        self.parent = parent
        self._notes = notes
        self.indices = np.asarray(indices, dtype=np.int64)
        self.name = name
        outside = (self.indices < 0) | (self.indices >= len(parent))
        if outside.any():
            raise InputError(
                f"subset '{name}' asks for frame {int(self.indices[outside][0])} of a data set of {len(parent)} frames."
            )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def about(self) -> About:
        """As of the whole file, without its named subsets, whose indices would mean nothing here."""
        whole = about(self.parent)
        return replace(whole, subsets={}, notes=whole.notes + self._notes)

    def read(self, index: int) -> Sample:
        return self.parent[int(self.indices[index])]

    def subset(self, name: str) -> "Subset":
        if ":" in name:
            return super().subset(name)
        raise InputError(f"a subset of {self.about.path} has no named subsets of its own; name '{name}' on the file.")


class Joined(Frames):
    """Several data sets one after the other."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *map(len, self.parts)]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def about(self) -> About:
        notes = tuple(note for part in self.parts for note in about(part).notes)
        first = about(self.parts[0])
        return About(first.path, first.label_keys, first.units, notes=notes, keys=first.keys)

    def read(self, index: int) -> Sample:
        part = bisect_right(self._starts, index) - 1
        return self.parts[part][index - self._starts[part]]


def about(dataset: Dataset) -> About:
    """What is known of any data set; a plain list of samples has no file."""
    if isinstance(dataset, Frames):
        return dataset.about
    return About(Path("(memory)"), {})


def _parse_slice(text: str, path: Path) -> slice:
    try:
        bounds = [int(part) if part else None for part in text.split(":")]
        if len(bounds) > 3 or (len(bounds) == 3 and bounds[2] == 0):
            raise ValueError(text)
    except ValueError:
        raise InputError(f"{path}: '{text}' is not a slice START:STOP or START:STOP:STEP of frames.") from None
    return slice(*bounds)
