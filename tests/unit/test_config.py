"""Configurations: frozen, forbidding, and errors that name the key."""

import pydantic
import pytest

from so3krates._errors import ConfigError, InputError, So3kratesError
from so3krates.config import Config


class Inner(Config):
    steps: int = 3


class Outer(Config):
    name: str
    length: float = 1.0
    inner: Inner = Inner()


def test_parses_nested_values() -> None:
    config = Outer.parse({"name": "a", "inner": {"steps": 5}})
    assert type(config) is Outer
    assert (config.name, config.inner.steps) == ("a", 5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "a", "colour": 1}, "unknown key 'colour'"),
        ({"name": "a", "inner": {"step": 1}}, "unknown key 'inner.step'"),
        ({}, "key 'name' is required"),
        ({"name": "a", "inner": {"steps": "many"}}, "'inner.steps'.*received 'many'"),
        ([], "top level"),
        ({"name": "a", "length": float("inf")}, "'length': Input should be a finite number, received inf"),
        ({"name": "a", "length": float("nan")}, "'length': Input should be a finite number"),
    ],
)
def test_errors_name_source_key_and_value(values: object, words: str) -> None:
    with pytest.raises(ConfigError, match=f"run.yaml: .*{words}"):
        Outer.parse(values, source="run.yaml")


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'x'.*unknown key 'y'|'name' is required.*"):
        Outer.parse({"x": 1, "y": 2})


def test_frozen_and_hashable() -> None:
    config = Outer(name="a")
    with pytest.raises(pydantic.ValidationError):
        config.name = "b"  # type: ignore[misc]
    assert hash(config) == hash(Outer(name="a"))
    assert config == Outer(name="a") != Outer(name="b")


def test_errors_are_of_the_package() -> None:
    assert issubclass(ConfigError, InputError)
    assert issubclass(ConfigError, So3kratesError)
    assert issubclass(ConfigError, ValueError)
