"""Starting from a model: what is trained, what stays, which zero of energy, and old data beside the new."""

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from jax.tree_util import keystr, tree_leaves_with_path
from oracles.long_range import long_range_potential
from springs import OFFSET, TINY, run_config, samples, write

from so3krates._errors import ConfigError, InputError
from so3krates.data.zero_of_energy import ShiftedEnergies, check_zero_of_energy, zero_of_energy
from so3krates.io.model_file import load, save
from so3krates.io.parameters import named_parameters
from so3krates.model import ModelConfig
from so3krates.prediction import ElementTable
from so3krates.training.config import TrainConfig
from so3krates.training.loop import train
from so3krates.training.setup import prepare


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    train(run_config(folder, budget={"steps": 200}, optimizer={"learning_rate": 1e-2, "ema": 0.9}))
    return folder / "model.safetensors"


def tuned(folder: Path, model: Path, **changes: object) -> TrainConfig:
    start = {"model": str(model)} | changes.pop("start", {})  # type: ignore[operator]
    return run_config(folder, model={}, start=start, **changes)


def moved(folder: Path, by: float) -> None:
    """Training and validation energies with another zero."""
    for name, count, seed in (("train.extxyz", 24, 1), ("valid.extxyz", 8, 2)):
        frames = ase.io.read(write(folder / name, count, seed), ":")
        for atoms in frames:
            atoms.info["REF_energy"] += by
        ase.io.write(folder / name, frames, format="extxyz")


def differing(a: Path, b: Path) -> set[str]:
    ours, theirs = (named_parameters(load(path).model) for path in (a, b))
    assert ours.keys() == theirs.keys()
    return {name for name in ours if not np.array_equal(ours[name], theirs[name])}


def test_it_goes_on_from_where_the_model_is(trained: Path, tmp_path: Path) -> None:
    old = train(run_config(tmp_path, budget={"steps": 20}, output=tmp_path / "fresh.safetensors")).metrics
    result = train(tuned(tmp_path, trained, budget={"steps": 20}, output=tmp_path / "tuned.safetensors"))
    assert result.metrics.forces_mae < 0.5 * old.forces_mae


def test_only_the_chosen_parts_change(trained: Path, tmp_path: Path) -> None:
    config = tuned(tmp_path, trained, budget={"steps": 40}, start={"parameters": ["energy", "layers.0.exchange"]})
    train(config)
    changed = differing(trained, tmp_path / "model.safetensors")
    assert changed and all(name.startswith(("energy.", "layers.0.exchange.")) for name in changed)


def test_adapters_are_merged_into_the_file(trained: Path, tmp_path: Path) -> None:
    train(tuned(tmp_path, trained, budget={"steps": 40}, start={"adapter_rank": 2}))
    changed = differing(trained, tmp_path / "model.safetensors")
    assert changed and all(name.endswith(".weight") for name in changed)
    before, after = (named_parameters(load(path).model) for path in (trained, tmp_path / "model.safetensors"))
    for name in changed:
        assert np.linalg.matrix_rank(after[name] - before[name], tol=1e-5) <= 2


def test_another_zero_of_energy_is_fitted_first(trained: Path, tmp_path: Path) -> None:
    moved(tmp_path, 123.0)
    told: list[str] = []
    result = train(tuned(tmp_path, trained, budget={"steps": 20}), tell=told.append)
    assert any("zero of energy" in sentence for sentence in told)
    assert result.metrics.energy_mae < 1.0
    same = samples(4)[0].system
    difference = load(tmp_path / "model.safetensors").energy(same) - load(trained).energy(same)
    assert difference == pytest.approx(123.0, abs=1.0)


def test_elements_without_a_new_zero_of_energy_are_refused_afterwards(trained: Path, tmp_path: Path) -> None:
    """Their reference energies would be those of the old zero, beside new ones."""
    wider, old = tmp_path / "wider.safetensors", load(trained)
    save(replace(old, elements=ElementTable(numbers=(1, 6, 8, 9), energies=(0.0, 0.0, 0.0, 0.0))), wider)
    moved(tmp_path, 123.0)
    told: list[str] = []
    train(tuned(tmp_path, wider, budget={"steps": 2}), tell=told.append)
    assert any("knows H, O only" in sentence and "for C, F;" in sentence for sentence in told)
    potential = load(tmp_path / "model.safetensors")
    assert potential.elements is not None and potential.elements.numbers == (1, 8)
    with pytest.raises(InputError, match="holds C, but the model knows only H, O"):
        potential.energy(replace(samples(1)[0].system, numbers=np.array([6, 1, 1])))


@pytest.mark.parametrize(("loss", "replayed"), [({"energy": 0.0, "forces": 1.0}, False), ({}, True)])
def test_elements_stay_with_replayed_structures_or_without_energies(
    trained: Path, tmp_path: Path, loss: dict, replayed: bool
) -> None:
    wider = tmp_path / "wider.safetensors"
    save(replace(load(trained), elements=ElementTable(numbers=(1, 6, 8), energies=(0.0, 0.0, 0.0))), wider)
    write(tmp_path / "old.extxyz", 50, seed=9)
    frames = ase.io.read(tmp_path / "old.extxyz", ":")
    for atoms in frames:
        atoms.numbers[atoms.numbers == 8] = 6
    ase.io.write(tmp_path / "old.extxyz", frames)
    start = {"replay": tmp_path / "old.extxyz"} if replayed else {}
    found = prepare(tuned(tmp_path, wider, loss=loss, start=start), lambda _: None).start.potential.elements
    assert found is not None and found.numbers == (1, 6, 8)


def test_the_doctor_compares_zeros_of_energy(trained: Path) -> None:
    potential, data = load(trained), samples(6)
    (same,) = check_zero_of_energy(potential, data)
    assert same.severity == "info"
    (other,) = check_zero_of_energy(potential, ShiftedEnergies(data, {1: 10.0, 8: -3.0}))
    assert other.severity == "warning" and "another zero" in other.message
    found = zero_of_energy(potential, ShiftedEnergies(data, {1: 10.0, 8: -3.0}))
    assert found is not None and not found.unique
    assert 2 * found.shifts[1] + found.shifts[8] == pytest.approx(17.0, abs=0.5)
    with pytest.raises(InputError, match="no energy shift is known for H"):
        ShiftedEnergies(data, {8: 1.0})[0]


def test_the_doctor_goes_on_where_the_model_cannot_be_evaluated(trained: Path) -> None:
    sample = samples(1)[0]
    strange = replace(sample, system=replace(sample.system, numbers=np.array([8, 1, 11])))
    (finding,) = check_zero_of_energy(load(trained), [sample, strange])
    assert finding.severity == "error" and "cannot be evaluated" in finding.message and "Na" in finding.message


def test_the_doctor_says_that_data_have_nothing_to_do_with_the_model(trained: Path) -> None:
    data = [replace(sample, energy=sample.energy + (-1) ** n) for n, sample in enumerate(samples(6))]
    found = [finding.check for finding in check_zero_of_energy(load(trained), data)]
    assert found == ["zero-of-energy", "far-from-model"]


def test_old_data_are_mixed_in_at_the_new_zero(trained: Path, tmp_path: Path) -> None:
    old = write(tmp_path / "old.extxyz", 50, seed=9)
    moved(tmp_path, 123.0)
    config = tuned(tmp_path, trained, start={"replay": old, "replay_share": 0.25})
    setup = prepare(config, lambda _: None)
    assert len(setup.train) == 24 + 8
    energies = [setup.train.prepared(n).sample.energy for n in range(32)]
    assert min(energies[:24]) > OFFSET + 100.0  # type: ignore[type-var]
    assert np.mean(energies[24:]) == pytest.approx(OFFSET + 123.0, abs=2.0)  # type: ignore[arg-type]


def test_elements_the_model_does_not_know_are_named_before_anything_is_trained(trained: Path, tmp_path: Path) -> None:
    moved(tmp_path, 0.0)
    frames = ase.io.read(tmp_path / "train.extxyz", ":")
    for atoms in frames:
        atoms.numbers[atoms.numbers == 8] = 11
    ase.io.write(tmp_path / "train.extxyz", frames)
    with pytest.raises(InputError, match=r"train\.extxyz holds Na, but .* knows only H, O; leave these structures out"):
        prepare(tuned(tmp_path, trained, loss={"energy": 0.0, "forces": 1.0}), lambda _: None)


def test_an_element_in_a_single_frame_gets_its_shift(trained: Path) -> None:
    """It need not be among the frames that are looked at first; isolated atoms come last."""
    data = samples(30)
    for n, sample in enumerate(data):
        numbers = np.array([1, 1, 1] if n == 8 else [8, 8, 8])
        data[n] = replace(sample, system=replace(sample.system, numbers=numbers))
    found = zero_of_energy(load(trained), data, max_frames=5)
    assert found is not None and set(found.shifts) == {1, 8} and found.frames == 6


def test_nothing_to_train_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is left to train"):
        prepare(tuned(tmp_path, trained, start={"parameters": ["embedding"], "adapter_rank": 2}), lambda _: None)


def test_parts_that_are_not_there_are_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no parameters under 'layer\.0'; there are embedding, energy, layers"):
        train(tuned(tmp_path, trained, start={"parameters": ["layer.0"]}))


@pytest.mark.parametrize(
    ("part", "place"), [("zbl", "terms.1."), ("zbl.power", "terms.1.power"), ("layers.0", "terms.0.layers.0.")]
)
def test_terms_of_a_sum_are_named_as_users_know_them(tmp_path: Path, part: str, place: str) -> None:
    model = tmp_path / "sum.safetensors"
    save(long_range_potential(dtype="float32"), model)
    trained = prepare(tuned(tmp_path, model, start={"parameters": [part]}), lambda _: None).start.trained
    names = [keystr(path, simple=True, separator=".") for path, wanted in tree_leaves_with_path(trained) if wanted]
    assert names and all(name.startswith(place) for name in names)


def test_structures_taken_as_isolated_are_told(tmp_path: Path) -> None:
    model = tmp_path / "sum.safetensors"
    save(long_range_potential(dtype="float32"), model)
    moved(tmp_path, 0.0)
    frames = ase.io.read(tmp_path / "valid.extxyz", ":")
    for atoms in frames[:3]:
        atoms.set_cell([1000.0] * 3)
        atoms.pbc = True
        atoms.center()
    ase.io.write(tmp_path / "valid.extxyz", frames)
    told: list[str] = []
    prepare(tuned(tmp_path, model), told.append)
    assert any(sentence.startswith("3 of 8 validation structures lie in cells") for sentence in told)


def test_unknown_parts_of_a_sum_are_answered_with_the_names_of_its_terms(tmp_path: Path) -> None:
    model = tmp_path / "sum.safetensors"
    save(long_range_potential(dtype="float32"), model)
    with pytest.raises(ConfigError, match=r"no parameters under 'zbl\.strength'; there are .*layers, .*zbl and"):
        prepare(tuned(tmp_path, model, start={"parameters": ["zbl.strength"]}), lambda _: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": TINY.model_dump(), "start": {"model": "m"}}, "`model` has no effect beside `start`"),
        ({"physics": {"electrostatics": True}}, "needs `model.charges: true`"),
        ({"loss": {"hirshfeld_ratios": 1.0}}, "needs `model.hirshfeld_ratios: true`"),
        ({"physics": {"dispersion_scale": 1.1}}, "no effect without `dispersion: true`"),
        ({"physics": {"long_range_cutoff": 9.0}}, "nothing here ends at a cutoff"),
        (
            {"physics": {"electrostatics": True, "full_range": True, "long_range_cutoff": 9.0}},
            "nothing here ends at a cutoff",
        ),
        ({"physics": {"dispersion": True, "long_range_cutoff": float("inf")}}, "long_range_cutoff"),
        ({"model": {}, "start": {"model": "m", "replay_share": 0.3}}, "no effect without `replay`"),
        (
            {"model": {}, "start": {"model": "m"}, "reference_energies": "isolated_atoms"},
            "`reference_energies` has no effect beside `start`",
        ),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(tmp_path, **changes)


@pytest.mark.slow
def test_dipoles_and_ratios_are_learned_beside_forces(tmp_path: Path) -> None:
    """Labels made by fixed charges and ratios, which a network with both heads must find."""
    for name, count, seed in (("train.extxyz", 24, 1), ("valid.extxyz", 8, 2)):
        frames = ase.io.read(write(tmp_path / name, count, seed), ":")
        for atoms in frames:
            atoms.info["REF_dipole"] = np.array([-0.8, 0.4, 0.4]) @ atoms.positions
            atoms.arrays["REF_hirshfeld_ratios"] = np.array([0.9, 0.6, 0.6])
        ase.io.write(tmp_path / name, frames, format="extxyz")
    network = ModelConfig.parse(TINY.model_dump() | {"charges": True, "hirshfeld_ratios": True})
    config = run_config(
        tmp_path,
        model=network.model_dump(),
        physics={"zbl": True, "electrostatics": True, "dispersion": True, "long_range_cutoff": 9.0},
        loss={"dipole": 1.0, "hirshfeld_ratios": 1.0},
        optimizer={"learning_rate": 1e-2, "ema": 0.9},
        budget={"steps": 300},
    )
    result = train(config)
    assert result.metrics.dipole_mae < 0.02 and result.metrics.hirshfeld_ratios_mae < 0.01
    potential = load(config.output)
    assert potential.long_range_cutoff == 9.0
    found = potential.predict([samples(1)[0].system])[0]
    np.testing.assert_allclose(found.charges, [-0.8, 0.4, 0.4], atol=0.05)
    assert set(found.components) == {"network", "zbl", "electrostatics", "dispersion"}
