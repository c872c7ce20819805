"""What ensembles have in common whose thermostat scales all velocities by one factor: it sets nothing in motion that
rests."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field, PositiveFloat

from so3krates._errors import InputError
from so3krates.config import Config
from so3krates.md.ensembles.schedule import Ramp, Schedule, every_temperature, make_schedule, start_of
from so3krates.md.ensembles.velocities import (
    cannot_turn,
    degrees_of_freedom,
    in_vacuum,
    kinetic_energy,
    without_center,
    without_rotation,
)
from so3krates.md.state import Snapshot
from so3krates.units import BOLTZMANN, FEMTOSECOND, GPA

WATER_PER_GPA = 0.46
"""Isothermal compressibility of water at room temperature."""


class Scaling(Config):
    """An ensemble at a given temperature; the centre of mass rests."""

    scaled_by: ClassVar[str]
    """The thermostat in a sentence."""

    temperature_K: Annotated[float | Ramp, AfterValidator(every_temperature)] = Field(
        description="temperature, K, or a ramp of it"
    )

    @property
    def fix_center(self) -> bool:
        return True

    @property
    def start_temperature_K(self) -> float:
        return start_of(self.temperature_K)

    @property
    def exchangeable(self) -> bool:
        return False

    def thermal(self, timestep_fs: float, dtype: object) -> Schedule:
        """k_BT in the course of a run, eV."""
        return make_schedule(self.temperature_K, timestep_fs * FEMTOSECOND, dtype, lambda t: BOLTZMANN * t)


class ConstantVolume(Scaling):
    """In a cell that stays what it is, or in none: isolated molecules may be kept from rotating."""

    if TYPE_CHECKING:
        # Each ensemble has this field behind its own ones; those of a base come before.
        fix_rotation: bool

    @property
    def moves_cell(self) -> bool:
        return False

    def degrees_of_freedom(self, start: Snapshot) -> int:
        return degrees_of_freedom(start.system, start.fixed, fix_center=True, fix_rotation=self.fix_rotation)

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        return _prepared(snapshot, self.scaled_by, fix_rotation=self.fix_rotation)


class ConstantPressure(Scaling):
    """In a cell that moves, and is periodic along all three axes: nothing rotates as a whole."""

    pressure_GPa: float | Ramp = Field(default=1e-4, description="pressure, GPa, or a ramp of it; 1e-4 GPa is 1 bar")
    compressibility_per_GPa: PositiveFloat = Field(
        default=WATER_PER_GPA, description="isothermal compressibility β, 1/GPa; roughly, since it only sets the speed"
    )

    @property
    def moves_cell(self) -> bool:
        return True

    def degrees_of_freedom(self, start: Snapshot) -> int:
        return degrees_of_freedom(start.system, start.fixed, fix_center=True, fix_rotation=False)

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        return _prepared(snapshot, self.scaled_by, fix_rotation=False)

    def pressure(self, timestep_fs: float, dtype: object) -> Schedule:
        """p in the course of a run, eV/Å³."""
        return make_schedule(self.pressure_GPa, timestep_fs * FEMTOSECOND, dtype, lambda p: p * GPA)


def _prepared(snapshot: Snapshot, thermostat: str, *, fix_rotation: bool) -> Snapshot:
    """Velocities without motion of the centre of mass and, if it is asked for, without rotation.

    Args:
        snapshot: the start; without velocities it is left as it is.
        thermostat: its name in a sentence.
        fix_rotation: remove the angular momentum.

    Raises:
        InputError: for atoms at rest, and for an isolated molecule that does not rotate although it is counted as if it
            did.
    """
    system, velocities = snapshot.system, snapshot.velocities
    if velocities is None:
        return snapshot
    if not snapshot.fixed:
        velocities = without_center(system, velocities)
    if fix_rotation:
        velocities = without_rotation(system, velocities)
    elif cannot_turn(system, velocities, snapshot.fixed):
        if snapshot.fixed or not in_vacuum(system):
            raise InputError(
                f"{system.formula} could turn about what holds it and does not, and {thermostat} cannot make it: start "
                "from other velocities, or use Langevin dynamics."
            )
        count = degrees_of_freedom(system, fix_center=True, fix_rotation=True)
        raise InputError(
            f"{system.formula} does not rotate, and {thermostat} cannot make it: with fix_rotation=True its {count} "
            "other degrees of freedom share the kinetic energy."
        )
    if kinetic_energy(system, velocities) == 0.0:
        raise InputError(
            f"the atoms of {system.formula} are at rest, and {thermostat} only scales velocities: start without "
            "velocities, so that they are drawn, or from a snapshot in motion."
        )
    return replace(snapshot, velocities=velocities)
