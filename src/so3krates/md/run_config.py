"""A run of dynamics as a file: everything `so3krates md` can be told, in one configuration."""

from functools import reduce
from operator import or_
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    create_model,
    field_validator,
    model_validator,
)

from so3krates.config import Config
from so3krates.md.cell_rescaling import StochasticCellRescaling
from so3krates.md.csvr import CSVR
from so3krates.md.langevin import Langevin
from so3krates.md.monitor import Monitor
from so3krates.md.mtk import MTK
from so3krates.md.nose_hoover import NoseHoover
from so3krates.md.nve import NVE
from so3krates.md.settings import check_timestep
from so3krates.md.state import Integrator
from so3krates.md.wall_time import parse_wall_time

ENSEMBLES: MappingProxyType[str, type[Config]] = MappingProxyType(
    {
        "nve": NVE,
        "langevin": Langevin,
        "nose-hoover": NoseHoover,
        "csvr": CSVR,
        "npt-scr": StochasticCellRescaling,
        "npt-mtk": MTK,
    }
)
"""`kind` in a file, and what `--ensemble` takes → integrator, whose fields are the other keys."""


def _with_kind(kind: str, integrator: type[Config]) -> type[Config]:
    """The integrator as a section of a file, told from the others by `kind`."""
    field = (Literal[kind], Field(description="the ensemble"))  # type: ignore[valid-type]
    return create_model(
        f"{integrator.__name__}Section", __base__=integrator, __doc__=integrator.__doc__, kind=cast(Any, field)
    )


SECTIONS = MappingProxyType({kind: _with_kind(kind, integrator) for kind, integrator in ENSEMBLES.items()})

if TYPE_CHECKING:
    Section = Config
else:
    Section = Annotated[reduce(or_, SECTIONS.values()), Field(discriminator="kind")]


class RunningConfig(Config):
    """How the model is evaluated."""

    long_range_cutoff: PositiveFloat | None = Field(
        default=None,
        description="Å; null: that of the model file, if any, else 12 for periodic structures, none for molecules",
    )
    isolated: bool | None = Field(
        default=None, description="take the structure as isolated although it has a cell, or never; null decides"
    )
    full_range: bool = Field(default=False, description="electrostatics over all periodic images (P3M)")
    exact: bool | None = Field(
        default=None, description="functions of distance as they are instead of from tables; null: in float64 alone"
    )


class RunConfig(Config):
    """One run: model, start, ensemble, length, output."""

    model: str = Field(description="model file, or the name of published weights")
    start: Path = Field(description="structure file; its last frame is the start")
    output: Path = Field(description="trajectory, .h5 or .hdf5")
    ensemble: Section = Field(description="what is sampled, and by what")
    time_ps: PositiveFloat = Field(description="length of the run, the part before a resume included")
    timestep_fs: float = Field(default=0.5, description="fs; 0.5 suits molecules with hydrogen")
    initial_temperature_K: PositiveFloat | None = Field(
        default=None, description="of velocities drawn at the start; null: those of the file, or the thermostat's"
    )
    thermalise_ps: NonNegativeFloat = Field(default=0.0, description="Langevin dynamics before the run, not recorded")
    seed: NonNegativeInt = Field(default=0, description="of velocities and noise")
    save_every_fs: PositiveFloat | None = Field(
        default=None, description="interval of saved frames; null: about 10 fs, or the whole run if that is shorter"
    )
    save_forces: bool = Field(default=False, description="store forces too")
    dtype: Literal["float32", "float64"] = Field(default="float32", description="precision of the arithmetic")
    wall_time: str | PositiveInt | None = Field(
        default=None, description="end in time, to be resumed: H:MM:SS, D-HH:MM:SS, MM:SS, or seconds"
    )
    monitor: Monitor = Field(default=Monitor(), description="when to stop")
    running: RunningConfig = Field(default=RunningConfig(), description="how the model is evaluated")

    @field_validator("timestep_fs")
    @classmethod
    def _survivable(cls, timestep_fs: float) -> float:
        check_timestep(timestep_fs)
        return timestep_fs

    @field_validator("wall_time")
    @classmethod
    def _readable(cls, given: str | int | None) -> str | int | None:
        if isinstance(given, str):
            parse_wall_time(given)
        return given

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.steps < 1:
            raise ValueError(f"time_ps is {self.time_ps:g}, which is less than a time step of {self.timestep_fs:g} fs")
        return self

    @property
    def kind(self) -> str:
        """The key of the ensemble in `ENSEMBLES`."""
        return cast(Any, self.ensemble).kind

    @property
    def integrator(self) -> Integrator:
        """The ensemble as what `simulate` takes."""
        chosen = ENSEMBLES[self.kind]
        values = {name: getattr(self.ensemble, name) for name in chosen.model_fields}
        return cast(Integrator, chosen.parse(values, "ensemble"))

    @property
    def steps(self) -> int:
        """As many as come nearest to the time."""
        return round(self.time_ps * 1e3 / self.timestep_fs)

    @property
    def wall_time_s(self) -> float | None:
        """YAML itself reads 23:50:00 without quotes as a number of seconds."""
        return parse_wall_time(self.wall_time) if isinstance(self.wall_time, str) else self.wall_time


def parameters(kind: str, *, needed: bool = False) -> tuple[str, ...]:
    """What an ensemble can be told, or only what it must be told."""
    fields = ENSEMBLES[kind].model_fields.items()
    return tuple(name for name, field in fields if field.is_required() or not needed)
