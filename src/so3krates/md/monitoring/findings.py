"""What was noticed in the saved frames of a run: events, and how much a committee disagreed."""

from typing import Any, NamedTuple

import numpy as np

from so3krates._typing import Float, Int
from so3krates.md.monitoring.monitor import Kind


class Event(NamedTuple):
    """Something that happened, seen at a saved frame for the first time."""

    step: int
    time_fs: float
    kind: Kind
    atoms: tuple[int, ...]
    """The two atoms of a bond; all atoms of the part that left; the atom whose force is disputed most."""
    value: float
    """Length of the bond in Å, gap in Å, or disagreement in eV/Å."""
    sentence: str


class Disagreement(NamedTuple):
    """Of a committee, one row for each saved frame it saw.

    At each atom the standard deviation of its force over the M potentials, √(Σ_m |F_m − F̄|²/M); of these the largest.
    """

    step: Int[np.ndarray, " frames"]
    largest: Float[np.ndarray, " frames"]
    """eV/Å."""
    atom: Int[np.ndarray, " frames"]
    """Where it is largest."""

    @classmethod
    def none(cls) -> "Disagreement":
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))

    def then(self, other: "Disagreement") -> "Disagreement":
        """One after the other."""
        return Disagreement(*(np.concatenate(both) for both in zip(self, other, strict=True)))


class Findings(NamedTuple):
    """All of it up to some frame."""

    events: tuple[Event, ...]
    disagreement: Disagreement

    @classmethod
    def none(cls) -> "Findings":
        return cls((), Disagreement.none())

    def as_json(self) -> list[list[Any]]:
        """The events, for the header of a checkpoint."""
        return [list(event) for event in self.events]

    @classmethod
    def of(cls, events: list[list[Any]], series: dict[str, np.ndarray]) -> "Findings":
        """From what a checkpoint holds."""
        found = (Event(*event) for event in events)
        return cls(tuple(event._replace(atoms=tuple(event.atoms)) for event in found), Disagreement(**series))
