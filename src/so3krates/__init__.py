"""SO3krates force fields, from ab-initio data to long, stable molecular dynamics: the contents page.

Names are loaded on first use, so that `import so3krates` is immediate; it changes no setting of JAX.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from so3krates._errors import CapacityError as CapacityError
from so3krates._errors import ConfigError as ConfigError
from so3krates._errors import FileError as FileError
from so3krates._errors import InputError as InputError
from so3krates._errors import SimulationStopped as SimulationStopped
from so3krates._errors import So3kratesError as So3kratesError
from so3krates._version import __version__ as __version__

if TYPE_CHECKING:
    from so3krates.data.readers import read_dataset as read_dataset
    from so3krates.graph import Graph as Graph
    from so3krates.io.loading import load as load
    from so3krates.io.model_file import save as save
    from so3krates.md.simulate import simulate as simulate
    from so3krates.model import ModelConfig as ModelConfig
    from so3krates.model import SO3krates as SO3krates
    from so3krates.potential import Potential as Potential
    from so3krates.system import System as System
    from so3krates.term import Sum as Sum
    from so3krates.training.config import TrainConfig as TrainConfig
    from so3krates.training.loop import train as train

_HOME = MappingProxyType(
    {
        "Graph": "so3krates.graph",
        "ModelConfig": "so3krates.model",
        "Potential": "so3krates.potential",
        "SO3krates": "so3krates.model",
        "Sum": "so3krates.term",
        "System": "so3krates.system",
        "TrainConfig": "so3krates.training.config",
        "load": "so3krates.io.loading",
        "save": "so3krates.io.model_file",
        "read_dataset": "so3krates.data.readers",
        "simulate": "so3krates.md.simulate",
        "train": "so3krates.training.loop",
    }
)
"""Public name -> module that defines it."""

_PACKAGES = frozenset(
    {"analysis", "data", "io", "md", "neighbors", "physics", "reference", "testing", "training", "units", "viz"}
)
"""Sub-packages reached as attributes, for example `so3krates.md.Langevin`."""


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return import_module(f"so3krates.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'so3krates' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({name for name in globals() if name.endswith("Error")} | {"SimulationStopped"} | {*_HOME, *_PACKAGES})
