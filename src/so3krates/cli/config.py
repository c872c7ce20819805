"""`so3krates config template|validate|schema`: the training configuration as a file."""

import json
from pathlib import Path

from cyclopts import App

from so3krates.config_file import commented_yaml, read_config

config = App(
    name="config", help="Print a training configuration to start from, validate one, or print its JSON schema."
)


@config.command
def template() -> None:
    """Print a commented training configuration with every default; redirect it to a file and edit."""
    from so3krates.training.config import TrainConfig

    example = {"data": {"train": "train.extxyz", "valid": "valid.extxyz"}}
    print(commented_yaml(TrainConfig.parse(example)), end="")


@config.command
def validate(file: Path, /) -> None:
    """Check a training configuration without starting anything.

    Parameters
    ----------
    file
        YAML file.
    """
    from so3krates.training.config import TrainConfig

    read_config(file, TrainConfig)
    print(f"{file}: a valid training configuration (the data files it names were not opened)")


@config.command
def schema() -> None:
    """Print the JSON schema of the training configuration, for editors that complete and check YAML."""
    from so3krates.training.config import TrainConfig

    print(json.dumps(TrainConfig.model_json_schema(), indent=2))
