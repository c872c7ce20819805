"""The run-time checker of annotations that the tests put on every function of the package."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

import beartype

T = TypeVar("T", bound=Callable[..., object])

CONFIGURATION = beartype.BeartypeConf(
    # As for every static checker, an int will do where a float is asked for.
    is_pep484_tower=True,
    # `Self` has a meaning only where a whole class is decorated; functions are decorated one by one here.
    hint_overrides=beartype.FrozenDict({Self: Any}),
)


def checked(function: T) -> T:
    """`function` with its annotations checked at each call."""
    return beartype.beartype(conf=CONFIGURATION)(function)  # type: ignore[return-value]
