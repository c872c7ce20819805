"""Options of every command that runs a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

if TYPE_CHECKING:
    from so3krates.potential import Potential


@Parameter(name="*")
@dataclass(frozen=True)
class Running:
    """How far long-range terms reach, and whether functions of distance are read from tables."""

    long_range_cutoff: float | None = None
    """Å; if not given, that of the model file, if any, else 12 for periodic structures and none (1000) for
    molecules."""
    isolated: bool | None = None
    """Take structures as isolated although they have a cell, or never; if not given, where the cell is empty and so
    large that it only stands for vacuum."""
    full_range: bool = False
    """Sum electrostatics over all periodic images (P3M) instead of cutting it off."""
    exact: bool | None = None
    """Evaluate the network's functions of distance as they are, or read them from tables, which is faster; if not
    given, exact in double precision alone."""

    def load(self, model: Path, dtype: str) -> "Potential":
        """The potential with these options."""
        from so3krates.io.loading import load

        return load(
            model,
            dtype,
            long_range_cutoff=self.long_range_cutoff,
            isolated=self.isolated,
            full_range=self.full_range,
            exact=self.exact,
        )
