"""Which calculator makes the reference: an import path or a shorthand, with its arguments as plain JSON values."""

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Self

from ase.calculators.calculator import BaseCalculator
from pydantic import Field

from so3krates._errors import ConfigError, InputError
from so3krates.config import Config

SHORTHANDS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "pyscf": ("so3krates.reference.pyscf_dft:PySCF", {}),
        "tblite": ("so3krates.reference.xtb:XTB", {"method": "GFN2-xTB", "verbosity": 0}),
    }
)
"""Name to import path and the arguments it starts from."""


class CalculatorSpec(Config):
    """A calculator that any process can build: nothing but text and JSON values.

    Attributes:
        target: `pyscf` (DFT), `tblite` (GFN2-xTB), an import path `package.module:Class`, or `folder/file.py:Class`.
        arguments: keyword arguments of the class.
    """

    target: str
    arguments: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_text(cls, target: str, arguments: str = "{}") -> Self:
        """Read a specification from the two texts of a command line.

        Raises:
            ConfigError: the arguments are no JSON object.
        """
        try:
            parsed = json.loads(arguments)
        except ValueError as error:
            raise ConfigError(f"calculator arguments {arguments!r} are not JSON: {error}.") from error
        if not isinstance(parsed, dict):
            raise ConfigError(f'calculator arguments {arguments!r} must be a JSON object like {{"xc": "PBE"}}.')
        return cls(target=target, arguments=parsed)

    def build(self) -> BaseCalculator:
        """Make the calculator.

        Raises:
            InputError: the class or what it needs cannot be imported, it is no class, refuses the arguments, or makes
                something that is no ASE calculator.
        """
        path, defaults = SHORTHANDS.get(self.target, (self.target, {}))
        arguments = {**defaults, **self.arguments}
        factory = _imported(path, self.target)
        _check_names(factory, arguments, self.target)
        try:
            calculator = factory(**arguments)
        except ImportError as error:
            raise InputError(f"calculator '{self.target}' cannot be made ({error}); {_remedy(self.target)}.") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"calculator '{self.target}' refused its arguments {arguments}: {error}") from error
        if not (hasattr(calculator, "get_property") and hasattr(calculator, "implemented_properties")):
            raise InputError(f"'{self.target}' makes a {type(calculator).__name__}, which is no ASE calculator.")
        return calculator

    def level_of_theory(self) -> str:
        """A line for the data: the calculator's own attribute `level_of_theory`, else target and arguments.

        Raises:
            InputError: as `build`.
        """
        own = getattr(self.build(), "level_of_theory", None)
        if isinstance(own, str):
            return own
        if self.target == "tblite":
            return str(self.arguments.get("method", "GFN2-xTB"))
        return f"{self.target} {json.dumps(self.arguments)}" if self.arguments else self.target


def _imported(path: str, target: str) -> Any:
    module_name, separator, attribute = path.rpartition(":")
    if not separator or not module_name or not attribute:
        known = ", ".join(SHORTHANDS)
        raise InputError(f"calculator '{target}' is neither of {known} nor an import path like 'package.module:Class'.")
    try:
        is_file = module_name.endswith(".py")
        module = _module_of_file(Path(module_name)) if is_file else importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"calculator '{target}': cannot import {module_name} ({error}); {_remedy(target)}.") from error
    if not callable(factory := getattr(module, attribute, None)):
        raise InputError(f"calculator '{target}': {module_name} has no class '{attribute}'.")
    return factory


def _remedy(target: str) -> str:
    if target in SHORTHANDS:
        return 'install it with `pip install "so3krates[reference]"`'
    return "install it, or put its folder on PYTHONPATH, or give the file as 'folder/file.py:Class'"


def _module_of_file(path: Path) -> ModuleType:
    """Import a file under a name of its own; importing it twice gives the same module."""
    path = path.resolve()
    name = f"so3krates_calculator_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ImportError(f"no such file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _check_names(factory: Any, arguments: Mapping[str, Any], target: str) -> None:
    """Refuse arguments that a calculator with a catch-all signature would swallow."""
    defaults = getattr(factory, "default_parameters", None)
    parameters = inspect.signature(factory).parameters
    swallows = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if target not in SHORTHANDS or not swallows or not defaults:
        return
    unknown = sorted(set(arguments) - set(defaults) - set(parameters))
    if unknown:
        raise InputError(f"calculator '{target}' has no arguments {unknown}; it knows {sorted(defaults)}.")
