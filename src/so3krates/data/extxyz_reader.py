"""Extended XYZ by an index of byte offsets: one pass over the file at opening, then one frame at a time."""

import io
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import ase
import ase.io
import numpy as np

from so3krates._errors import FileError, InputError
from so3krates.data import labels
from so3krates.data.ase_readers import sample_from_atoms
from so3krates.data.declared_units import UnitNames, conversion
from so3krates.data.frames import About, Frames
from so3krates.data.labels import LabelKeys
from so3krates.data.sample import Sample

_KEY_VALUE = re.compile(r"""([^\s=]+)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\{[^}]*\}|\[[^\]]*\]|[^\s]*)""")
_UNIT_KEYS = UnitNames("energy_unit", "length_unit", "force_unit", "stress_unit", "dipole_unit")


class _Index(NamedTuple):
    starts: list[int]
    """Byte offset of each frame, and the end of the last."""
    keys: Counter[str]
    subsets: dict[str, list[int]]
    units: UnitNames
    cut: bool
    """Whether the file ends without a line break."""


class ExtxyzFrames(Frames):
    """An `.xyz` or `.extxyz` file. Opening scans it once and keeps 8 bytes per frame.

    One key per label serves the whole file (`labels.choose_keys`). Named subsets come from `split=NAME` in the
    comment lines, units from `energy_unit=…`, `length_unit=…`, `force_unit=…`, `stress_unit=…`, `dipole_unit=…` if
    present, else eV and Å.

    Raises:
        FileError: for a truncated frame or a line that is no atom count, naming the frame.
        InputError: for frames that state different units.
    """

    def __init__(self, path: Path, declared: UnitNames, wanted: LabelKeys) -> None:
        self._path = path
        with path.open("rb") as file:
            index = _scan(file, path)
        self._starts = np.array(index.starts, dtype=np.int64)
        self._keys = labels.choose_keys(index.keys, wanted, str(path))
        self._units = conversion(declared, index.units, source=str(path))
        notes = labels.unused_key_notes(index.keys, self._keys, len(self), str(path))
        if index.cut:
            notes += (f"{path}: the file does not end with a line break; its last number may be cut short.",)
        subsets = {name: np.array(frames, dtype=np.int64) for name, frames in index.subsets.items()}
        names = labels.names_beside_structure(index.keys)
        self._about = About(path, self._keys.used(), str(self._units), subsets, notes, names)
        if len(self):
            self._atoms(len(self) - 1)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def about(self) -> About:
        return self._about

    def read(self, index: int) -> Sample:
        return sample_from_atoms(self._atoms(index), self._keys, self._units, f"{self._path}, frame {index}")

    def _atoms(self, index: int) -> ase.Atoms:
        with self._path.open("rb") as file:
            file.seek(self._starts[index])
            text = file.read(int(self._starts[index + 1] - self._starts[index])).decode("utf-8", "replace")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ase.io.read(io.StringIO(text), format="extxyz")  # type: ignore[return-value]
        except KeyError as error:
            raise InputError(f"{self._path}, frame {index}: unknown element {error}.") from error
        except Exception as error:  # the parser fails with many kinds of errors on damaged text
            raise FileError(
                f"{self._path}, frame {index}: cannot be parsed ({type(error).__name__}: {error}); "
                "the frame is damaged or the file is truncated."
            ) from error


def _scan(file: BinaryIO, path: Path) -> _Index:
    """One pass: offsets, the keys in use, named subsets, stated units."""
    starts = [0]
    keys: Counter[str] = Counter()
    subsets: dict[str, list[int]] = defaultdict(list)
    units: UnitNames | None = None
    cut = False
    for frame, (size, comment, last) in enumerate(_frames(file, path)):
        cut = not last.endswith(b"\n")
        starts.append(starts[-1] + size)
        values = dict(_KEY_VALUE.findall(comment.decode("utf-8", "replace")))
        keys.update({*values, *values.get("Properties", "").split(":")[::3]})
        if "split" in values:
            subsets[values["split"].strip("\"'")].append(frame)
        here = UnitNames(*(values[key].strip("\"'") if key in values else None for key in _UNIT_KEYS))
        if units is not None and here != units:
            raise InputError(f"{path}, frame {frame}: mixed units, {here} here but {units} before; convert them first.")
        units = here
    return _Index(starts, keys, dict(subsets), units or UnitNames(), cut)


def _frames(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Size in bytes, comment line and last line of each frame."""
    frame = 0
    while header := file.readline():
        if not header.strip():
            if file.read().strip():
                raise FileError(f"{path}, frame {frame}: an empty line where the number of atoms is expected.")
            return
        if not header.strip().isdigit():
            raise FileError(f"{path}, frame {frame}: expected a number of atoms, found {header[:40]!r}.")
        atoms = int(header)
        comment = file.readline()
        lines = list(islice(file, atoms))
        if len(lines) < atoms or not comment:
            raise FileError(
                f"{path}, frame {frame}: announces {atoms} atoms but holds {len(lines)}; the file is truncated."
            )
        yield len(header) + len(comment) + sum(map(len, lines)), comment, lines[-1] if lines else comment
        frame += 1
