"""Finding and running what the README and the documentation show.

A fenced block after a line `<!-- run -->` is executed; `<!-- run slow -->` only with the slow tests. Budgets can be
cut: `<!-- run: --minutes 30 => --steps 5; 300 => 1 -->` replaces text that must occur in the block.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BLOCK = re.compile(
    r"^(?:<!-- run(?P<slow> slow)?(?:: (?P<cuts>[^\n]*?))? -->\n+)?"
    r"```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str
    run: bool
    slow: bool
    cuts: tuple[tuple[str, str], ...]

    def cut(self) -> str:
        """The code with its budgets cut."""
        code = self.code
        for old, new in self.cuts:
            assert old in code, f"{self.page}:{self.line} shortens {old!r}, which the block does not hold"
            code = code.replace(old, new)
        return code


def _blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [_block(page.relative_to(ROOT).as_posix(), text, match) for match in BLOCK.finditer(text)]


def _block(page: str, text: str, match: re.Match[str]) -> Block:
    cuts = [tuple(part.strip() for part in cut.split("=>")) for cut in (match["cuts"] or "").split(";") if cut.strip()]
    return Block(
        page=page,
        line=text.count("\n", 0, match.start()) + 1,
        language=match["language"],
        code=match["code"],
        run=match[0].startswith("<!-- run"),
        slow=match["slow"] is not None,
        cuts=tuple(cuts),  # type: ignore[arg-type]
    )


@pytest.fixture
def blocks() -> Callable[[Path], list[Block]]:
    """The fenced blocks of a page."""
    return _blocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the files that the pages speak of and a `so3krates` on the path."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    command = bin_folder / "so3krates"
    # Guarded like an installed command, since worker processes import it.
    guarded = "if __name__ == '__main__':\n    sys.exit(main())\n"
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom so3krates.cli import main\n\n{guarded}")
    command.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
def execute(folder: Path) -> Callable[[Sequence[Block]], None]:
    """Run blocks one after the other; the first that fails is reported with its output."""

    def run(chosen: Sequence[Block]) -> None:
        python = Path(sys.executable).parent
        environment = os.environ | {
            "PATH": os.pathsep.join([str(folder.parent / "bin"), str(python), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path),
            "MPLBACKEND": "Agg",
            "SO3KRATES_DEBUG": "1",
            "SO3KRATES_CACHE": str(folder.parent / "cache"),
        }
        for block in chosen:
            arguments = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-W", "error", "-c"]}
            done = subprocess.run(
                [*arguments[block.language], block.cut()],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, f"{block.page}:{block.line} failed:\n{block.cut()}\n{done.stdout[-5000:]}"

    return run


EXAMPLES = {"train": 400, "valid": 50, "test": 50}
"""Subset of the packaged data -> frames of it that the pages work with."""


@pytest.fixture
def example_files(folder: Path) -> None:
    """The files that the pages speak of, from the ethanol data in the package; small, since budgets are cut too."""
    from ase.io import write

    from so3krates.data.readers import read_dataset
    from so3krates.demo import ETHANOL

    frames = {name: _labelled(read_dataset(f"{ETHANOL}@{name}"), count) for name, count in EXAMPLES.items()}
    for name, atoms in frames.items():
        write(folder / f"{name}.extxyz", atoms)
    write(folder / "data.extxyz", frames["train"])
    write(folder / "start.xyz", frames["test"][0])


@pytest.fixture
def published_weights(folder: Path, shared_dir: Path) -> None:
    """SO3LR in the cache, as if it had been pulled."""
    from so3krates.io.foreign_convert import find_files
    from so3krates.io.weights import convert_published

    (folder.parent / "cache").mkdir()
    weights = find_files(shared_dir / "reference" / "so3lr")
    convert_published("so3lr", weights, folder.parent / "cache" / "so3lr.safetensors")


def _labelled(samples: Sequence, count: int) -> list:
    """ASE Atoms with labels under the keys of reference data."""
    chosen = []
    for sample in samples[:count]:
        atoms = sample.system.to_ase()
        atoms.info["REF_energy"] = sample.energy
        atoms.arrays["REF_forces"] = sample.forces
        chosen.append(atoms)
    return chosen
