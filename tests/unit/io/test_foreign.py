"""The original's files as our model: every key and array used, known to be without effect, or refused by name."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so3krates._errors import ConfigError, FileError, So3kratesError
from so3krates.io import foreign_names
from so3krates.io.foreign import model_config, read_mlff
from so3krates.io.foreign_check import ForeignNetwork, Molecule
from so3krates.io.foreign_convert import CHECK_POSITIONS, Conversion, Files, convert_mlff, find_files
from so3krates.io.model_file import load
from so3krates.system import System

Arrays = dict[str, np.ndarray]
F, H, D, K, ROWS = 12, 3, 2, 6, 119


def hyperparameters(**changes: Any) -> dict[str, Any]:
    model = {
        "num_features": F,
        "num_features_head": 4,
        "num_heads": H,
        "num_layers": 2,
        "degrees": [1, 4],
        "cutoff": 4.0,
        "cutoff_fn": "phys",
        "radial_basis_fn": "bernstein",
        "num_radial_basis_fn": K,
        "message_normalization": "avg_num_neighbors",
        "qk_non_linearity": "identity",
        "activation_fn": "silu",
        "energy_activation_fn": "silu",
        "energy_regression_dim": 8,
        "energy_learn_atomic_type_scales": True,
        "energy_learn_atomic_type_shifts": True,
        "layer_normalization_1": True,
        "layer_normalization_2": True,
        "residual_mlp_1": True,
        "residual_mlp_2": False,
        "use_charge_embed": True,
        "use_spin_embed": True,
        "zbl_repulsion_bool": False,
        "electrostatic_energy_bool": False,
        "dispersion_energy_bool": False,
        "output_is_zero_at_init": False,
    }
    return {"model": {**model, **changes}, "data": {"avg_num_neighbors": 5.5}, "workdir": "x"}


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "feature_embeddings_0/Embed_0/embedding", (ROWS, F)
    for n in (1, 2):
        name = f"feature_embeddings_{n}/ChargeSpinEmbedSparse_0"
        yield f"{name}/Embed_0/embedding", (ROWS, F)
        yield from ((f"{name}/Embed_{k}/embedding", (2, F)) for k in (1, 2))
        yield from ((f"{name}/Residual_0/layers_{k}/kernel", (F, F)) for k in (0, 1))
    dense = [("observables_0/energy_dense_regression", F, 8), ("observables_0/energy_dense_final", 8, 1)]
    for n in range(2):
        block = f"layers_{n}/attention_block"
        yield from ((f"{block}/{w}1", (H, F // H, F // H)) for w in ("Wq", "Wk", "Wv"))
        yield from ((f"{block}/{w}2", (D, F // D, F // D)) for w in ("Wq", "Wk"))
        for k in (1, 2):
            dense += [(f"{block}/radial_filter{k}_layer_1", K, F), (f"{block}/radial_filter{k}_layer_2", F, F)]
            dense += [(f"{block}/spherical_filter{k}_layer_1", D, F // 4)]
            dense += [(f"{block}/spherical_filter{k}_layer_2", F // 4, F)]
        dense += [(f"layers_{n}/exchange_block/mlp_layer_2", F + D, F + D)]
        dense += [(f"layers_{n}/res_mlp_1_layer_{k}", F, F) for k in (1, 2)]
        for k in (1, 2):
            yield from ((f"layers_{n}/layer_normalization_{k}/{part}", (F,)) for part in ("scale", "bias"))
    for name, inputs, outputs in dense:
        yield f"{name}/kernel", (inputs, outputs)
        yield f"{name}/bias", (outputs,)
    yield "observables_0/atomic_scales", (ROWS,)
    yield "observables_0/energy_offset", (ROWS,)


@pytest.fixture
def arrays(rng: np.random.Generator) -> Arrays:
    def filled(shape: tuple[int, ...]) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1.0)).astype(np.float32)

    return {f"params/{name}": filled(shape) for name, shape in shapes()}


@pytest.fixture
def files(tmp_path: Path, arrays: Arrays) -> Files:
    np.savez(tmp_path / "params.npz", **arrays)  # type: ignore[arg-type]
    (tmp_path / "hyperparameters.json").write_text(json.dumps(hyperparameters()))
    return find_files(tmp_path)


@pytest.mark.parametrize("totals", [(0.0, 0.0), (1.0, 1.0), (-2.0, 0.0), (-1.0, 3.0)])
def test_every_option_agrees_with_the_separate_evaluation(arrays: Arrays, totals: tuple[float, float]) -> None:
    potential = read_mlff(arrays, hyperparameters()).potential.astype("float64")
    numbers = np.array([1, 6, 7, 8, 1, 16, 118, 1, 3, 9])
    system = System(CHECK_POSITIONS, numbers, charge=totals[0], unpaired=totals[1])
    network = ForeignNetwork(arrays, hyperparameters())
    energy, forces = potential.energy_and_forces(system)
    molecule = Molecule(CHECK_POSITIONS, numbers, *totals)
    assert energy == pytest.approx(network.energy(molecule), abs=1e-11)
    np.testing.assert_allclose(forces, network.forces(molecule), atol=1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"message_normalization": "sqrt_num_features", "cutoff_fn": "cosine", "radial_basis_fn": "physnet"},
        {"message_normalization": "identity", "cutoff_fn": "exponential"},
        {"activation_fn": "swish"},
    ],
)
def test_other_choices_agree_too(arrays: Arrays, changes: dict[str, str]) -> None:
    chosen = hyperparameters(**changes)
    numbers = np.array([1, 6, 7, 8, 1, 16, 118, 1, 3, 9])
    potential = read_mlff(arrays, chosen).potential.astype("float64")
    expected = ForeignNetwork(arrays, chosen).energy(Molecule(CHECK_POSITIONS, numbers))
    assert potential.energy(System(CHECK_POSITIONS, numbers)) == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_a_spin_embedding_alone_is_the_first_in_the_file(arrays: Arrays) -> None:
    chosen = hyperparameters(use_charge_embed=False)
    kept = {name: array for name, array in arrays.items() if "feature_embeddings_2" not in name}
    potential = read_mlff(kept, chosen).potential.astype("float64")
    assert (potential.model.charge_embedding, potential.model.spin_embedding is None) == (None, False)
    numbers = np.full(10, 6)
    expected = ForeignNetwork(kept, chosen).energy(Molecule(CHECK_POSITIONS, numbers, 0.0, 2.0))
    assert potential.energy(System(CHECK_POSITIONS, numbers, unpaired=2.0)) == pytest.approx(expected, abs=1e-11)


def test_config_of_the_original() -> None:
    config = model_config(hyperparameters())
    assert (config.attention_scale, config.mean_neighbors) == ("mean_neighbors", 5.5)
    assert (config.cutoff_function, config.radial_basis, config.degrees) == ("polynomial", "bernstein", (1, 4))


def term_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"observables_0/zbl_repulsion/{name}", (1,)) for name in "a1 a2 a3 a4 c1 c2 c3 c4 d p".split())
    charges = "observables_0/electrostatic_energy/partial_charges"
    for name, inputs, outputs in (
        (f"{charges}/charge_dense_regression_vec", F, F),
        (f"{charges}/charge_dense_final_vec", F, 1),
        ("observables_2/hirshfeld_ratios_dense_regression", F, F // 2),
        ("observables_2/hirshfeld_ratios_dense_final", F // 2, F // 2),
    ):
        yield f"{name}/kernel", (inputs, outputs)
        yield f"{name}/bias", (outputs,)
    yield f"{charges}/Embed_0/embedding", (100, 1)
    yield "observables_2/Embed_0/embedding", (100, 1)
    yield "observables_2/Embed_1/embedding", (100, F // 2)


WITH_TERMS = {
    "zbl_repulsion_bool": True,
    "electrostatic_energy_bool": True,
    "electrostatic_energy_scale": 3.0,
    "dispersion_energy_bool": True,
    "dispersion_energy_scale": 1.1,
}


ALL_TERMS = ("zbl", "electrostatic", "dispersion")


@pytest.mark.parametrize("terms", [ALL_TERMS[:1], ALL_TERMS[:2], ALL_TERMS[1:], ALL_TERMS])
def test_analytic_terms_agree_with_the_separate_evaluation(
    arrays: Arrays, rng: np.random.Generator, terms: tuple[str, ...]
) -> None:
    chosen = {key: value for key, value in WITH_TERMS.items() if key.startswith(terms)}
    prefixes = {"zbl": "observables_0/zbl", "electrostatic": "observables_0/elec", "dispersion": "observables_2"}
    wanted = tuple(prefixes[term] for term in terms)
    extra = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in term_shapes() if name.startswith(wanted)
    }
    found = read_mlff(arrays | {f"params/{name}": array for name, array in extra.items()}, hyperparameters(**chosen))
    potential = found.potential.astype("float64")
    numbers = np.array([8, 1, 6, 1, 7, 16, 9, 17, 15, 6])
    molecule = Molecule(CHECK_POSITIONS, numbers, -1.0, 1.0)
    expected = ForeignNetwork(arrays | {f"params/{n}": a for n, a in extra.items()}, hyperparameters(**chosen))
    ours = potential.energy(System(CHECK_POSITIONS, numbers, charge=-1.0, unpaired=1.0))
    assert ours == pytest.approx(expected.energy(molecule), rel=1e-12, abs=1e-10)
    assert found.unused == ()


def test_missing_parameters_of_terms_are_named(arrays: Arrays) -> None:
    with pytest.raises(FileError, match="lacks 'observables_0/zbl_repulsion/a1'"):
        read_mlff(arrays, hyperparameters(zbl_repulsion_bool=True))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"qk_non_linearity": "silu"}, "model.qk_non_linearity is 'silu'"),
        ({"activation_fn": "relu"}, "model.activation_fn is 'relu'"),
        ({"energy_activation_fn": "identity"}, "model.energy_activation_fn is 'identity'"),
        ({"residual_mlp_2": True}, "model.residual_mlp_2 is True"),
        ({"radial_basis_fn": "gaussian"}, "model.radial_basis_fn is 'gaussian'; readable are 'physnet', 'bernstein'"),
        ({"cutoff_fn": "polynomial"}, "model.cutoff_fn is 'polynomial'"),
        ({"message_normalization": "other"}, "model.message_normalization is 'other'"),
        ({"energy_regression_dim": None}, "model.energy_regression_dim is null"),
        ({"dispersion_energy_bool": True}, "dispersion without electrostatics"),
        ({"electrostatic_energy_bool": True}, "model.electrostatic_energy_scale is missing"),
        ({"dispersion_energy_cutoff_lr_damping": 3.0}, "model.dispersion_energy_cutoff_lr_damping is 3.0"),
        ({"new_option": 1}, "'model.new_option' is not known here"),
        ({"num_heads": 5}, "not divisible by heads 5"),
        ({"degrees": [4, 1]}, "ascending"),
    ],
)
def test_options_are_refused_by_name(arrays: Arrays, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_mlff(arrays, hyperparameters(**changes))


@pytest.mark.parametrize("key", ["qk_non_linearity", "activation_fn", "cutoff", "cutoff_fn", "message_normalization"])
def test_missing_options_are_named(arrays: Arrays, key: str) -> None:
    chosen = hyperparameters()
    del chosen["model"][key]
    with pytest.raises(ConfigError, match=f"model.{key} is missing"):
        read_mlff(arrays, chosen)


def test_unknown_sections_and_missing_means(arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match="'extra' is not known"):
        read_mlff(arrays, {**hyperparameters(), "extra": 1})
    with pytest.raises(ConfigError, match=r"'data\.new' is not known"):
        read_mlff(arrays, {**hyperparameters(), "data": {"new": 1}})
    with pytest.raises(ConfigError, match="avg_num_neighbors is missing"):
        read_mlff(arrays, {**hyperparameters(), "data": {}})
    with pytest.raises(ConfigError, match="no section 'model'"):
        read_mlff(arrays, {"stack_net_sparse": {}})


def test_arrays_are_refused_by_name(arrays: Arrays) -> None:
    wq = "params/layers_0/attention_block/Wq1"
    for change, sentence in (
        ({wq: None}, "lacks 'layers_0/attention_block/Wq1'"),
        ({"params/layers_0/res_mlp_2_layer_1/kernel": np.ones((F, F))}, "holds 'layers_0/res_mlp_2_layer_1/kernel'"),
        ({"params/observables_0/zbl_repulsion/a1": np.ones(1)}, "holds 'observables_0/zbl_repulsion/a1'"),
        ({wq: np.ones((H, 4, 5), np.float32)}, r"query_f' has shape \(3, 5, 4\)"),
        ({wq: np.ones((H, 4, 4), np.int64)}, "'layers_0/attention_block/Wq1' is int64"),
        ({wq: np.full((H, 4, 4), np.nan)}, "holds values that are not finite"),
        ({wq.removeprefix("params/"): np.ones((H, 4, 4))}, "twice"),
    ):
        broken = {name: array for name, array in {**arrays, **change}.items() if array is not None}
        with pytest.raises(FileError, match=sentence):
            read_mlff(broken, hyperparameters())


def test_heads_beside_the_energy_are_reported(arrays: Arrays) -> None:
    beside = "observables_0/electrostatic_energy/partial_charges/charge_dense_final_vec/bias"
    found = read_mlff({**arrays, f"params/{beside}": np.ones(1)}, hyperparameters())
    assert found.unused == (beside,)
    assert found.potential.dtype == np.float32


def test_a_shorter_table_knows_fewer_elements(arrays: Arrays) -> None:
    short = {name: (a[:100] if len(a) == ROWS else a) for name, a in arrays.items()}
    potential = read_mlff(short, hyperparameters()).potential
    assert potential.elements is not None
    assert potential.elements.numbers == tuple(range(1, 100))
    with pytest.raises(So3kratesError, match="the model knows only"):
        potential.energy(System(np.zeros((1, 3)), np.array([100])))
    with pytest.raises(ConfigError, match="has parameters for 1 to 99"):
        read_mlff(short, hyperparameters(), numbers=(1, 100))


def test_energy_shifts_are_added_on_request_alone(arrays: Arrays) -> None:
    chosen = hyperparameters()
    chosen["data"]["energy_shifts"] = {"1": -13.5, "6": -1000.25}
    plain = read_mlff(arrays, chosen, numbers=(6, 1)).potential.elements
    shifted = read_mlff(arrays, chosen, numbers=(6, 1), energy_shifts=True).potential.elements
    assert plain is not None and shifted is not None
    assert (plain.numbers, plain.energies) == ((1, 6), (0.0, 0.0))
    assert (shifted.numbers, shifted.energies) == ((1, 6), (-13.5, -1000.25))
    with pytest.raises(ConfigError, match="no entry for atomic number 2"):
        read_mlff(arrays, chosen, energy_shifts=True)
    with pytest.raises(ConfigError, match="energy_shifts is missing"):
        read_mlff(arrays, hyperparameters(), energy_shifts=True)


def test_conversion_writes_what_it_checked(files: Files, tmp_path: Path) -> None:
    done = convert_mlff(files, tmp_path / "m.safetensors", numbers=(1, 6, 8))
    assert isinstance(done, Conversion)
    assert done.check.energy < 1e-9
    assert done.check.forces < 1e-6
    written = load(tmp_path / "m.safetensors")
    assert written.elements is not None
    assert written.elements.numbers == (1, 6, 8)
    assert json.loads(written.provenance)["converted_from"] == "mlff"


def _as_is(array: np.ndarray) -> np.ndarray:
    return array


def test_a_wrong_mapping_is_caught_and_leaves_no_file(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_names, "_transposed", _as_is)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileError, match=r"disagrees with a separate evaluation .*; no file was written"):
        convert_mlff(files, tmp_path / "m.safetensors")
    assert sorted(tmp_path.iterdir()) == before


def test_reference_values_are_checked(files: Files, tmp_path: Path, arrays: Arrays) -> None:
    numbers = np.full(10, 8)
    molecule = Molecule(CHECK_POSITIONS, numbers, -1.0, 1.0)
    network = ForeignNetwork(arrays, hyperparameters())
    values: dict[str, Any] = {
        "positions": CHECK_POSITIONS,
        "numbers": numbers,
        "energy": network.energy(molecule),
        "forces": network.forces(molecule),
        "total_charge": -1.0,
        "num_unpaired_electrons": 1.0,
    }
    reference, output = tmp_path / "reference.npz", tmp_path / "m.safetensors"
    np.savez(reference, **values)
    done = convert_mlff(files, output, reference=reference)
    assert done.reference is not None
    assert done.reference.energy < 1e-9
    output.write_bytes(b"older")
    cases = [
        ({**values, "energy": values["energy"] + 1e-3}, "disagrees with '.*reference.npz'"),
        ({**values, "forces": values["forces"] * 1.01}, "disagrees with '.*reference.npz'"),
        ({**values, "energy": np.nan}, "disagrees"),
        ({**values, "total_charge": 0.0}, "disagrees"),
        ({**values, "forces": np.zeros((3, 3))}, "forces have shape"),
        ({key: value for key, value in values.items() if key != "forces"}, "lacks 'forces'"),
    ]
    for broken, sentence in cases:
        np.savez(reference, **broken)
        with pytest.raises(So3kratesError, match=sentence):
            convert_mlff(files, output, reference=reference)
        assert output.read_bytes() == b"older"


def test_files_that_cannot_be_read(files: Files, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    truncated = tmp_path / "truncated.npz"
    truncated.write_bytes(files.parameters.read_bytes()[:-300])
    text = tmp_path / "text.json"
    text.write_text("{")
    for broken, sentence in (
        (files._replace(parameters=truncated), "not a complete npz"),
        (files._replace(parameters=tmp_path / "none.npz"), "cannot be read: No such file"),
        (files._replace(hyperparameters=text), "is not JSON"),
        (files._replace(hyperparameters=tmp_path / "none.json"), "cannot be read: No such file"),
    ):
        with pytest.raises(FileError, match=sentence):
            convert_mlff(broken, output)
    with pytest.raises(FileError, match="is not a folder"):
        find_files(tmp_path / "none")
    (tmp_path / "params.pkl").write_bytes(b"")
    with pytest.raises(FileError, match="both params.npz and params.pkl"):
        find_files(tmp_path)
    assert not output.exists()


def test_reading_changes_no_argument(arrays: Arrays) -> None:
    chosen = hyperparameters()
    before = copy.deepcopy(chosen)
    read_mlff(arrays, chosen)
    assert chosen == before
