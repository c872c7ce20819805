"""The examples run and write what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_rmd17_writes_test_errors_and_a_learning_curve(shared_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "rmd17.py"), "ethanol", "--data", str(shared_dir / "data")]
    subprocess.run([*command, "--minutes", "0.5", "--output", str(tmp_path)], check=True, stdin=subprocess.DEVNULL)
    report = json.loads((tmp_path / "ethanol.json").read_text())
    assert report["test"]["frames"] == 1000
    # Ethanol's forces have a mean size of 0.9 eV/Å: whatever was learnt must show.
    assert report["test"]["errors"]["forces"]["mae"] < 0.5
    minutes = [point["minutes"] for point in report["learning_curve"]]
    assert len(minutes) >= 2 and minutes == sorted(minutes)
    assert (tmp_path / "ethanol.safetensors").exists()
