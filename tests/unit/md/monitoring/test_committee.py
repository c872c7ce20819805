"""A committee: its numbers against a closed form, its series, its limit, and who may sit in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from so3krates import md
from so3krates._errors import InputError
from so3krates.md.engine import engine
from so3krates.md.monitoring import committee as module
from so3krates.md.monitoring.committee import Committee
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System

EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 9.0
DEPTHS = (1.0, 1.3, 0.6)
"""Of the wells of three potentials, in those of the first: so are their forces."""
SPREAD = float(np.std(DEPTHS))


def others(dtype: str = "float64") -> list[Potential]:
    return [Potential(LennardJones(depth * EPSILON, SIGMA, CUTOFF, dtype=dtype)) for depth in DEPTHS[1:]]


@pytest.mark.parametrize("frames", [1, 19, 20, 45])
def test_the_standard_deviation_of_forces(cluster: System, argon, rng: np.random.Generator, frames: int) -> None:
    """Batches are of 19 frames of 13 atoms."""
    assert module.BATCH_ATOMS // len(cluster) == 19
    systems = [cluster.moved(cluster.positions + 0.1 * rng.standard_normal((13, 3))) for _ in range(frames)]
    forces = np.stack([argon("float64").energy_and_forces(system)[1] for system in systems])
    found = Committee(others()).disagreement(np.arange(frames), systems, forces)
    sizes = SPREAD * np.linalg.norm(forces, axis=-1)
    np.testing.assert_allclose(found.largest, sizes.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.atom, sizes.argmax(axis=1))
    np.testing.assert_array_equal(found.step, np.arange(frames))


def simulate(cluster: System, argon, monitor: md.Monitor | None = None, **options) -> md.Run:
    arguments = {"timestep_fs": 2.0, "steps": 200, "save_every_fs": 8.0, "initial_temperature_K": 40.0}
    return md.simulate(argon("float64"), cluster, md.NVE(), committee=others(), monitor=monitor, **arguments | options)[
        1
    ]


def test_a_run_gives_the_series_of_its_frames(cluster: System, argon) -> None:
    run = simulate(cluster, argon, save_forces=True)
    forces = run.frames.forces
    assert forces is not None and len(run.disagreement.step) == 51
    np.testing.assert_array_equal(run.disagreement.step, run.frames.step)
    expected = SPREAD * np.linalg.norm(forces, axis=-1).max(axis=1)
    np.testing.assert_allclose(run.disagreement.largest, expected, rtol=1e-10)
    assert run.events == ()
    alone = md.simulate(
        argon("float64"),
        cluster,
        md.NVE(),
        timestep_fs=2.0,
        steps=200,
        save_every_fs=8.0,
        initial_temperature_K=40.0,
    )[1]
    np.testing.assert_array_equal(alone.frames.positions, run.frames.positions)
    assert len(alone.disagreement.step) == 0


def test_a_committee_does_not_make_the_run_store_forces(cluster: System, argon, tmp_path: Path) -> None:
    assert simulate(cluster, argon).frames.forces is None
    assert simulate(cluster, argon, to=tmp_path / "run.h5").frames.forces is None


def test_disagreement_beyond_the_limit_ends_the_run_and_a_higher_limit_goes_on(
    cluster: System, argon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 1e-3)
    through = simulate(cluster, argon)
    series = through.disagreement
    limit = float(np.quantile(series.largest, 0.8))
    first = int(np.argmax(series.largest > limit))
    assert first > 2
    with pytest.raises(md.RunStopped, match=r"the committee disagrees by .* eV/Å about the force on Ar\d+") as caught:
        simulate(cluster, argon, md.Monitor(max_force_disagreement=limit), to=tmp_path / "run.h5")
    stopped = caught.value
    assert stopped.reason == "committee_disagrees" and stopped.step == series.step[first]
    assert stopped.run is not None and stopped.run.frames.step.tolist() == series.step[:first].tolist()
    assert stopped.run.summary.steps == stopped.step
    assert [event.kind for event in stopped.run.events] == ["committee_disagrees"]
    np.testing.assert_allclose(stopped.run.disagreement.largest, series.largest[: first + 1], rtol=1e-10)
    reported = md.Monitor(max_force_disagreement=limit, stop_on=())
    resumed = simulate(cluster, argon, reported, to=tmp_path / "run.h5", resume=True)
    np.testing.assert_array_equal(resumed.frames.positions, through.frames.positions)
    np.testing.assert_array_equal(resumed.disagreement.step, series.step)
    np.testing.assert_allclose(resumed.disagreement.largest, series.largest, rtol=1e-10)
    assert [(event.step, event.kind) for event in resumed.events] == [(stopped.step, "committee_disagrees")]


def test_a_start_about_which_the_committee_disagrees(cluster: System, argon) -> None:
    with pytest.raises(md.RunStopped, match="at step 0 .*committee disagrees") as caught:
        simulate(cluster, argon, md.Monitor(max_force_disagreement=1e-9))
    assert caught.value.step == 0 and caught.value.run is None


def test_members_of_another_precision(cluster: System, argon) -> None:
    arguments = {"timestep_fs": 2.0, "steps": 8, "save_every_fs": 8.0, "initial_temperature_K": 40.0}
    values = [
        md.simulate(argon(own), cluster, md.NVE(), committee=others(member), **arguments)[1].disagreement
        for own, member in (("float32", "float64"), ("float64", "float32"), ("float64", "float64"))
    ]
    for found in values[:2]:
        np.testing.assert_allclose(found.largest, values[2].largest, rtol=1e-4)


def test_who_may_not_sit_in_a_committee(cluster: System, argon: Callable[[str], Potential], unchecked: None) -> None:
    def run(members: list, monitor: md.Monitor | None = None) -> None:
        md.simulate(
            argon("float64"),
            cluster,
            md.Langevin(temperature_K=40.0),
            timestep_fs=2.0,
            steps=2,
            committee=members,
            monitor=monitor,
        )

    with pytest.raises(InputError, match=r"committee\[1\] is the potential of the run or of another member"):
        run([others()[0], argon("float64")])
    with pytest.raises(InputError, match=r"committee\[1\] is the potential of the run or of another member"):
        run([others()[0], others()[0]])
    with pytest.raises(InputError, match=r"committee\[0\] is a str; give potentials"):
        run(["model.safetensors"])
    water = replace(others()[0], elements=ElementTable(numbers=(1, 8), energies=(0.0, 0.0)))
    with pytest.raises(InputError, match=r"committee\[0\]: Ar13 holds Ar, but the model knows only H, O"):
        run([water])
    with pytest.raises(InputError, match="max_force_disagreement is 0.5 eV/Å, but there is no committee"):
        run([], md.Monitor(max_force_disagreement=0.5))
    run([], md.Monitor(max_force_disagreement=None))
