"""`so3krates sample` and `so3krates label`: what they write, say, and return."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from so3krates.cli import main

SPRINGS = f"{Path(__file__).with_name('fakes.py')}:Springs"


@pytest.fixture
def water(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    return tmp_path / "water.xyz"


def sampled(water: Path, *more: str) -> int:
    options = ["--calculator", SPRINGS, "--temperature-K", "300", "600", "--frames", "3", "--interval-fs", "2"]
    output = str(water.with_name("frames.extxyz"))
    return main(["sample", str(water), "-o", output, *options, "--equilibration-ps", "0", "--no-watch-bonds", *more])


def labelled(water: Path, *more: str) -> int:
    source, output = (str(water.with_name(name)) for name in ("frames.extxyz", "labelled.extxyz"))
    return main(["label", source, "-o", output, "--calculator", SPRINGS, *more])


def test_from_one_structure_to_labelled_data(water: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sampled(water, "--seed", "3") == 0
    assert "300 K: 3 structures" in (told := capsys.readouterr().out)
    assert "frames.extxyz: 6 structures" in told
    assert labelled(water, "--arguments", '{"stiffness": 2.0}', "--theory", "springs") == 0
    assert "labelled.extxyz: 6 of 6 structures labelled" in capsys.readouterr().out
    frames = ase.io.read(water.with_name("labelled.extxyz"), ":")
    assert [atoms.info["temperature_K"] for atoms in frames] == [300] * 3 + [600] * 3
    assert {atoms.info["level_of_theory"] for atoms in frames} == {"springs"}
    for atoms in frames:
        np.testing.assert_array_equal(atoms.arrays["REF_forces"], -2.0 * atoms.positions)


def test_failures_are_an_exit_status_and_a_sentence(water: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sampled(water) == 0
    assert labelled(water, "--arguments", '{"not_finite": true}') == 1
    told = capsys.readouterr().err
    assert "6 of 6 structures have no label" in told
    assert "labelled.extxyz.failures.jsonl" in told
    assert "the first is frame 0" in told


def test_a_trajectory_that_stops_is_an_exit_status_and_a_sentence(
    water: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sampled(water, "--arguments", '{"fail_above": -9}') == 1
    assert "2 of 2 trajectories stopped early, the first: RuntimeError: no convergence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--calculator", "nothing"], "neither of pyscf, tblite nor an import path"),
        (["--arguments", "{"], "are not JSON"),
        (["--frames", "0"], "'frames': Input should be greater than or equal to 1, received 0"),
        (["--interval-fs", "0.7"], "0.7 fs is no multiple of the time step 0.5 fs"),
        (["--temperature-K", "-5"], "received -5.0"),
    ],
)
def test_bad_input_is_one_sentence(
    water: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--calculator": SPRINGS, "--temperature-K": "300", "--frames": "1"} | {more[0]: more[1]}
    output = str(water.with_name("frames.extxyz"))
    given = [word for option in options.items() for word in option]
    assert main(["sample", str(water), "-o", output, *given]) == 1
    told = capsys.readouterr().err.strip()
    assert sentence in told
    assert told.splitlines()[-1].startswith("error: ")


def test_an_interrupt_says_that_the_work_is_kept(water: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sampled(water) == 0
    assert labelled(water, "--arguments", '{"interrupt_after": 4}') == 130
    assert "kept" in capsys.readouterr().err
    journal = water.with_name("labelled.extxyz.journal")
    assert journal.read_text().count("\n") == 5
