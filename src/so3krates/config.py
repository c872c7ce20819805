"""Base of all configurations: frozen, hashable, numbers finite, unknown keys refused at every level."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from so3krates._errors import ConfigError
from so3krates.config_mistakes import told


class Config(BaseModel):
    """A frozen configuration; the object itself is handed on, never a dictionary made from it.

    Raises:
        ConfigError: naming the class, each offending field, what was received and what is allowed.
    """

    # No field means anything by infinity; what may be without a limit takes None.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # which knows the fields as arguments

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(told(type(self), error.errors(), type(self).__name__, {})) from None

        # As that of pydantic itself: sections within others are not made by it, so that all mistakes are collected.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def parse(cls, values: Any, source: str = "configuration", options: Mapping[str, str] | None = None) -> Self:
        """Validate a nested dictionary.

        Args:
            values: key → value.
            source: where they come from.
            options: key, with dots, → option of the command line that gave it.

        Raises:
            ConfigError: naming the source, each offending key, what was received and what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(told(cls, error.errors(), source, options or {})) from error
