"""The script for energy drift: its error of a slope is that of independent fits, and it names what it knows."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[4] / "benchmarks"


@pytest.fixture
def nve_drift(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import nve_drift

    yield nve_drift
    for name in ("nve_drift", "results", "side_by_side", "structures", "workers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_the_error_of_a_slope_is_the_scatter_of_slopes(
    nve_drift: ModuleType, rng: np.random.Generator, memory: float
) -> None:
    """Of noise about a line, also when neighbouring frames resemble each other."""
    time = 0.01 * np.arange(2000)
    slopes, errors = [], []
    for _ in range(200):
        noise = rng.standard_normal(len(time))
        for frame in range(1, len(time)) if memory else ():
            noise[frame] += memory * noise[frame - 1]
        energy = 0.3 * time + noise
        slopes.append(np.polyfit(time, energy, 1)[0])
        errors.append(nve_drift.slope_error(time, energy))
    assert np.mean(slopes) == pytest.approx(0.3, abs=4 * np.std(slopes) / np.sqrt(200))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(slopes), rel=0.2)


def test_help_and_refusal() -> None:
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent / "src"), "COLUMNS": "120"}

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(BENCHMARKS / "nve_drift.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)

    done = ran("--help")
    assert done.returncode == 0, done.stderr
    assert "MODEL" in done.stdout and "--quick" in done.stdout
    done = ran("model.safetensors", "--only", "benzene")
    assert done.returncode == 1
    assert "unknown structure 'benzene'; choose from ethanol, AT-AT, Ala15, 64 waters" in done.stderr
