"""evaluate: against labels made from the potential itself, moved by known amounts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from so3krates._errors import InputError
from so3krates.analysis.evaluate import evaluate
from so3krates.data.sample import Sample
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System


@pytest.fixture
def potential() -> Potential:
    return Potential(LennardJones(0.01, 1.2, 5.0), ElementTable(numbers=(1, 6, 8), energies=(-1.0, -2.0, -3.0))).astype(
        "float64"
    )


@pytest.fixture
def samples(potential: Potential, rng: np.random.Generator) -> list[Sample]:
    """Five frames, two molecules, labels exactly those of the potential."""
    made = []
    for n, name in enumerate(["CH3CH2OH", "H2O", "CH3CH2OH", "CH4", "H2O"]):
        atoms = molecule(name)
        atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
        system = System.from_ase(atoms)
        truth = potential.predict([system])[0]
        made.append(Sample(system, truth.energy, truth.forces, origin=f"test.extxyz, frame {n}"))
    return made


def test_own_labels_give_no_error(potential: Potential, samples: list[Sample]) -> None:
    found = evaluate(potential, samples, batch_size=2)
    assert len(found) == 5
    assert found.statistics["energy"].largest < 1e-9
    assert found.statistics["forces"].largest < 1e-9
    assert "stress" not in found.statistics


def test_known_errors_are_found(potential: Potential, samples: list[Sample]) -> None:
    samples[2] = replace(samples[2], energy=samples[2].energy - 0.9, forces=samples[2].forces + 0.5)
    found = evaluate(potential, samples, batch_size=3)
    assert found.statistics["energy"].mae == pytest.approx(0.9 / 5)
    assert found.statistics["energy"].bias == pytest.approx(0.9 / 5)
    assert found.statistics["energy_per_atom"].largest == pytest.approx(0.1)
    assert found.statistics["forces"].mae == pytest.approx(0.5 * 9 / (9 + 3 + 9 + 5 + 3))
    worst = found.worst(2)[0]
    assert (worst.origin, worst.formula) == ("test.extxyz, frame 2", "C2H6O")
    assert worst.forces_rmse == pytest.approx(0.5)
    assert worst.energy_error == pytest.approx(0.9)


def test_errors_by_element(potential: Potential, samples: list[Sample]) -> None:
    forces = np.array(samples[1].forces)
    forces[samples[1].system.numbers == 8] += 1.0
    samples[1] = replace(samples[1], forces=forces)
    found = evaluate(potential, samples).forces_by_element
    assert list(found) == ["H", "C", "O"]
    assert found["O"].mae == pytest.approx(0.25)
    assert found["H"].mae == pytest.approx(0.0, abs=1e-9)


def test_batches_change_nothing(potential: Potential, samples: list[Sample]) -> None:
    one, all_together = evaluate(potential, samples, batch_size=1), evaluate(potential, samples, batch_size=99)
    np.testing.assert_allclose(one.forces_predicted, all_together.forces_predicted, atol=1e-12)
    np.testing.assert_allclose(one.energy_predicted, all_together.energy_predicted, atol=1e-12)


def test_missing_labels_are_left_out(potential: Potential, samples: list[Sample]) -> None:
    samples[0] = replace(samples[0], energy=None)
    samples[1] = replace(samples[1], forces=None)
    found = evaluate(potential, samples)
    assert found.statistics["energy"].count == 4
    assert found.statistics["forces"].count == 3 * (9 + 9 + 5 + 3)
    assert [frame.origin for frame in found.worst(5)].count("test.extxyz, frame 1") == 0


def test_energies_alone_are_enough(potential: Potential, samples: list[Sample]) -> None:
    samples = [replace(sample, forces=None) for sample in samples]
    samples[3] = replace(samples[3], energy=samples[3].energy + 1.0)
    found = evaluate(potential, samples)
    assert set(found.statistics) == {"energy", "energy_shifted", "energy_per_atom"}
    assert found.forces_by_element == {}
    assert found.worst(1)[0].origin == "test.extxyz, frame 3"


def test_stress(potential: Potential, rng: np.random.Generator) -> None:
    positions = rng.uniform(0.0, 1.2, (4, 3)) + 1.5 * np.arange(4)[:, None]
    system = System(positions, np.array([1, 6, 8, 1]), 7.0 * np.eye(3), (True, True, True))
    truth = potential.predict([system])[0]
    found = evaluate(potential, [Sample(system, truth.energy, truth.forces, truth.stress + 0.01)])
    assert found.statistics["stress"].mae == pytest.approx(0.01)
    assert found.statistics["stress"].count == 9


def test_progress_is_told(potential: Potential, samples: list[Sample]) -> None:
    told: list[tuple[int, int]] = []
    progress: Callable[[int, int], None] = lambda done, total: told.append((done, total))  # noqa: E731
    evaluate(potential, samples, batch_size=2, progress=progress)
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_unknown_element_names_the_frame(potential: Potential, samples: list[Sample]) -> None:
    samples[4] = replace(samples[4], system=System.from_ase(molecule("NH3")), forces=None)
    with pytest.raises(InputError, match=r"test\.extxyz, frame 4: .* N, .*knows only H, C, O"):
        evaluate(potential, samples)


def test_no_labels(potential: Potential, samples: list[Sample]) -> None:
    bare = [Sample(s.system, origin=s.origin, nan_labels=("forces",)) for s in samples]
    with pytest.raises(InputError, match="no labels .*forces are NaN"):
        evaluate(potential, bare)


def test_labels_that_the_model_does_not_predict(potential: Potential, samples: list[Sample]) -> None:
    dipoles = [Sample(s.system, origin=s.origin, dipole=np.zeros(3)) for s in samples]
    with pytest.raises(InputError, match="no labels .*there is dipole, of which the model predicts nothing"):
        evaluate(potential, dipoles)
    kept: list[System] = []
    assert evaluate(potential, dipoles, keep=lambda system, _: kept.append(system)).statistics == {}
    assert len(kept) == len(samples)


def test_nothing_to_evaluate(potential: Potential, samples: list[Sample]) -> None:
    with pytest.raises(InputError, match="no frames"):
        evaluate(potential, [])
    with pytest.raises(InputError, match="batch_size is 0"):
        evaluate(potential, samples, batch_size=0)


def test_atoms_on_top_of_each_other(potential: Potential, samples: list[Sample]) -> None:
    positions = np.array(samples[1].system.positions)
    positions[1] = positions[0]
    samples[1] = replace(samples[1], system=samples[1].system.moved(positions))
    with pytest.raises(InputError, match="frame 0 and .*frame 4: .*on top of each other"):
        evaluate(potential, samples)


def test_another_zero_of_energy_is_told_from_errors(potential: Potential, samples: list[Sample]) -> None:
    shifts = {1: 10.0, 6: -200.0, 8: 3.0}
    moved = [replace(s, energy=s.energy + sum(shifts[int(z)] for z in s.system.numbers)) for s in samples]  # type: ignore[operator]
    moved[0] = replace(moved[0], energy=moved[0].energy + 0.09)  # type: ignore[operator]
    found = evaluate(potential, moved)
    assert found.statistics["energy"].mae > 100.0 and found.statistics["energy_shifted"].mae < 0.09
    assert found.zero_of_energy is not None
    for z, shift in shifts.items():
        assert found.zero_of_energy.shifts[z] == pytest.approx(shift, abs=0.1)
    assert found.energy_note is not None and "look at the shifted energies" in found.energy_note
    said = found.as_dict()
    assert said["energy_shifts"]["C"] == pytest.approx(-200.0, abs=0.1) and said["energy_note"] == found.energy_note
    assert said["errors"]["energy_shifted"]["mae"] == found.statistics["energy_shifted"].mae


def test_no_word_on_the_zero_of_energy_where_errors_remain(potential: Potential, samples: list[Sample]) -> None:
    scattered = [replace(s, energy=s.energy + (-1) ** n) for n, s in enumerate(samples)]  # type: ignore[operator]
    found = evaluate(potential, scattered)
    assert "energy_shifted" in found.statistics and found.energy_note is None
    few = evaluate(potential, samples[:3])
    assert few.zero_of_energy is None and "energy_shifted" not in few.statistics
    assert evaluate(potential, samples).energy_note is None
