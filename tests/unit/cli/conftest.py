"""Small files for commands that run dynamics."""

from pathlib import Path

import ase.build
import ase.io
import jax
import pytest

from so3krates.io.model_file import save
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny networks with random, weak parameters, and a molecule."""
    folder = tmp_path_factory.mktemp("md")
    config = ModelConfig(features=8, layers=1, heads=2, degrees=(1, 2), radial_functions=4)
    elements = ElementTable(numbers=(1, 6, 8), energies=(-13.0, -1000.0, -2000.0))
    for seed, name in enumerate(("model", "second")):
        model = SO3krates(config, key=jax.random.key(seed))
        save(Potential(model, elements).astype("float32"), folder / f"{name}.safetensors")
    ase.io.write(folder / "start.xyz", ase.build.molecule("CH3OH"))
    return folder
