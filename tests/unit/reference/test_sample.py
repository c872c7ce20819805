"""Sampling: exact restart, independent streams, the right temperature, broken molecules noticed."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import molecule

from so3krates._errors import ConfigError, FileError, InputError
from so3krates.reference import CalculatorSpec, SamplingPlan, sample, sample_trajectories
from so3krates.reference.bonds import BondWatch

SPRINGS = f"{Path(__file__).with_name('fakes.py')}:Springs"


def springs(**arguments: object) -> CalculatorSpec:
    return CalculatorSpec(target=SPRINGS, arguments=arguments)


def plan(**changes: object) -> SamplingPlan:
    settings = {"temperatures_K": [300, 600], "frames": 5, "interval_fs": 4.0, "equilibration_ps": 0.01}
    return SamplingPlan.parse(settings | {"watch_bonds": False} | changes)


def positions(trajectory) -> np.ndarray:
    return np.array([atoms.positions for atoms in trajectory.frames])


def test_frames_carry_their_trajectory_and_time_and_equilibration_is_gone(tmp_path: Path) -> None:
    output, counts = tmp_path / "out.extxyz", []
    report = sample(
        molecule("H2O"), output, springs(), plan(), progress=lambda done, total: counts.append((done, total))
    )
    frames = ase.io.read(output, ":")
    # 10 fs are three intervals of 4 fs.
    assert counts[0] == (0, 16) and counts[-1] == (16, 16) and len(counts) == 17
    assert report.frames == len(frames) == 10
    assert [atoms.info["temperature_K"] for atoms in frames] == [300] * 5 + [600] * 5
    assert [atoms.info["trajectory"] for atoms in frames] == [0] * 5 + [1] * 5
    assert [atoms.info["time_fs"] for atoms in frames] == [4, 8, 12, 16, 20] * 2
    np.testing.assert_allclose([atoms.get_center_of_mass() for atoms in frames], 0, atol=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == ["out.extxyz"]


@pytest.mark.parametrize("stop_after", [1, 4, 10])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path: Path, stop_after: int) -> None:
    whole = sample_trajectories(molecule("H2O"), springs(), plan(), tmp_path / "whole")

    def interrupt(done: int, total: int) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_trajectories(molecule("H2O"), springs(), plan(), tmp_path / "book", progress=interrupt)
    resumed = sample_trajectories(molecule("H2O"), springs(), plan(), tmp_path / "book")
    for one, other in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(positions(one), positions(other))
    assert (tmp_path / "book").read_bytes() == (tmp_path / "whole").read_bytes()


def test_parallel_equals_serial(tmp_path: Path) -> None:
    serial = sample_trajectories(molecule("H2O"), springs(), plan(), tmp_path / "serial")
    parallel = sample_trajectories(molecule("H2O"), springs(), plan(), tmp_path / "parallel", processes=2)
    for one, other in zip(parallel, serial, strict=True):
        np.testing.assert_array_equal(positions(one), positions(other))


def test_streams_differ_between_trajectories_and_seeds(tmp_path: Path) -> None:
    twice = plan(temperatures_K=[300, 300])
    first, second = sample_trajectories(molecule("H2O"), springs(), twice, tmp_path / "a")
    other, _ = sample_trajectories(molecule("H2O"), springs(), plan(temperatures_K=[300, 300], seed=1), tmp_path / "b")
    assert np.abs(positions(first) - positions(second)).max() > 1e-3
    assert np.abs(positions(first) - positions(other)).max() > 1e-3


def test_it_samples_the_boltzmann_distribution_of_a_harmonic_well(tmp_path: Path) -> None:
    """⟨k r²/2⟩ = kT/2 per degree of freedom; 300 atoms × 3 × 100 frames, so the mean is good to about 1 %."""
    start = ase.Atoms("H300", positions=np.zeros((300, 3)), cell=np.eye(3) * 50, pbc=True)
    settings = plan(
        temperatures_K=[400], frames=100, interval_fs=10.0, timestep_fs=0.5, friction_per_ps=50.0, equilibration_ps=0.2
    )
    (found,) = sample_trajectories(start, springs(stiffness=20.0), settings, tmp_path / "book")
    temperature = 20.0 * np.mean(positions(found) ** 2) / ase.units.kB
    assert temperature == pytest.approx(400, rel=0.03)
    assert found.mean_temperature_K == pytest.approx(400, rel=0.03)


def test_a_broken_molecule_stops_its_trajectory_and_is_kept(tmp_path: Path) -> None:
    """Weak springs to the origin do not hold the molecule together."""
    output, settings = tmp_path / "out.extxyz", plan(temperatures_K=[1500, 3000], frames=40, watch_bonds=True)
    report = sample(molecule("H2O"), output, springs(stiffness=0.01), settings)
    assert all("bond between atoms" in error for *_, error in report.trajectories)
    assert report.frames == sum(kept for _, _, kept, _ in report.trajectories) < 80
    last = ase.io.read(report.broken_file, ":")
    assert len(last) == 2
    assert all(BondWatch(molecule("H2O")).damage(atoms) for atoms in last)
    assert Path(f"{output}.journal").exists()


def test_a_failing_calculator_is_reported_with_its_reason(tmp_path: Path) -> None:
    report = sample(molecule("H2O"), tmp_path / "out.extxyz", springs(fail_above=-100.0), plan())
    assert [error for *_, error in report.trajectories] == ["RuntimeError: no convergence at 0.0"] * 2
    assert report.frames == 0


def test_an_explosion_is_noticed_without_bonds(tmp_path: Path) -> None:
    start = ase.Atoms("H2", positions=[[0, 0, 3.0], [0, 3.0, 0]])
    report = sample(start, tmp_path / "out.extxyz", springs(stiffness=1e4), plan(temperatures_K=[300]))
    assert "kinetic temperature" in report.trajectories[0][3]


@pytest.mark.parametrize(
    ("shift", "reason"),
    [
        ([0.0, 0.8, -0.6], "broken bond between atoms 0 (O) and 1 (H), 1.9"),
        ([0.0, -0.5, 0.4], "collapsed bond between atoms 0 (O) and 1 (H), 0.3"),
        ([np.nan, 0.0, 0.0], "positions are not finite"),
        ([0.0, -1.1, -0.3], "new bond between atoms 1 (H) and 2 (H), 0.5"),
        ([0.0, 0.1, 0.1], ""),
    ],
)
def test_damage_is_named(shift: list[float], reason: str) -> None:
    watch, water = BondWatch(molecule("H2O")), molecule("H2O")
    assert watch.damage(water) == ""
    water.positions[1] += shift
    assert watch.damage(water).startswith(reason)
    assert bool(reason) == bool(watch.damage(water))


def test_bonds_across_a_periodic_boundary_count(tmp_path: Path) -> None:
    atoms = ase.Atoms("H2", positions=[[0.1, 0, 0], [4.4, 0, 0]], cell=[5, 5, 5], pbc=True)
    watch = BondWatch(atoms)
    atoms.positions[1, 0] = 3.9
    assert "broken bond" in watch.damage(atoms)


def test_plans_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="temperatures_K"):
        plan(temperatures_K=[])
    with pytest.raises(ConfigError, match=r"temperatures_K\.0.*received -3"):
        plan(temperatures_K=[-3])
    with pytest.raises(ConfigError, match="unknown key 'frame'"):
        plan(frame=3)
    with pytest.raises(InputError, match=r"4\.1 fs is no multiple of the time step 0\.5 fs"):
        sample_trajectories(molecule("H2O"), springs(), plan(interval_fs=4.1), tmp_path / "book")


def test_finished_output_is_not_overwritten(tmp_path: Path) -> None:
    sample(molecule("H2O"), tmp_path / "out.extxyz", springs(), plan())
    with pytest.raises(FileError, match="exists already"):
        sample(molecule("H2O"), tmp_path / "out.extxyz", springs(), plan())
