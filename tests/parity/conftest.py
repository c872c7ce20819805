"""SO3LR's weights, converted once for all tests that need them."""

from pathlib import Path

import pytest

from so3krates.io.foreign_convert import convert_mlff, find_files


@pytest.fixture(scope="session")
def reference(shared_dir: Path) -> Path:
    return shared_dir / "reference"


@pytest.fixture(scope="session")
def so3lr_file(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Through the converter, from the pickle that its authors publish."""
    output = tmp_path_factory.mktemp("so3lr") / "so3lr.safetensors"
    convert_mlff(find_files(reference / "so3lr"), output, reference=reference / "so3lr_ethanol_lr1000.npz")
    return output
