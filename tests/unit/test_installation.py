"""The package installs where there is no compiler, and then runs in JAX."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = {"CXX": "/nowhere/c++", "CC": "/nowhere/cc"}

EVALUATE = """
import logging, sys
import jax
import numpy as np
from so3krates.model import ModelConfig, SO3krates
from so3krates.nn.fused import variants
from so3krates.potential import Potential
from so3krates.system import System

logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
potential = Potential(SO3krates(ModelConfig(features=12, layers=1), key=jax.random.key(0)), tolerance=1e-4)
for _ in range(2):
    energy, forces = potential.energy_and_forces(System(np.eye(3), np.array([8, 1, 1])))
assert not variants() and np.isfinite(energy) and np.isfinite(forces).all()
"""


@pytest.mark.slow
def test_without_a_compiler_the_package_is_built_and_runs(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed (extra dev)")
    pytest.importorskip("nanobind", reason="nanobind is not installed (extra dev)")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    built = subprocess.run(
        [*command, str(ROOT)], env={**os.environ, **NOWHERE}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("so3krates-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert not [name for name in names if name.endswith((".so", ".pyd", ".dylib"))]
    assert "so3krates/data/packaged/ethanol_pbe.npz" in names and "so3krates/viz/templates/style.css" in names
    found = subprocess.run(
        [sys.executable, "-c", EVALUATE],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("without its compiled kernel") == 1
