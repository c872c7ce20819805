"""Base of all configurations: frozen, hashable, numbers finite, unknown keys refused at every level."""

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from so3krates._errors import ConfigError

_WRAPPED = re.compile(r"function-\w+\[.*, (\w+)\]")
"""How pydantic names a member of a union that has a validator of its own, and its plain name."""


class Config(BaseModel):
    """A frozen configuration; the object itself is handed on, never a dictionary made from it."""

    # No field means anything by infinity; what may be without a limit takes None.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Any, source: str = "configuration") -> Self:
        """Validate a nested dictionary.

        Raises:
            ConfigError: naming the source, each offending key, what was received and what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{source}: " + "; ".join(_sentence(e) for e in error.errors())) from error


def _sentence(error: Any) -> str:
    key = ".".join(_WRAPPED.sub(r"\1", str(part)) for part in error["loc"]) or "(top level)"
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if error["type"] == "missing":
        return f"key '{key}' is required"
    if error["type"] == "value_error":
        # Of a whole section, whose validator says what it received.
        return f"'{key}': {error['msg'].removeprefix('Value error, ')}"
    return f"'{key}': {error['msg']}, received {error['input']!r}"
