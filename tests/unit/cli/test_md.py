"""`so3krates md` from the command line: files, exit status, sentences."""

from pathlib import Path

import ase.build
import ase.io
import jax
import numpy as np
import pytest
from oracles.long_range import long_range_potential

from so3krates.cli.app import main
from so3krates.io.model_file import save
from so3krates.io.trajectory import Trajectory
from so3krates.model import ModelConfig, SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with random, weak parameters, and a molecule."""
    folder = tmp_path_factory.mktemp("md")
    config = ModelConfig(features=8, layers=1, heads=2, degrees=(1, 2), radial_functions=4)
    model = SO3krates(config, key=jax.random.key(0))
    elements = ElementTable(numbers=(1, 6, 8), energies=(-13.0, -1000.0, -2000.0))
    save(Potential(model, elements).astype("float32"), folder / "model.safetensors")
    ase.io.write(folder / "start.xyz", ase.build.molecule("CH3OH"))
    return folder


def run(files: Path, output: Path, *more: str) -> int:
    arguments = ["md", str(files / "model.safetensors"), str(files / "start.xyz"), "-o", str(output)]
    return main([*arguments, "--max-bond-deviation", "50", "--min-distance", "0.01", *more])


LANGEVIN = ("--ensemble", "langevin", "--temperature-K", "100", "--time-ps", "0.02", "--save-every-fs", "1")


def test_run_exists_resume(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run.h5"
    assert run(files, output, *LANGEVIN) == 0
    assert "ns/day" in capsys.readouterr().out
    assert len(Trajectory(output)) == 21
    assert run(files, output, *LANGEVIN) == 1
    assert "exists" in capsys.readouterr().err
    longer = [word if word != "0.02" else "0.03" for word in LANGEVIN]
    assert run(files, output, *longer, "--resume") == 0
    assert len(Trajectory(output)) == 31
    assert run(files, output, *LANGEVIN, "--resume", "--seed", "4") == 1
    assert "another model, start structure or settings" in capsys.readouterr().err


def test_a_stopped_run_has_its_own_exit_status(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, tmp_path / "run.h5", *LANGEVIN, "--max-temperature-K", "1") == 3
    error = capsys.readouterr().err
    assert error.startswith("stopped: ") and "exceeds 1 K" in error and "run_stopped.extxyz" in error
    assert np.isfinite(ase.io.read(tmp_path / "run_stopped.extxyz", -1).positions).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--time-ps", "1"), "needs --temperature-K"),
        (("--time-ps", "1", "--ensemble", "nve"), "nve needs --temperature-K, or velocities"),
        (("--time-ps", "1", "--ensemble", "nve", "--friction-per-ps", "1"), "belongs to langevin"),
        (("--time-ps", "0", "--temperature-K", "300"), "must be positive"),
        (("--time-ps", "1", "--temperature-K", "-300"), "greater than 0"),
        (("--time-ps", "1", "--temperature-K", "300", "--timestep-fs", "100"), "at most 10 fs"),
        (("--time-ps", "1", "--temperature-K", "300", "--timestep-fs", "0"), "at most 10 fs"),
    ],
)
def test_impossible_requests(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run(files, tmp_path / "run.h5", *options) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.count("\n") == 1
    assert not (tmp_path / "run.h5").exists()


def test_missing_start(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["md", str(files / "model.safetensors"), "nowhere.xyz", "-o", str(tmp_path / "run.h5"), *LANGEVIN]
    assert main(arguments) == 1
    assert "does not exist" in capsys.readouterr().err


def test_errors_of_the_structure_name_its_file(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = ase.build.molecule("NH3")
    charged = ase.build.molecule("CH3OH")
    charged.info["charge"] = 50
    for structure, message in ((atoms, "holds N, but the model"), (charged, "leaves -32 electrons")):
        ase.io.write(tmp_path / "strange.extxyz", structure)
        arguments = [str(files / "model.safetensors"), str(tmp_path / "strange.extxyz"), "-o", str(tmp_path / "run.h5")]
        assert main(["md", *arguments, *LANGEVIN]) == 1
        error = capsys.readouterr().err
        assert message in error and str(tmp_path / "strange.extxyz") in error


def test_a_run_shorter_than_the_usual_interval(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its last state is a frame, and what is told are the steps made."""
    output = tmp_path / "run.h5"
    assert run(files, output, "--temperature-K", "100", "--time-ps", "0.005") == 0
    printed = capsys.readouterr().out
    assert "compiling" in printed and "0.005 ps, 10 steps, 2 frames" in printed
    assert Trajectory(output).read().step.tolist() == [0, 10]
    assert run(files, output, "--temperature-K", "100", "--time-ps", "0.03", "--resume") == 0
    assert Trajectory(output).read().step.tolist() == [0, 10, 20, 30, 40, 50, 60]
    capsys.readouterr()
    uneven = ("--temperature-K", "100", "--time-ps", "0.0125")
    assert run(files, output, *uneven, "--overwrite") == 0
    assert "0.0125 ps, 25 steps, 2 frames" in capsys.readouterr().out


def test_the_speed_told_is_without_compilation(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a run of one chunk: this program takes a second to compile, and microseconds for a step."""
    assert run(files, tmp_path / "run.h5", "--temperature-K", "100", "--time-ps", "0.005", "--seed", "7") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "steps/s" in line and "speed" in line]
    assert float(line.split("ns/day, ")[1].split()[0]) > 100.0


def test_remarks_on_the_structure_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(long_range_potential(dtype="float32"), tmp_path / "model.safetensors")
    ase.io.write(tmp_path / "radical.extxyz", ase.build.molecule("CH3"))
    arguments = [str(tmp_path / "model.safetensors"), str(tmp_path / "radical.extxyz"), "-o", str(tmp_path / "run.h5")]
    options = ["--temperature-K", "10", "--time-ps", "0.0005", "--max-bond-deviation", "50", "--min-distance", "0.01"]
    main(["md", *arguments, *options])
    assert "CH3 has 9 electrons" in capsys.readouterr().out
