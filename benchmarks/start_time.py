"""Seconds from the start of a command to its first step, with no compiled programs kept yet and with them.

    python benchmarks/start_time.py

`so3krates md` on ethanol and AT-AT, `so3krates train` on rMD17 ethanol: whole processes, with imports and compilation.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import ase.io
import cyclopts
import equinox as eqx
import jax
import numpy as np
from options import Geometries, Measuring
from results import figures, finish, own_document
from structures import shared, structure
from train_throughput import write_frames
from workers import pinned

from so3krates.inference import TOLERANCE
from so3krates.io.model_file import save
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable

RESULT = Path(__file__).parent / "results" / "start_time.json"
STRUCTURES = ("ethanol", "AT-AT")
ROUNDS = 3
FRAMES = 200
TRAINING_STEPS = 20
"""One chunk of the training loop: the first thing it reports."""


def write_model(path: Path) -> None:
    """The article's model with random parameters, its energies so small that structures stay what they are."""
    model = SO3krates(ModelConfig(), key=jax.random.key(0))
    gentle = eqx.tree_at(lambda m: m.energy.scale, model, model.energy.scale * np.float32(1e-3))
    elements = ElementTable(numbers=(1, 6, 7, 8), energies=(0.0,) * 4)
    save(Potential(gentle, elements, tolerance=TOLERANCE), path)


def seconds_to(word: str, command: Sequence[str], programs: Path, log: Path) -> float:
    """Seconds until `word` is in what the command prints or writes to its log; the command then runs to its end.

    Raises:
        RuntimeError: if the command fails or never says it.
    """
    environment = {**os.environ, "SO3KRATES_COMPILED_PROGRAMS": str(programs), "PYTHONUNBUFFERED": "1"}
    said = log.with_suffix(".printed")
    log.unlink(missing_ok=True)
    with said.open("w") as printed:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "so3krates", *command], stdout=printed, stderr=subprocess.STDOUT, env=environment
        )
        while True:
            ended = process.poll() is not None
            found = any(word in path.read_text(encoding="utf-8") for path in (said, log) if path.exists())
            if found or ended:
                break
            time.sleep(0.01)
        taken = time.perf_counter() - began
        status = process.wait()
    if status or not found:
        raise RuntimeError(
            f"{' '.join(command)} ended with status {status}:\n{said.read_text(encoding='utf-8')[-2000:]}"
        )
    return taken


def commands(folder: Path, data: Path, shapes: Path, names: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
    """What is started, and what it says after its first step."""
    model = folder / "model.safetensors"
    write_model(model)
    found: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        start = folder / f"{name}.xyz"
        ase.io.write(start, structure(name, shapes))
        options = "--ensemble langevin --temperature-K 10 --time-ps 0.01 --overwrite -o".split()
        found[f"md {name}"] = ("step ", ["md", str(model), str(start), *options, str(folder / "run.h5")])
    frames = folder / "frames.extxyz"
    write_frames(data / "rmd17_ethanol.npz", frames, FRAMES)
    options = f"--n-train {FRAMES - 20} --n-valid 20 --batch-size 8 --steps {TRAINING_STEPS} --overwrite -o".split()
    found["train ethanol"] = ("progress", ["train", "--data", str(frames), *options, str(folder / "log.safetensors")])
    return found


def main(
    *,
    data: Annotated[Path | None, cyclopts.Parameter(show_default=False)] = None,
    geometries: Geometries | None = None,
    options: Measuring | None = None,
) -> None:
    """Measure the time to the first step of md and train.

    Parameters
    ----------
    data
        Folder of `rmd17_ethanol.npz`; `data` in SHARED_DIR, or in `shared` beside the repository.
    """
    load, geometries, options = os.getloadavg()[0], geometries or Geometries(), options or Measuring()
    rounds, names = (1, STRUCTURES[:1]) if options.quick else (ROUNDS, STRUCTURES)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch, pinned(options.threads):
        folder = Path(scratch)
        started = commands(folder, data or shared("data"), geometries.folder, names)
        for name, (word, command) in started.items():
            samples: dict[str, list[float]] = {"cold": [], "warm": []}
            for number in range(rounds):
                programs = folder / f"{name}-{number}"
                for kind in samples:
                    samples[kind].append(seconds_to(word, command, programs, folder / "log.log.jsonl"))
            rows[name] = {kind: round(float(np.median(values)), 2) for kind, values in samples.items()}
    protocol = {"rounds": rounds, "threads": options.threads, "unit": "s", "figure": "median"}
    table = figures("seconds to the first step", "", "no programs kept", "programs kept")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[kind]:.1f}" for kind in ("cold", "warm")))
    finish(own_document("start_time", load, protocol, rows), table, options.target(RESULT))


if __name__ == "__main__":
    cyclopts.run(main)
