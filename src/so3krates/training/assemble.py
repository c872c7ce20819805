"""A training configuration from a YAML file and options that override it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from so3krates._errors import ConfigError
from so3krates.config_file import read_values
from so3krates.training.config import TrainConfig

BUDGETS = (("minutes",), ("steps",), ("epochs",))
SOURCES = (("train", "valid"), ("data", "n_train", "n_valid", "split", "split_seed", "split_gap", "group_size"))
"""Ways of saying the same, each with the keys that belong to it alone; the first one chooses the way."""


def assemble(path: Path | None, options: Mapping[str, Any]) -> TrainConfig:
    """Merge: what an option gives takes the place of what the file says; None means not given.

    A budget given as an option replaces the budget of the file, and likewise one way of naming the data the other.

    Raises:
        FileError: if the file cannot be read.
        ConfigError: naming every unknown key and wrong value.
    """
    values = {} if path is None else read_values(path)
    given = _given(options)
    if path is None and not given.get("data"):
        raise ConfigError(
            "no data: give --config FILE, or --train and --valid, or --data with --n-train and --n-valid."
        )
    for section, ways in (("budget", BUDGETS), ("data", SOURCES)):
        new = given.get(section, {})
        if any(way[0] in new for way in ways) and isinstance(values.get(section), dict):
            replaced = {key for way in ways if way[0] not in new for key in way}
            values[section] = {k: v for k, v in values[section].items() if k not in replaced}
    return TrainConfig.parse(_merged(values, given), source=str(path) if path else "command line")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: _given(value) if isinstance(value, Mapping) else value for key, value in options.items()}
    return {key: value for key, value in nested.items() if value is not None and value != {}}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return result
