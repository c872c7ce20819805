"""Options that the benchmarks share on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import cyclopts
from side_by_side import Protocol
from structures import shared

Each = TypeVar("Each", str, int)


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Geometries:
    """Where the structures come from."""

    structures: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None
    """Folder of the start geometries; `structures` in SHARED_DIR, or in `shared` beside the repository."""

    @property
    def folder(self) -> Path:
        return self.structures or shared("structures")


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Molecules(Geometries):
    """Which structures."""

    only: list[str] | None = None
    """Names of the structures to measure; all if not given."""

    def names(self, known: Sequence[str], *, quick: bool) -> list[str]:
        return _picked(self.only, known, quick, "unknown structure '{}'")


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Boxes(Geometries):
    """Which boxes of water."""

    atoms: list[int] | None = None
    """Sizes to measure; all if not given."""

    def sizes(self, known: Sequence[int], *, quick: bool) -> list[int]:
        return _picked(self.atoms, known, quick, "no box of {} atoms")


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Storing:
    """What becomes of the figures."""

    quick: bool = False
    """The smallest structure alone and hardly any repetitions, only to see that everything works."""
    output: Path | None = None
    """JSON file to write; if not given the committed result, but none with --quick or when only a part is measured."""

    def target(self, committed: Path, *, whole: bool = True) -> Path | None:
        """The file to write; None: nothing is stored.

        Args:
            committed: the result in the repository.
            whole: whether all that stands there was measured.
        """
        return self.output or (committed if whole and not self.quick else None)


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Measuring(Storing):
    """How to measure."""

    threads: int = 2
    """Cores and threads to use; every engine has the same ones."""


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Comparing(Measuring):
    """How to measure, and beside whom."""

    so3krates_torch_python: Path | None = None
    """Interpreter of an environment with so3krates-torch; without it that package is left out."""
    mace_python: Path | None = None
    """Interpreter of an environment with mace-torch; without it that package is left out."""

    @property
    def protocol(self) -> Protocol:
        return Protocol.quick(self.threads) if self.quick else Protocol.full(self.threads)


def _picked(asked: Sequence[Each] | None, known: Sequence[Each], quick: bool, unknown: str) -> list[Each]:
    """What is asked for, or else all that is known."""
    for each in asked or ():
        if each not in known:
            raise SystemExit(f"{unknown.format(each)}; choose from {', '.join(map(str, known))}.")
    return list(asked or (known[:1] if quick else known))
