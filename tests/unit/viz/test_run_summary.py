"""The page about a run: drawn for every kind of run, with what it has to say."""

from pathlib import Path

import made_runs
import numpy as np
import pytest
from matplotlib.figure import Figure

from so3krates._errors import FileError
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.averages import block_average
from so3krates.md.records.summary import summarize
from so3krates.viz.run_summary import run_picture, write_run_picture


def summary(series: dict[str, np.ndarray], scalars_every: int = 4, **ensemble: object) -> dict:
    results = summarize(
        series,
        steps=11996,
        frames=len(series["step"]),
        atoms=9,
        degrees_of_freedom=24,
        steps_per_second=1e4,
        timestep_fs=0.5,
        retries=1,
        mass=46.1,
    )
    return {
        "trajectory": "run.h5",
        "ended": {"state": "complete", "reason": None, "sentence": None},
        "versions": {"so3krates": "0", "jax": "0"},
        "device": "cpu",
        "system": {"formula": "C2H6O", "atoms": 9, "pbc": [False] * 3},
        "settings": {
            "ensemble": {"kind": "Langevin", **ensemble},
            "timestep_fs": 0.5,
            "save_every": 4,
            "scalars_every": scalars_every,
            "seed": 1,
            "dtype": "float32",
            "model": "0123456789abcdef0123",
        },
        "results": results.as_dict(),
    }


def texts(figure: Figure) -> str:
    return "\n".join([text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title, ax._left_title]])


@pytest.fixture
def series(tmp_path: Path) -> dict[str, np.ndarray]:
    return Trajectory(made_runs.write_run(tmp_path / "run.h5")).series()


def test_temperature_energies_and_drift(series: dict[str, np.ndarray]) -> None:
    document = summary(series, temperature_K=300.0)
    picture = run_picture(series, document)
    assert len(picture.figure.axes) == 4
    said = texts(picture.figure)
    mean = block_average(series["temperature"][1:])
    assert mean.standard_error is not None
    assert f"{document['results']['temperature_K']['mean']:.0f}"[:2] in said and "bath 300 K" in said
    slope = document["results"]["drift"]["meV_per_atom_per_ps"]
    assert f"slope +{slope:.2g}"[:11] in said and "1 chunk, for longer" in said
    assert picture.figure.axes[-1].get_xlabel() == "time (ps); line: means of 6 frames, band: their range"
    few = {name: values[:100] for name, values in series.items()}
    assert run_picture(few, summary(few)).figure.axes[-1].get_xlabel() == "time (ps)"


def test_pressure_and_volume_have_panels_where_there_are_any(series: dict[str, np.ndarray]) -> None:
    frames = len(series["step"])
    edges = 10.0 + 0.1 * np.sin(np.arange(frames) / 50)
    moving = series | {"pressure": np.cos(np.arange(frames)), "volume": edges**3}
    ramp = {"time_ps": [0, 1], "value": [300, 400]}
    document = summary(moving, scalars_every=1, temperature_K=ramp, pressure_GPa=0.1)
    document["system"] |= {"pbc": [True] * 3, "density_g_cm3": 0.0765}
    picture = run_picture(moving, document)
    assert len(picture.figure.axes) == 6
    said = texts(picture.figure)
    assert "set to 0.1 GPa" in said and "bath 300 to 400 K (dashed)" in said and "temperature ramp" in said
    assert "temperature: follows a ramp, so no average" in said and "volume: follows a ramp, so no average" in said
    assert "pressure: mean" in said and picture.figure.axes[-1].get_xlabel().endswith("band: their range")
    (target,) = [line for line in picture.figure.axes[1].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(target.get_xydata()[:2], [[0, 300], [1, 400]])
    assert "frames every 2 fs, scalars every 0.5 fs" in said and "0.0765 g/cm³ at the start" in said
    low, high = picture.figure.axes[-1].get_ylim()
    assert low < edges.min() ** 3 < edges.max() ** 3 < high


def test_how_a_run_ended_is_said(series: dict[str, np.ndarray]) -> None:
    """Whole, in lines that stay on the page and lie above the table."""
    document = summary(series)
    sentence = ("too hot by far " * 30).strip()
    document["ended"] = {"state": "stopped", "reason": "too_hot", "sentence": sentence}
    figure = run_picture(series, document).figure
    assert f"run.h5, stopped: {sentence}" in texts(figure).replace("\n", " ")
    written = figure.axes[0].texts
    boxes = [text.get_window_extent() for text in written]
    table = next(box for text, box in zip(written, boxes, strict=True) if text.get_text() == "system")
    for text, box in zip(written, boxes, strict=True):
        assert box.x1 <= figure.bbox.x1
        if "too hot" in text.get_text():
            assert box.y0 >= table.y1
    assert min(box.y0 for box in boxes) >= figure.axes[1].get_window_extent().y1


def test_an_error_that_is_a_lower_bound_is_said_in_words(series: dict[str, np.ndarray]) -> None:
    document = summary(series, temperature_K=300.0)
    document["results"]["temperature_K"] = {
        "mean": 424.27,
        "spread": 118.0,
        "standard_error": 14.0,
        "converged": False,
    }
    said = texts(run_picture(series, document).figure)
    assert "temperature: mean 424 K, error at least 14 K; spread 120 K; bath 300 K (dashed)" in said


def test_exchange_and_a_committee_are_said(series: dict[str, np.ndarray]) -> None:
    exchanged = series | {"walker": np.zeros(len(series["step"]), np.int64)}
    document = summary(series, temperature_K=300.0)
    assert "exchange" not in texts(run_picture(series, document).figure)
    document["results"]["disagreement"] = {
        "largest_eV_per_A": 0.1234,
        "step": 70,
        "time_ps": 0.035,
        "atom": 5,
        "mean_eV_per_A": 0.05,
    }
    said = texts(run_picture(exchanged, document).figure)
    assert "Langevin, 300 K, with temperature exchange" in said
    assert "at most 0.123, in the mean 0.05 eV/Å" in said and "most at 0.035 ps about atom 5" in said


def test_a_run_of_one_frame(series: dict[str, np.ndarray]) -> None:
    short = {name: values[:1] for name, values in series.items()}
    document = summary(short)
    assert document["results"]["drift"] is None
    said = texts(run_picture(short, document).figure)
    assert "slope" not in said and "error unknown" in said and "steps, 1 frame\n" in said
    assert "spread" not in said


def test_the_file_needs_its_summary(tmp_path: Path) -> None:
    path = made_runs.write_run(tmp_path / "run.h5", frames=10)
    with pytest.raises(FileError, match=r"run\.summary\.json is not a readable summary"):
        write_run_picture(path)
