"""`so3krates config template|validate|schema`: configurations of training and of dynamics as files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from so3krates._errors import InputError
from so3krates.config_file import commented_yaml, read_values

if TYPE_CHECKING:
    from so3krates.config import Config

Ensemble = Literal["nve", "langevin", "nose-hoover", "csvr", "npt-scr", "npt-mtk"]
RAMPS = """\
# Temperatures and pressures of an ensemble may be ramps: {time_ps: [0, 20], value: [100, 300]}
# The keys of another ensemble: so3krates config template md --ensemble npt-scr

"""

config = App(
    name="config",
    help="Print a configuration of training or dynamics to start from, validate one, or print its JSON schema.",
)


@config.command
def template(verb: Literal["train", "md"] = "train", /, *, ensemble: Ensemble | None = None) -> None:
    """Print a commented configuration with every default; redirect it to a file and edit.

    Parameters
    ----------
    verb
        The command it is for.
    ensemble
        Of dynamics, whose keys are shown; langevin if not given.
    """
    if verb == "md":
        print(_dynamics(ensemble or "langevin"), end="")
        return
    if ensemble is not None:
        raise InputError("--ensemble belongs to the template of md, not to that of train.")
    print(commented_yaml(_kind(verb).parse({"data": {"train": "train.extxyz", "valid": "valid.extxyz"}})), end="")


@config.command
def validate(file: Path, /) -> None:
    """Check a configuration without starting anything; one with an `ensemble` is of dynamics.

    Parameters
    ----------
    file
        YAML file.
    """
    values = read_values(file)
    dynamics = "ensemble" in values
    _kind("md" if dynamics else "train").parse(values, source=str(file))
    what = "dynamics configuration (the model and structure" if dynamics else "training configuration (the data files"
    print(f"{file}: a valid {what} it names were not opened)")


@config.command
def schema(verb: Literal["train", "md"] = "train", /) -> None:
    """Print the JSON schema of a configuration, for editors that complete and check YAML.

    Parameters
    ----------
    verb
        The command it is for.
    """
    print(json.dumps(_kind(verb).model_json_schema(), indent=2))


def _dynamics(ensemble: str) -> str:
    """The template of a run."""
    from so3krates.md.run_config import RunConfig, parameters

    section: dict[str, Any] = {"kind": ensemble}
    run: dict[str, Any] = {"model": "model.safetensors", "start": "start.xyz", "output": "run.h5", "time_ps": 100.0}
    if "temperature_K" in parameters(ensemble):
        section["temperature_K"] = 300.0
    else:
        run["initial_temperature_K"] = 300.0
    return RAMPS + commented_yaml(RunConfig.parse(run | {"ensemble": section}))


def _kind(verb: str) -> "type[Config]":
    if verb == "md":
        from so3krates.md.run_config import RunConfig

        return RunConfig
    from so3krates.training.config import TrainConfig

    return TrainConfig
