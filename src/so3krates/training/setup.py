"""From a configuration to everything the loop needs: data, reference energies, model, what a resume must find."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ase.data import chemical_symbols

from so3krates._errors import ConfigError, InputError
from so3krates._version import __version__
from so3krates.data.batching import BatchSource
from so3krates.data.frames import about
from so3krates.data.readers import read_dataset
from so3krates.data.sample import LABELS, Dataset
from so3krates.data.split import split_dataset
from so3krates.data.statistics import DatasetStatistics, dataset_statistics
from so3krates.io import weights
from so3krates.model import ModelConfig
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.training.config import DataConfig, LossConfig, TrainConfig
from so3krates.training.start import Start, fresh, from_model, with_elements_of, with_replay

Tell = Callable[[str], None]
FINGERPRINT_BYTES = 2**25


class Setup(NamedTuple):
    """A run ready to start."""

    config: TrainConfig
    """With everything measured filled in: mean number of neighbours, batch size."""
    start: Start
    train: BatchSource
    valid: BatchSource
    settings: Mapping[str, Any]
    """Everything that must not change between a run and its continuation, by name."""


def prepare(config: TrainConfig, tell: Tell) -> Setup:
    """Read the data, refuse what cannot work, measure what the model needs.

    Raises:
        InputError: for data without the labels that the loss weighs, elements in the validation data that the
            training data lack, or too few structures.
    """
    train, valid = open_data(config.data)
    tell(f"training on {len(train)} structures of {about(train).path}, validating on {len(valid)}")
    batch_size = config.batch_size or default_batch_size(len(train))
    if batch_size > len(train):
        raise ConfigError(f"batch_size {batch_size} is larger than the {len(train)} training structures.")
    config = config.model_copy(update={"batch_size": batch_size})
    cutoff = config.model.cutoff
    statistics = dataset_statistics(train, cutoff, config.reference_energies)
    require_labels(statistics, config.loss, str(about(train).path))
    if config.start is None:
        network = _with_neighbors(config.model, statistics.mean_neighbors)
        config = config.model_copy(update={"model": network})
        start = fresh(config, _element_table(statistics, tell))
    else:
        start = from_model(config, config.start, train, tell)
        assert start.potential.elements is not None
        _require_heads(start.potential, config.loss)
        _require_known(statistics.elements, start.potential.elements, config.start.model, str(about(train).path))
        train = with_replay(train, config.start, config, start.potential.elements, tell)
        start = start._replace(potential=with_elements_of(start.potential, train, config, tell))
    training, validation = BatchSource(train, start.potential), BatchSource(valid, start.potential)
    assert start.potential.elements is not None
    _check_valid(validation, start.potential.elements, config.loss, str(about(valid).path))
    _tell_isolated(start.potential, valid, tell)
    settings = _settings(config, start.potential.elements, len(train), len(valid))
    return Setup(config, start, training, validation, settings)


def _require_heads(potential: Potential, loss: LossConfig) -> None:
    for name, predicted in (("dipole", potential.predicts_charges), ("hirshfeld_ratios", potential.predicts_ratios)):
        if getattr(loss, name) and not predicted:
            raise ConfigError(f"the loss weighs {name} with {getattr(loss, name)}, but start.model predicts none.")


def _require_known(elements: tuple[int, ...], known: ElementTable, model: str, path: str) -> None:
    missing = [chemical_symbols[z] for z in elements if z not in known.numbers]
    if missing:
        names = ", ".join(chemical_symbols[z] for z in known.numbers)
        raise InputError(
            f"{path} holds {', '.join(missing)}, but '{model}' knows only {names}; leave these structures out, or "
            "train a model from the beginning (without start)."
        )


def open_data(config: DataConfig) -> tuple[Dataset, Dataset]:
    """Training and validation data."""
    if config.train is not None and config.valid is not None:
        return _read(config.train, config), _read(config.valid, config)
    assert config.data is not None and config.n_train is not None and config.n_valid is not None
    dataset = _read(config.data, config)
    split = split_dataset(
        dataset,
        n_train=config.n_train,
        n_valid=config.n_valid,
        method=config.split,
        seed=config.split_seed,
        gap=config.split_gap,
        group_size=config.group_size,
    )
    return split.of(dataset)[:2]


def _read(path: Path, config: DataConfig) -> Dataset:
    return read_dataset(
        path,
        energy_unit=config.energy_unit,
        length_unit=config.length_unit,
        force_unit=config.force_unit,
        stress_unit=config.stress_unit,
        dipole_unit=config.dipole_unit,
        energy_key=config.energy_key,
        forces_key=config.forces_key,
        stress_key=config.stress_key,
        virials_key=config.virials_key,
        dipole_key=config.dipole_key,
        hirshfeld_key=config.hirshfeld_key,
    )


def require_labels(statistics: DatasetStatistics, loss: LossConfig, source: str) -> None:
    """Refuse a weighted loss without labels.

    Raises:
        InputError: naming the label, its weight and the file.
    """
    for name, count in statistics.counts.items():
        weight = getattr(loss, name)
        if weight and not count:
            raise InputError(
                f"{source}: the loss weighs {name} with {weight}, but none of the {statistics.frames} structures "
                f"has such a label; check the keys with `so3krates check`, or set loss.{name} to 0."
            )


def default_batch_size(structures: int) -> int:
    """4 below 1,000 structures, 10 below 10,000, 100 above; at most all of them."""
    return min(structures, 4 if structures < 1_000 else 10 if structures < 10_000 else 100)


def _element_table(statistics: DatasetStatistics, tell: Tell) -> ElementTable:
    """Elements of the training data; without energy labels their reference energies are zero."""
    if statistics.shifts is None:
        return ElementTable(numbers=statistics.elements, energies=(0.0,) * len(statistics.elements))
    tell(statistics.shifts.note)
    return ElementTable(
        numbers=statistics.elements, energies=tuple(statistics.shifts.energies[z] for z in statistics.elements)
    )


def _with_neighbors(config: ModelConfig, measured: float) -> ModelConfig:
    if not config.needs_mean_neighbors or config.mean_neighbors is not None:
        return config
    return config.model_copy(update={"mean_neighbors": max(measured, 1.0)})


def _check_valid(source: BatchSource, elements: ElementTable, loss: LossConfig, path: str) -> None:
    """Every validation structure must be one the model can be asked about, and some label must be there to compare."""
    labelled = False
    for index in range(len(source)):
        sample = source.prepared(index).sample
        unknown = sorted(set(sample.system.numbers.tolist()) - set(elements.numbers))
        if unknown:
            raise InputError(
                f"{sample.origin or path}: element with atomic number {unknown[0]} occurs in the validation data but "
                "not in the training data; split the data so that both hold all elements."
            )
        labelled |= any(getattr(loss, name) and getattr(sample, name) is not None for name in LABELS)
    if not labelled:
        raise InputError(f"{path}: the validation data hold none of the labels that the loss weighs.")


def _tell_isolated(potential: Potential, valid: Dataset, tell: Tell) -> None:
    """Validation structures stand for all: what long-range terms make of their cells must not be a surprise."""
    if not potential.looks_far:
        return
    systems = [valid[n].system for n in range(len(valid))]
    isolated = sum(potential.treated(system) is not system for system in systems)
    if isolated:
        tell(
            f"{isolated} of {len(systems)} validation structures lie in cells that are empty and far larger than they "
            "are: such structures are taken as isolated molecules"
        )


def _settings(config: TrainConfig, elements: ElementTable, n_train: int, n_valid: int) -> dict[str, Any]:
    """What must be the same on resume, by name. The budget may be extended and logging may change; nothing else."""
    values = _flat(config.model_dump(mode="json", exclude={"budget", "log", "output"}))
    files = [values[f"data.{key}"] for key in ("train", "valid", "data")]
    if config.start is not None:
        files += [config.start.model, config.start.replay]
    for file in files:
        # The name of published weights is no file; it says itself which they are.
        if file and weights.name_of(file) is None:
            values[f"content of {file}"] = _fingerprint(str(file))
    return values | {
        "reference energies": elements.model_dump(mode="json"),
        "number of training structures": n_train,
        "number of validation structures": n_valid,
        "version of so3krates": __version__,
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _fingerprint(name: str) -> str:
    """SHA-256 over size, beginning and end of a file: whole files of many gigabytes would take too long."""
    path = Path(name)
    path = path if path.exists() else Path(name.rpartition("@")[0])
    size = path.stat().st_size
    with open(path, "rb") as file:
        parts = [file.read(FINGERPRINT_BYTES)]
        file.seek(max(size - FINGERPRINT_BYTES, 0))
        parts.append(file.read())
    return hashlib.sha256(b"%d" % size + b"".join(parts)).hexdigest()
