"""The configuration of a run from a file and the options that override it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from so3krates._errors import ConfigError, InputError
from so3krates.cli._md_flags import EnsembleOptions, MonitorOptions, RecordingOptions, ReplicasOptions
from so3krates.cli._running import Running
from so3krates.md.ensembles.schedule import Ramp, every_temperature, start_of
from so3krates.md.notation import PRESSURES, TEMPERATURES, parse_ramp
from so3krates.md.run_config import ENSEMBLES, OF_EACH, RunConfig, parameters, takers

NEEDED = {"model": "MODEL", "start": "START", "output": "-o RUN.h5", "time_ps": "--time-ps TIME"}
"""What a run cannot do without, and how it is written on the command line."""
SPELLED = {
    "model": "MODEL",
    "start": "START",
    "recording.every_fs": "--save-every-fs",
    "recording.forces": "--save-forces",
    "recording.velocities": "--no-velocities",
    "replicas.count": "--replicas",
}
"""Keys whose options have other names."""
EXAMPLES = {"temperature_K": TEMPERATURES, "pressure_GPa": PRESSURES}
WHY = {("fix_rotation", "langevin"): ": Langevin's noise sets a molecule rotating"}
"""Of a parameter that an ensemble does not have."""


def assemble(
    file: Path | None,
    options: Mapping[str, Any],
    ensemble: EnsembleOptions,
    recording: RecordingOptions,
    replicas: ReplicasOptions,
    monitor: MonitorOptions,
    running: Running,
) -> RunConfig:
    """Merge: what an option gives takes the place of what the file says; None means not given.

    Args:
        file: YAML file.
        options: by key of `RunConfig`.
        ensemble: another kind than that of the file replaces the whole section; the temperature is also that of the
            velocities drawn at the start.
        recording: of its section; the same for the others.
        replicas: see above.
        monitor: see above.
        running: see above.

    Raises:
        FileError: if the file cannot be read.
        ConfigError: naming every unknown key and wrong value.
        InputError: for an option that would be ignored.
    """
    from so3krates.config_file import read_values

    values = {} if file is None else read_values(file)
    watched = asdict(monitor)
    committee = watched.pop("committee")
    many = asdict(replicas)
    sections = {
        "recording": _recording(recording),
        "replicas": many | {"count": many.pop("replicas")},
        "monitor": watched,
        "running": asdict(running) | {"full_range": running.full_range or None},
    }
    top = {**options, "committee": None if committee is None else [str(member) for member in committee]}
    given_at_top = {name: value for name, value in top.items() if value is not None}
    values |= given_at_top
    _refuse_missing(values)
    told = list(given_at_top)
    for name, section in sections.items():
        given = {key: value for key, value in section.items() if value is not None}
        told += [f"{name}.{key}" for key in given]
        before = values.get(name) or {}
        if given and isinstance(before, Mapping):
            values[name] = {**before, **given}
    _merge_ensemble(file, values, ensemble, many)
    told += [f"ensemble.{key}" for key, value in _of_ensemble(ensemble).items() if value is not None]
    by_option = {key: SPELLED.get(key, _spelled(key.split(".")[-1])) for key in told}
    return RunConfig.parse(values, source="command line" if file is None else str(file), options=by_option)


def _refuse_missing(values: Mapping[str, Any]) -> None:
    missing = [key for key in NEEDED if key not in values]
    if missing:
        options, keys = _listed([NEEDED[key] for key in missing]), _listed([f"'{key}'" for key in missing])
        raise InputError(f"a run needs {options} (or {keys} in --config FILE).")


def _listed(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _recording(options: RecordingOptions) -> dict[str, Any]:
    return {
        "every_fs": options.save_every_fs,
        "scalars_every_fs": options.scalars_every_fs,
        "forces": options.save_forces or None,
        "velocities": False if options.no_velocities else None,
        "precision": options.precision,
        "compression": options.compression,
    }


def _of_ensemble(options: EnsembleOptions) -> dict[str, Any]:
    """None for what is not given, a flag too."""
    return asdict(options) | {"fix_rotation": options.fix_rotation or None}


def _merge_ensemble(
    file: Path | None, values: dict[str, Any], options: EnsembleOptions, of_replicas: Mapping[str, Any]
) -> None:
    """Put the section together, and the temperature of the start."""
    section = values.get("ensemble", {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"{file}: 'ensemble': expected keys such as kind and temperature_K, received {section!r}")
    given = _of_ensemble(options)
    kind = given.pop("ensemble") or section.get("kind") or ("langevin" if file is None else None)
    for name in EXAMPLES:
        if given[name] is not None:
            given[name] = parse_ramp(given[name], _spelled(name), EXAMPLES[name])
    given = {name: value for name, value in given.items() if value is not None}
    temperature = given.get("temperature_K")
    if temperature is not None:
        try:
            every_temperature(temperature)
        except ValueError as error:
            raise InputError(f"{_spelled('temperature_K')}: {error}.") from error
        values["initial_temperature_K"] = start_of(temperature)
    if not (isinstance(kind, str) and kind in ENSEMBLES):
        return
    if temperature is not None and "temperature_K" not in parameters(kind):
        if isinstance(temperature, Ramp):
            raise InputError(f"{kind} has no thermostat that could follow a ramp; give --temperature-K of the start.")
        del given["temperature_K"]
    _refuse_ignored(kind, given)
    same = dict(section) if section.get("kind") == kind else {}
    for one, many in OF_EACH.items():
        if of_replicas[many] is not None:
            if one in given:
                raise InputError(f"{_spelled(many)} takes the place of {_spelled(one)}; give one of them.")
            same.pop(one, None)
    values["ensemble"] = {**same, **given, "kind": kind}
    replicas = values.get("replicas")
    of_each = [one for one, many in OF_EACH.items() if isinstance(replicas, Mapping) and replicas.get(many)]
    lacking = [name for name in parameters(kind, needed=True) if name not in (*values["ensemble"], *of_each)]
    if lacking:
        raise InputError(f"--ensemble {kind} needs {' and '.join(_spelled(name) for name in lacking)}.")


def _refuse_ignored(kind: str, given: Mapping[str, Any]) -> None:
    """An option that this ensemble does not have."""
    for name in given:
        if name not in parameters(kind):
            raise InputError(f"{_spelled(name)} belongs to {takers(name)}, not to {kind}{WHY.get((name, kind), '')}.")


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"
