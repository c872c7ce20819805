"""Terms in the header of a model file: what each is made of, apart from its parameters."""

from collections.abc import Sequence
from typing import Annotated, Literal

import jax
from pydantic import Field, PositiveFloat

from so3krates._errors import InputError
from so3krates._precision import precision_scope
from so3krates.config import Config
from so3krates.model import ModelConfig, SO3krates
from so3krates.physics.dispersion import Dispersion
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.full_range import FullRangeElectrostatics
from so3krates.physics.zbl import ZBL
from so3krates.term import Sum, Term


class NetworkHeader(Config):
    """The network and its architecture."""

    kind: Literal["so3krates"] = "so3krates"
    config: ModelConfig

    def term(self, dtype: object) -> Term:
        """Of this architecture, with values that are there to be replaced; likewise below."""
        return SO3krates(self.config, key=jax.random.key(0), dtype=dtype)


class ZBLHeader(Config):
    """Repulsion of nuclei."""

    kind: Literal["zbl"] = "zbl"
    cutoff: PositiveFloat
    cutoff_function: Literal["cosine", "polynomial", "exponential"]

    def term(self, dtype: object) -> Term:
        return ZBL(self.cutoff, self.cutoff_function, dtype)


class ElectrostaticsHeader(Config):
    """Coulomb interaction of the charges that the network predicts."""

    kind: Literal["electrostatics"] = "electrostatics"
    width: PositiveFloat

    def term(self, dtype: object) -> Term:
        del dtype
        return Electrostatics(self.width)


class FullRangeHeader(Config):
    """The same with all periodic images."""

    kind: Literal["full_range_electrostatics"] = "full_range_electrostatics"
    width: PositiveFloat

    def term(self, dtype: object) -> Term:
        del dtype
        return FullRangeElectrostatics(self.width)


class DispersionHeader(Config):
    """Dispersion with the Hirshfeld ratios that the network predicts."""

    kind: Literal["dispersion"] = "dispersion"
    scale: PositiveFloat

    def term(self, dtype: object) -> Term:
        del dtype
        return Dispersion(self.scale)


TermHeader = Annotated[
    NetworkHeader | ZBLHeader | ElectrostaticsHeader | FullRangeHeader | DispersionHeader, Field(discriminator="kind")
]


def skeleton(headers: Sequence[TermHeader], dtype: object) -> Term:
    """The model that headers describe, whose values are there to be replaced."""
    with precision_scope(dtype):
        terms = tuple(header.term(dtype) for header in headers)
    return terms[0] if len(terms) == 1 else Sum(terms)


def described(model: Term) -> tuple[TermHeader, ...]:
    """The headers of a model.

    Raises:
        InputError: for a term that has no file format.
    """
    return tuple(_described(term) for term in (model.terms if isinstance(model, Sum) else (model,)))


def _described(term: Term) -> TermHeader:
    match term:
        case SO3krates():
            return NetworkHeader(config=term.config)
        case ZBL():
            return ZBLHeader(cutoff=term.cutoff, cutoff_function=term.cutoff_function)
        case Electrostatics():
            return ElectrostaticsHeader(width=term.width)
        case FullRangeElectrostatics():
            return FullRangeHeader(width=term.width)
        case Dispersion():
            return DispersionHeader(scale=term.scale)
        case _:
            raise InputError(f"a term of type {type(term).__name__} has no file format, so it cannot be saved.")
