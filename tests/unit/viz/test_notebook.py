"""Trajectories handed to chemiscope."""

import gzip
import json
from pathlib import Path

import made_runs
import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates.io.trajectory import Frames, Trajectory, append_frames, create_trajectory
from so3krates.viz import notebook
from so3krates.viz.notebook import chemiscope_dataset, show_trajectory, write_chemiscope


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_runs.write_run(tmp_path / "run.h5", frames=40)


def test_without_chemiscope_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"so3krates\[viz\]"):
        show_trajectory(run)


def test_other_suffixes_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.xyz: chemiscope reads"):
        write_chemiscope(run, tmp_path / "run.xyz")


def test_the_written_file_holds_structures_and_properties_of_the_trajectory(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("chemiscope", reason="needs the extra viz")
    write_chemiscope(run, tmp_path / "run.json.gz", every=10)
    with gzip.open(tmp_path / "run.json.gz") as file:
        written = json.load(file)
    frames = Trajectory(run).read(every=10)
    assert [s["size"] for s in written["structures"]] == [9] * 4
    np.testing.assert_allclose(written["structures"][2]["x"], frames.positions[2, :, 0], atol=1e-6)
    time = written["properties"]["time"]
    assert time["units"] == "ps"
    np.testing.assert_allclose(time["values"], frames.time_fs / 1000.0)
    np.testing.assert_allclose(written["properties"]["temperature"]["values"], frames.temperature, rtol=1e-6)


def test_stored_forces_become_arrows_on_one_scale(tmp_path: Path) -> None:
    pytest.importorskip("chemiscope", reason="needs the extra viz")
    plain = Trajectory(made_runs.write_run(tmp_path / "run.h5", frames=3)).read()
    forces = np.random.default_rng(0).normal(size=plain.positions.shape)
    path = tmp_path / "forces.h5"
    create_trajectory(path, made_runs.ethanol(), {}, forces=True, dtype="float32")
    append_frames(path, Frames(**{**plain.present(), "forces": forces}))
    arrows = chemiscope_dataset(path)["shapes"]["forces"]["parameters"]["atom"]
    vectors = np.array([arrow["vector"] for arrow in arrows])
    assert np.linalg.norm(vectors, axis=1).max() == pytest.approx(notebook.ARROW_ANGSTROM)
    np.testing.assert_allclose(vectors / vectors[0, 0], forces.reshape(-1, 3) / forces[0, 0, 0], rtol=1e-5)
    with pytest.warns(UserWarning, match="notebook"):  # chemiscope's own, where there is none
        assert type(show_trajectory(path)).__name__ == "ChemiscopeWidget"


def test_a_trajectory_without_frames_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("chemiscope", reason="needs the extra viz")
    create_trajectory(tmp_path / "empty.h5", made_runs.ethanol(), {}, forces=False, dtype="float32")
    with pytest.raises(InputError, match=r"empty\.h5 holds no frame"):
        chemiscope_dataset(tmp_path / "empty.h5")
