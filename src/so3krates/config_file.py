"""Configurations as YAML: read with every mistake named, written with every field explained."""

from collections.abc import Hashable, Iterator
from enum import Enum
from pathlib import Path, PurePath
from textwrap import wrap
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from so3krates._errors import ConfigError, FileError
from so3krates.config import Config

C = TypeVar("C", bound=Config)

WIDTH = 100


def read_config(path: Path, kind: type[C]) -> C:
    """Read a YAML file into a configuration.

    Raises:
        FileError: if the file cannot be read.
        ConfigError: for broken YAML (with line), repeated keys, unknown keys, wrong types.
    """
    return kind.parse(read_values(path), source=str(path))


def read_values(path: Path) -> dict[str, Any]:
    """Read a YAML file without checking its keys.

    Raises:
        FileError: if the file cannot be read.
        ConfigError: for broken YAML (with line) or repeated keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise FileError(f"configuration '{path}' cannot be read: {reason}.") from error
    try:
        values = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected keys and values at the top level, received {type(values).__name__}; "
            "`so3krates config template` prints a file to start from."
        )
    return values


def commented_yaml(config: Config) -> str:
    """The configuration as YAML that reads back to an equal one, each key below a line that explains it."""
    return "\n".join(_lines(config, indent="")) + "\n"


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML data; a key given twice is an error instead of a silent choice of the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _lines(config: Config, indent: str) -> Iterator[str]:
    # What kind a section is comes first, since it decides about the other keys.
    for name, field in sorted(type(config).model_fields.items(), key=lambda item: item[0] != "kind"):
        value = getattr(config, name)
        yield from _comment(field, value, indent)
        if isinstance(value, Config):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_scalar(value)}"
            if value is None:
                yield from _section_to_fill(field, indent)


def _section_to_fill(field: FieldInfo, indent: str) -> Iterator[str]:
    """The keys of a section that is left out, behind comment signs."""
    section = next((part for part in get_args(field.annotation) if _is_config(part)), None)
    for name, key in () if section is None else section.model_fields.items():
        value = "…" if key.is_required() else _scalar(key.default)
        yield f"{indent}#   {name}: {value}  # {key.description}"


def _is_config(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, Config)


def _comment(field: FieldInfo, value: Any, indent: str) -> list[str]:
    nested = isinstance(value, Config)
    text = field.description or ((type(value).__doc__ or "").split("\n")[0] if nested else "")
    choices = _kinds(field.annotation) if nested else _choices(field.annotation)
    if len(choices) > 1:
        text = f"{text} ({'kind: ' if nested else ''}{' | '.join(choices)})"
    return [f"{indent}# {line}" for line in wrap(text, WIDTH - len(indent))]


def _choices(annotation: Any) -> list[str]:
    """The allowed words of a Literal, also inside a union."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _kinds(union: Any) -> list[str]:
    """The kinds among which a discriminated union of configurations chooses."""
    members = [part for part in get_args(union) if _is_config(part)]
    return [
        kind
        for member in members
        if "kind" in member.model_fields
        for kind in _choices(member.model_fields["kind"].annotation)
    ]


def _scalar(value: Any) -> str:
    return (
        yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=1000)
        .removesuffix("...\n")
        .strip()
    )


def _plain(value: Any) -> Any:
    match value:
        case PurePath():
            return str(value)
        case Enum():
            return value.value
        case tuple() | list():
            return [_plain(part) for part in value]
        case _:
            return value
