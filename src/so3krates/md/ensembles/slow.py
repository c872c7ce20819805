"""Times of an ensemble that the time step has to resolve.

A Nosé–Hoover chain and the cell oscillate, and a cell that relaxes takes plain steps: within too few time steps they do
what they like. GROMACS warns below 20 steps for what oscillates and below 10 for a cell that relaxes
(`tcouple_min_integration_steps`, `pcouple_min_integration_steps`); fewer than 10 are refused here. A thermostat that is
exact for any step, such as friction with noise or velocity rescaling, has no such time: in the limit it draws anew in
every step.
"""

from typing import Annotated

from pydantic import PositiveFloat

from so3krates._errors import InputError
from so3krates.config import Config

LEAST_STEPS = 10
_SLOW = "slow"

Slow = Annotated[PositiveFloat, _SLOW]
"""A field of an ensemble, in fs, that may not be shorter than so many time steps."""


def check_slow(ensemble: Config, timestep_fs: float, prefix: str = "") -> None:
    """Refuse an ensemble whose own motion the time step does not resolve.

    Args:
        ensemble: with its fields.
        timestep_fs: of the run.
        prefix: of the name of a field in the error.

    Raises:
        InputError: naming the field.
    """
    least = LEAST_STEPS * timestep_fs
    for name, field in type(ensemble).model_fields.items():
        if _SLOW in field.metadata and (value := getattr(ensemble, name)) < least:
            raise InputError(
                f"{prefix}{name} is {value:g}, less than {LEAST_STEPS} time steps of {timestep_fs:g} fs, which do not "
                f"resolve it; make it at least {least:g} fs, or the time step shorter."
            )
