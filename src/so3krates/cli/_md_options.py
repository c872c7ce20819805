"""The configuration of a run from a file and the options that override it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from so3krates._errors import ConfigError, InputError
from so3krates.md.run_config import ENSEMBLES, RunConfig, parameters

NEEDED = {"model": "MODEL", "start": "START", "output": "-o RUN.h5", "time_ps": "--time-ps TIME"}
"""What a run cannot do without, and how it is written on the command line."""


def assemble(
    file: Path | None,
    options: Mapping[str, Any],
    ensemble: str | None,
    parameters_given: Mapping[str, Any],
    temperature_K: float | None,
) -> RunConfig:
    """Merge: what an option gives takes the place of what the file says; None means not given.

    Args:
        file: YAML file.
        options: by key of `RunConfig`; those of sections as mappings.
        ensemble: its kind; another one than that of the file replaces the whole section.
        parameters_given: of the ensemble.
        temperature_K: of the ensemble if it has one, and of the velocities drawn at the start.

    Raises:
        FileError: if the file cannot be read.
        ConfigError: naming every unknown key and wrong value.
        InputError: for an option that would be ignored.
    """
    from so3krates.config_file import read_values

    values = {} if file is None else read_values(file)
    section = values.get("ensemble", {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"{file}: 'ensemble': expected keys such as kind and temperature_K, received {section!r}")
    given = {name: value for name, value in parameters_given.items() if value is not None}
    kind = ensemble or section.get("kind") or ("langevin" if file is None else None)
    if isinstance(kind, str) and kind in ENSEMBLES:
        _refuse_ignored(kind, given)
        if temperature_K is not None and "temperature_K" in parameters(kind):
            given["temperature_K"] = temperature_K
        same = section if section.get("kind") == kind else {}
        values["ensemble"] = {**same, **given, "kind": kind}
        lacking = [name for name in parameters(kind, needed=True) if name not in values["ensemble"]]
        if lacking:
            raise InputError(f"--ensemble {kind} needs {' and '.join(_spelled(name) for name in lacking)}.")
    if temperature_K is not None:
        values["initial_temperature_K"] = temperature_K
    for name, value in options.items():
        if isinstance(value, Mapping):
            inner = {key: each for key, each in value.items() if each is not None}
            if inner and isinstance(values.setdefault(name, {}), Mapping):
                values[name] = {**values[name], **inner}
        elif value is not None:
            values[name] = value
    missing = [f"{spelling} (or '{key}' in --config FILE)" for key, spelling in NEEDED.items() if key not in values]
    if missing:
        raise InputError(f"a run needs {', '.join(missing)}.")
    return RunConfig.parse(values, source="command line" if file is None else str(file))


def _refuse_ignored(kind: str, given: Mapping[str, Any]) -> None:
    """An option that this ensemble does not have."""
    for name in given:
        if name not in parameters(kind):
            owners = [other for other in ENSEMBLES if name in parameters(other)]
            why = ": Langevin's noise sets a molecule rotating" if (name, kind) == ("fix_rotation", "langevin") else ""
            raise InputError(f"{_spelled(name)} belongs to {' and '.join(owners)}, not to {kind}{why}.")


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"
