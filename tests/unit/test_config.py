"""Configurations: frozen, forbidding, and errors that name the key."""

import pickle
from typing import Annotated, Literal, Self

import pydantic
import pytest
from pydantic import AfterValidator, Field, PositiveInt, model_validator

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
        ([], r"Input should be keys with values \(name, length, inner\), received \[\]"),
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


class Straight(Config):
    kind: Literal["straight"]
    length: float


class Round(Config):
    kind: Literal["round"]
    radius: float


def _not_zero(value: float | Inner) -> float | Inner:
    if value == 0:
        raise ValueError("nothing is no value")
    return value


class Shapes(Config):
    shape: Annotated[Straight | Round, Field(discriminator="kind")] | None = None
    value: Annotated[float | Inner, AfterValidator(_not_zero)] | None = None
    atoms: PositiveInt | str | tuple[PositiveInt | str, ...] = ()
    sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1,)

    @model_validator(mode="after")
    def _value_or_shape(self) -> Self:
        if self.value is not None and self.shape is not None:
            raise ValueError("value is given, and a shape too")
        return self


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"shape": {"kind": "oval"}}, "key 'shape.kind' is 'oval'; it must be one of straight, round"),
        ({"shape": {"radius": 1}}, "key 'shape.kind' is required; it must be one of straight, round"),
        ({"shape": 3}, "'shape': Input should be keys with values, received 3"),
        ({"shape": {"kind": "round"}}, "key 'shape.radius' is required"),
        ({"shape": {"kind": "round", "radius": "x"}}, "'shape.radius': Input should be a valid number, received 'x'"),
        (
            {"shape": {"kind": "round", "radius": 1, "length": 1}},
            "unknown key 'shape.length' (it belongs to straight, not to round)",
        ),
        ({"value": "x"}, "'value': Input should be a valid number or keys with values (steps), received 'x'"),
        ({"value": float("nan")}, "'value': Input should be a finite number, received nan"),
        (
            {"value": {"steps": 0.1}},
            "'value.steps': Input should be a valid integer, got a number with a fractional part, received 0.1",
        ),
        ({"value": 0}, "'value': nothing is no value"),
        ({"sizes": []}, "'sizes': Input should be a list of at least 1, received []"),
        ({"sizes": [0]}, "'sizes.0': Input should be greater than 0, received 0"),
        ({"atoms": -1}, "'atoms': Input should be greater than 0, received -1"),
        ({"atoms": {}}, "'atoms': Input should be a valid integer or a valid string or a list, received {}"),
        ({"atoms": [1, None]}, "'atoms.1': Input should be a valid integer or a valid string, received None"),
        ({"value": 1, "shape": {"kind": "round", "radius": 1}}, "value is given, and a shape too"),
    ],
)
def test_a_union_is_one_key_and_one_complaint(values: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as told:
        Shapes.parse(values, "run.yaml")
    assert str(told.value) == f"run.yaml: {sentence}"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "a", "lenght": 1}, "unknown key 'lenght' (did you mean 'length'?)"),
        ({"nam": "a"}, "unknown key 'nam' (did you mean 'name'?)"),
        ({"name": "a", "inner": {"colour": 1}}, "unknown key 'inner.colour' (the keys here are steps)"),
    ],
)
def test_an_unknown_key_says_what_may_be_meant(values: object, sentence: str) -> None:
    """And a key that was misspelt is not said to be missing too."""
    with pytest.raises(ConfigError) as told:
        Outer.parse(values, "run.yaml")
    assert str(told.value) == f"run.yaml: {sentence}"


def test_what_an_option_gave_is_named_by_the_option() -> None:
    options = {"inner.steps": "--steps", "value": "--value"}
    with pytest.raises(ConfigError) as told:
        Outer.parse({"inner": {"steps": "x"}}, "run.yaml", options)
    assert str(told.value) == "--steps: Input should be a valid integer, received 'x'; run.yaml: key 'name' is required"
    with pytest.raises(ConfigError, match="^--value is given, and a shape too$"):
        Shapes.parse({"value": 1, "shape": {"kind": "round", "radius": 1}}, "command line", options)


def test_making_one_raises_a_sentence_that_begins_with_its_class() -> None:
    with pytest.raises(ConfigError) as told:
        Outer(name="a", lenght=2.0)  # type: ignore[call-arg]
    assert str(told.value) == "Outer: unknown key 'lenght' (did you mean 'length'?)"
    with pytest.raises(ConfigError, match="^Outer: 'inner.steps': Input should be a valid integer, received 'x'$"):
        Outer(name="a", inner={"steps": "x"})  # type: ignore[arg-type]


def test_mistakes_of_sections_are_collected_although_making_one_raises() -> None:
    with pytest.raises(ConfigError) as told:
        Outer.parse({"name": 3, "inner": {"steps": "x", "colour": 1}}, "run.yaml")
    assert str(told.value) == (
        "run.yaml: 'name': Input should be a valid string, received 3; 'inner.steps': Input should be a valid integer, "
        "received 'x'; unknown key 'inner.colour' (the keys here are steps)"
    )


def test_copies_are_equal() -> None:
    config = Outer(name="a", inner=Inner(steps=4))
    assert pickle.loads(pickle.dumps(config)) == config == config.model_copy()
    assert config.model_copy(update={"name": "b"}).name == "b"


def test_errors_are_of_the_package() -> None:
    assert issubclass(ConfigError, InputError)
    assert issubclass(ConfigError, So3kratesError)
    assert issubclass(ConfigError, ValueError)
