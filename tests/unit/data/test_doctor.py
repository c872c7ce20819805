"""The doctor on data that are right, and on the same data made wrong in each of the ways it promises to notice."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from molecules import methane, scaled, trajectory, turned

from so3krates import units
from so3krates._errors import InputError
from so3krates.cli._reading import Reading
from so3krates.cli.check import check
from so3krates.data.ase_readers import sample_from_atoms
from so3krates.data.declared_units import UnitNames, conversion
from so3krates.data.doctor import examine
from so3krates.data.doctor_gradients import frame_pairs, work_between
from so3krates.data.doctor_report import Finding, Report
from so3krates.data.doctor_table import gather
from so3krates.data.frames import About, Frames
from so3krates.data.labels import LabelKeys
from so3krates.data.readers import read_dataset
from so3krates.data.sample import Sample
from so3krates.system import System


def one(report: Report, check_name: str, severity: str) -> Finding:
    found = [finding for finding in report.of(check_name) if finding.severity == severity]
    assert len(found) == 1, report.findings
    return found[0]


def worst(report: Report) -> list[tuple[str, str]]:
    return [(f.severity, f.check) for f in report.findings if f.severity != "info"]


def test_right_data_have_no_findings_but_information() -> None:
    report = examine(trajectory(200))
    assert worst(report) == []
    assert not report.failed
    assert "gradient of the energies" in one(report, "gradients", "info").message


# What a file looks like that holds such units while eV and Å are taken for granted, and what must be said.
MISTAKES = {
    "all in kcal/mol": ({"energy": 1 / units.KCAL_PER_MOL, "forces": 1 / units.KCAL_PER_MOL}, "look like kcal/mol"),
    "all in Hartree": ({"energy": 1 / units.HARTREE, "forces": 1 / units.HARTREE}, "look like Hartree"),
    "atomic units, positions in Å": (
        {"energy": 1 / units.HARTREE, "forces": units.BOHR / units.HARTREE}, "look like Hartree"
    ),
    "energies in kcal/mol": ({"energy": 1 / units.KCAL_PER_MOL}, "energies in kcal/mol with forces in eV/Å"),
    "forces in kcal/mol/Å": ({"forces": 1 / units.KCAL_PER_MOL}, "forces in kcal/mol/Å with energies in eV"),
    "forces in Hartree/Bohr": ({"forces": units.BOHR / units.HARTREE}, "forces in Hartree/Bohr with energies in eV"),
    "forces in Hartree/Å": ({"forces": 1 / units.HARTREE}, "forces in Hartree/Å with energies in eV"),
    "energies in kJ/mol": ({"energy": 1 / units.KJ_PER_MOL}, "energies in kJ/mol with forces in eV/Å"),
    "gradients for forces": ({"forces": -1.0}, "wrong sign"),
    "positions in Bohr": ({"length": 1 / units.BOHR}, "positions look like Bohr"),
    "positions in nm": ({"length": 0.1}, "positions look like nm"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_wrong_units_are_named(case: str) -> None:
    factors, sentence = MISTAKES[case]
    report = examine(scaled(trajectory(200), **factors))
    assert report.failed
    assert any(sentence in finding.message for finding in report.of("units")), report.findings


@pytest.mark.parametrize("factor", [1 / units.KCAL_PER_MOL, units.BOHR / units.HARTREE])
def test_bond_stiffness_tells_units_of_shifted_energies(factor: float) -> None:
    """Energies without their atomic part tell nothing, and agree with forces in the same unit."""
    shifted = [replace(s, energy=(s.energy or 0.0) + 1101.5) for s in trajectory(200)]
    assert worst(examine(shifted)) == []
    energy = factor if factor > 1 else 1 / units.HARTREE
    report = examine(scaled(shifted, energy=energy, forces=factor))
    assert "times as stiff as they are in nature: forces look like" in " ".join(f.message for f in report.of("units"))


def test_forces_of_other_frames_are_no_gradients() -> None:
    samples = trajectory(200)
    shuffled = [replace(a, forces=b.forces) for a, b in zip(samples, [*samples[1:], samples[0]], strict=True)]
    report = examine(shuffled)
    finding = one(report, "gradients", "error")
    assert "not the gradient" in finding.message and finding.frames


def apart(frames: int) -> list[Sample]:
    """Frames without order in time, so that the one most alike is closer than the one before."""
    return trajectory(5 * frames)[::5]


def displacement_of(message: str) -> float:
    found = re.search(r"displacement ([\d.]+) Å", message)
    assert found, message
    return float(found[1])


@pytest.mark.parametrize("frames", [120, 1000])
def test_copies_of_frames_say_nothing_of_gradients(frames: int) -> None:
    """A copy is the most similar frame of all; it must not take the place of the frames that tell.

    Molecules and ions take turns, so that no frame is compared with the one before.
    """
    samples = trajectory(frames)
    samples[::2] = [replace(s, system=replace(s.system, charge=1.0)) for s in samples[::2]]
    alone = one(examine(samples), "gradients", "info").message
    report = examine({"data": samples, "copy": samples})
    together = one(report, "gradients", "info").message
    assert "are the gradient" in together
    assert displacement_of(together) == pytest.approx(displacement_of(alone), rel=0.2)
    assert one(report, "leak", "error").frames


@pytest.mark.parametrize("frames", [60, 500])
def test_pairs_of_copies_are_left_out(frames: int) -> None:
    table = gather({"data": apart(frames), "copy": apart(frames)}, 20_000)
    (block,) = table.blocks
    pairs = frame_pairs(block, table)
    assert len(pairs) >= frames / 2
    same = np.concatenate([pairs, np.stack([np.arange(frames), np.arange(frames) + frames], axis=1)])
    assert work_between(block, same).displacement.min() > 1e-2


def test_forces_of_another_orientation_have_a_torque() -> None:
    swap = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    samples = [replace(s, forces=s.forces @ swap) for s in trajectory(100) if s.forces is not None]
    assert any("net torque" in finding.message for finding in examine(samples).of("net-force"))


def test_one_wrong_label_is_found() -> None:
    samples = trajectory(300)
    samples[123] = replace(samples[123], energy=(samples[123].energy or 0.0) + 1.0)
    report = examine(samples)
    assert 123 in one(report, "gradients", "warning").frames


@pytest.mark.parametrize("factor", [1 / units.KCAL_PER_MOL, 1 / units.HARTREE])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_mixed_units_name_the_frames(factor: float, shift: float) -> None:
    samples = [replace(s, energy=(s.energy or 0.0) + shift) for s in trajectory(60)]
    mixed = [*samples[:50], *scaled(samples[50:], energy=factor, forces=factor)]
    found = [finding for finding in examine(mixed).of("units") if "mixed units" in finding.message]
    assert [finding.frames for finding in found] == [tuple(range(50, 60))]


def test_missing_nan_and_partly_nan_labels() -> None:
    samples = trajectory(50)
    samples[3] = replace(samples[3], energy=None, nan_labels=("energy",))
    samples[4] = replace(samples[4], forces=None)
    holes = np.array(samples[7].forces)
    holes[2, 1] = np.nan
    samples[7] = replace(samples[7], forces=holes)
    report = examine(samples)
    assert {f.frames: f.message for f in report.of("missing-labels")} == {
        (3,): "1 of 50 frames have no energy, 1 of them given as NaN; the others do.",
        (4,): "1 of 50 frames have no forces; the others do.",
    }
    finding = one(report, "partly-nan", "error")
    assert finding.frames == (7,) and "NaN for atom 2" in finding.message


def test_data_without_forces() -> None:
    report = examine([replace(sample, forces=None) for sample in trajectory(30)])
    assert "no frame of 30 has forces" in one(report, "missing-labels", "warning").message
    assert "could not be tested" in one(report, "gradients", "info").message


@pytest.mark.parametrize(("file", "count"), [("unknown.extxyz", 0), ("un@known.xyz", 2), ("unknown.traj", 2)])
def test_data_without_any_label_are_an_error_that_names_the_keys(tmp_path: Path, file: str, count: int) -> None:
    """The only file unlabelled or, of two, the second; `count` further findings say what the second lacks."""
    structures = [sample.system.to_ase() for sample in trajectory(20)]
    for atoms in structures:
        atoms.info["dft_total"], atoms.arrays["dft_gradient"] = -1.0, np.ones((5, 3))
    with (tmp_path / file).open("wb" if file.endswith("traj") else "w") as opened:
        ase.io.write(opened, structures, format="traj" if file.endswith("traj") else "extxyz")
    unknown = read_dataset(tmp_path / file)
    report = examine({"train": trajectory(30), "test": unknown} if count else unknown)
    finding = one(report, "missing-labels", "error")
    assert finding.message.startswith(f"{'test: ' if count else ''}no frame of 20 has an energy or forces: ")
    assert "--energy-key and --forces-key" in finding.remedy
    # ASE's trajectories hold no arrays of the user's.
    keys = "dft_total" if file.endswith("traj") else "dft_gradient, dft_total"
    assert finding.remedy.endswith(f"the file has {keys}.")
    assert len(report.of("missing-labels")) == 1 + count
    named = read_dataset(tmp_path / file, energy_key="dft_total")
    assert "missing-labels" not in [f.check for f in examine(named).findings if f.severity == "error"]


def test_energies_that_are_nan_throughout_are_an_error_without_forces() -> None:
    bare = [replace(sample, energy=None, forces=None, nan_labels=("energy",)) for sample in trajectory(20)]
    assert "(energy given as NaN)" in one(examine(bare), "missing-labels", "error").message
    with_forces = [replace(sample, energy=None, nan_labels=("energy",)) for sample in trajectory(20)]
    report = examine(with_forces)
    assert "20 of them given as NaN" in one(report, "missing-labels", "warning").message
    assert not report.failed


def test_structures_without_keys_are_sent_to_the_labels(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "bare.xyz", [sample.system.to_ase() for sample in trajectory(5)])
    assert (
        "nothing in the file may be a label"
        in one(examine(read_dataset(tmp_path / "bare.xyz")), "missing-labels", "error").remedy
    )


def test_duplicates_survive_rotation_and_exchange(rng: np.random.Generator) -> None:
    samples = trajectory(400)
    report = examine([*samples, turned(samples[10], rng), turned(samples[20], rng)])
    finding = one(report, "duplicates", "warning")
    assert finding.frames == (400, 401)


def test_a_structure_with_two_energies_is_an_error(rng: np.random.Generator) -> None:
    samples = trajectory(50)
    copy = turned(samples[5], rng)
    report = examine([*samples, replace(copy, energy=(copy.energy or 0.0) + 0.1)])
    assert one(report, "duplicates", "error").frames == (50,)


def test_leak_between_files(rng: np.random.Generator) -> None:
    samples = trajectory(400)
    test = [*samples[350:], turned(samples[17], rng)]
    assert examine({"train": samples[:350], "test": samples[350:]}).of("leak") == ()
    finding = one(examine({"train": samples[:350], "test": test}), "leak", "error")
    assert finding.frames == ("test:50",)


class Named(Frames):
    """Samples with named subsets, as a file would give them."""

    def __init__(self, samples: list[Sample], subsets: dict[str, np.ndarray]) -> None:
        self._samples = samples
        self._about = About(Path("named"), {}, subsets=subsets, notes=("named: a note.",))

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def about(self) -> About:
        return self._about

    def read(self, index: int) -> Sample:
        if self._samples[index].origin == "broken":
            raise InputError("frame broken")
        return self._samples[index]


def test_folds_are_compared_within_themselves_only() -> None:
    subsets = {"train_01": np.arange(50), "test_01": np.arange(50, 100), "train_02": np.arange(40, 90)}
    assert examine(Named(trajectory(100), subsets)).of("leak") == ()
    finding = one(examine(Named(trajectory(100), {**subsets, "test_02": np.arange(88, 95)})), "leak", "error")
    assert finding.frames == (88, 89)


def test_slow_trajectories_warn_of_random_splits() -> None:
    """Small steps of a slow oscillation: neighbours in time are neighbours in space."""
    rng = np.random.default_rng(0)
    waves = rng.normal(scale=0.1, size=(4, 5, 3))
    samples = [methane(sum(wave * np.sin(0.02 * (k + 1) * t + k) for k, wave in enumerate(waves))) for t in range(200)]
    assert "random split would leak" in one(examine(samples), "correlated", "warning").remedy


def test_unreadable_frames_are_listed_and_notes_are_passed_on() -> None:
    samples = trajectory(30)
    samples[4] = replace(samples[4], origin="broken")
    report = examine(Named(samples, {}))
    assert one(report, "unreadable", "error").frames == (4,)
    assert one(report, "file", "warning").message == "named: a note."


def test_overlaps_outliers_and_isolated_atoms() -> None:
    samples = trajectory(60)
    displacement = np.zeros((5, 3))
    displacement[1] = np.array([-1, -1, -1]) * 1.05 / np.sqrt(3)
    samples[9] = methane(displacement)
    samples[11] = replace(samples[11], energy=(samples[11].energy or 0.0) + 30.0)
    atom = Sample(System(positions=np.zeros((1, 3)), numbers=np.array([6])), energy=-1030.0, isolated_atom=True)
    report = examine([*samples, atom])
    assert one(report, "overlap", "error").frames == (9,)
    assert any(11 in finding.frames for finding in report.of("outliers"))
    assert "for C but not for H" in one(report, "isolated-atoms", "warning").message


def lennard_jones(frames: int, stress: float) -> list[Sample]:
    """Strained argon, with the stress as a file in other units would give it."""
    samples = []
    rng = np.random.default_rng(2)
    crystal = ase.Atoms("Ar4", scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], pbc=True,
                        cell=np.eye(3) * 5.0)  # fmt: skip
    crystal.calc = LennardJones(sigma=3.4, epsilon=0.5, rc=8.0, smooth=True)
    for frame in range(frames):
        atoms = crystal.copy()
        strain = 0.01 * rng.normal(size=(3, 3))
        atoms.set_cell(crystal.cell[:] @ (np.eye(3) + strain + strain.T), scale_atoms=True)
        atoms.rattle(0.02, seed=frame)
        atoms.calc = crystal.calc
        atoms.info = {
            "E": atoms.get_potential_energy(), "S": atoms.get_stress(voigt=False) * stress,
        }  # fmt: skip
        atoms.arrays["G"] = atoms.get_forces()
        keys = LabelKeys("E", "G", "S")
        samples.append(sample_from_atoms(atoms, keys, conversion(UnitNames()), f"frame {frame}"))
    return samples


@pytest.mark.parametrize(
    ("factor", "sentence"),
    [
        (1.0, "the stress is the strain derivative"),
        (-1.0, "sign of VASP"),
        (1 / units.GPA, "the stress is in GPa"),
        (-1 / units.KBAR, "kbar with VASP's sign"),
    ],
)
def test_stress_against_strained_cells(factor: float, sentence: str) -> None:
    report = examine(lennard_jones(30, factor))
    assert any(sentence in finding.message for finding in report.of("stress")), report.findings
    assert report.failed == (factor != 1.0)


def test_molecules_in_huge_boxes() -> None:
    boxed = [
        replace(s, system=System(s.system.positions, s.system.numbers, np.eye(3) * 1000.0, (True, True, True)))
        for s in trajectory(10)
    ]
    assert "up to 1000 Å" in one(examine(boxed), "vacuum-box", "warning").message


def test_large_sets_are_sampled_in_runs() -> None:
    report = examine(trajectory(3000), max_frames=500)
    assert report.summary["frames"] == "500 of 3000 examined"
    assert worst(report) == []


def test_nothing_to_examine() -> None:
    with pytest.raises(InputError, match="no frames to examine"):
        examine({"train": trajectory(2), "test": []})


def test_report_as_json_and_table() -> None:
    samples = trajectory(30)
    samples[3] = replace(samples[3], forces=None)
    report = examine(samples)
    loaded = json.loads(report.to_json())
    assert loaded["failed"] is False and loaded["summary"]["elements"] == "H C"
    assert [f["frames"] for f in loaded["findings"] if f["check"] == "missing-labels"] == [[3]]
    assert report.table().row_count == len(report.findings)


def write(path: Path, samples: list[Sample]) -> Path:
    structures = []
    for sample in samples:
        atoms = sample.system.to_ase()
        atoms.info["REF_energy"] = sample.energy
        atoms.arrays["REF_forces"] = np.asarray(sample.forces)
        structures.append(atoms)
    ase.io.write(path, structures)
    return path


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(write(tmp_path / "good.extxyz", trajectory(60)), json=tmp_path / "report.json")
    assert "energy from 'REF_energy'" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["failed"] is False
    bad = write(tmp_path / "bad.extxyz", scaled(trajectory(60), energy=1 / units.KCAL_PER_MOL))
    with pytest.raises(SystemExit) as stopped:
        check(bad)
    assert stopped.value.code == 1
    check(bad, reading=Reading(energy_unit="kcal/mol", force_unit="eV/Angstrom"))
    with pytest.raises(InputError, match="no file given"):
        check()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmd17_aspirin.npz@train_01", []),
        ("qm7x_2500.extxyz@0:500", []),
        ("mlearn_Si.extxyz", ["correlated", "duplicates", "leak", "leak"]),
        ("ethanol_scans_energy_only.extxyz", ["correlated", "duplicates", "missing-labels", "outliers"]),
    ],
)
def test_published_data_raise_no_alarm(shared_dir: Path, name: str, expected: list[str]) -> None:
    """No error anywhere; the warnings are true (symmetry-equivalent strained crystals, scans without forces)."""
    report = examine(read_dataset(f"{shared_dir}/data/{name}"))
    assert sorted(worst(report)) == [("warning", check_name) for check_name in expected]


def test_ten_thousand_frames_take_seconds(shared_dir: Path) -> None:
    """Processor time, which competing load does not change; the bound is several times what it takes."""
    dataset = read_dataset(shared_dir / "data" / "rmd17_ethanol.npz")
    start = time.process_time()
    report = examine(dataset)
    assert len(dataset) > 9000 and worst(report) == []
    assert time.process_time() - start < 60
