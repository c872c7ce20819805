"""Options that the benchmarks share on the command line."""

from dataclasses import dataclass
from pathlib import Path

import cyclopts
from side_by_side import Protocol


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How to measure, and beside whom."""

    so3krates_torch_python: Path | None = None
    """Interpreter of an environment with so3krates-torch; without it that package is left out."""
    mace_python: Path | None = None
    """Interpreter of an environment with mace-torch; without it that package is left out."""
    threads: int = 2
    """Threads of every engine, all on the same cores."""
    quick: bool = False
    """Ethanol alone and hardly any repetitions, only to see that everything works."""
    output: Path | None = None
    """JSON file to write; the committed result if not given, and none with --quick."""

    @property
    def protocol(self) -> Protocol:
        return Protocol.quick(self.threads) if self.quick else Protocol.full(self.threads)

    def target(self, committed: Path) -> Path | None:
        """The file to write; None: nothing is stored."""
        return self.output or (None if self.quick else committed)
