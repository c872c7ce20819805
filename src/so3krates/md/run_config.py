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

from so3krates._errors import ConfigError, InputError
from so3krates.config import Config
from so3krates.md.ensembles.cell_rescaling import StochasticCellRescaling
from so3krates.md.ensembles.csvr import CSVR
from so3krates.md.ensembles.exchange import TemperatureExchange
from so3krates.md.ensembles.langevin import Langevin
from so3krates.md.ensembles.mtk import MTK
from so3krates.md.ensembles.nose_hoover import NoseHoover
from so3krates.md.ensembles.nve import NVE
from so3krates.md.ensembles.slow import check_slow
from so3krates.md.monitoring.monitor import Monitor
from so3krates.md.notation import parse_atoms
from so3krates.md.records.recording import Recording
from so3krates.md.records.settings import MAX_SEED, MAX_STEPS, check_timestep
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


OF_EACH = MappingProxyType({"temperature_K": "temperatures_K", "pressure_GPa": "pressures_GPa"})
"""Key of an ensemble → key of `ReplicasConfig` that has one for each replica."""
COUNTED_BY = MappingProxyType(
    {
        "count": "--replicas",
        "temperatures_K": "--temperatures-K",
        "pressures_GPa": "--pressures-GPa",
        "frames": "--starts all",
    }
)
"""What says how many replicas there are, and its option."""
EXCHANGING = ("langevin", "csvr")
"""Ensembles whose replicas may exchange temperatures."""


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


class ReplicasConfig(Config):
    """Many runs of one structure in one program. What is not given for each is the same for all; seeds count up."""

    count: PositiveInt | None = Field(
        default=None, description="how many; null: as many as there are temperatures, pressures or starts"
    )
    temperatures_K: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = Field(
        default=None, description="of the thermostat of each, K, in place of the ensemble's"
    )
    pressures_GPa: Annotated[tuple[float, ...], Field(min_length=1)] | None = Field(
        default=None, description="of the barostat of each, GPa, in place of the ensemble's"
    )
    starts: Literal["last", "all"] = Field(
        default="last", description="frames of the structure file: the last one for all, or all, a replica each"
    )
    exchange_every_fs: PositiveFloat | None = Field(
        default=None, description="interval at which neighbours may exchange their configurations (langevin, csvr), fs"
    )

    def number(self, frames: int) -> int:
        """How many replicas.

        Args:
            frames: of the structure file that are starts; 1 if one is for all.

        Raises:
            InputError: for numbers that contradict each other, or none at all.
        """
        given = {
            "count": self.count,
            "temperatures_K": None if self.temperatures_K is None else len(self.temperatures_K),
            "pressures_GPa": None if self.pressures_GPa is None else len(self.pressures_GPa),
            "frames": frames if self.starts == "all" else None,
        }
        known = {name: number for name, number in given.items() if number is not None}
        if not known:
            raise InputError(
                "replicas: say how many by count, temperatures_K, pressures_GPa or starts: all (on the command line by "
                "--replicas, --temperatures-K, --pressures-GPa or --starts all)."
            )
        if len(set(known.values())) > 1:
            said = ", ".join(f"{name} ({COUNTED_BY[name]}): {number}" for name, number in known.items())
            raise InputError(f"replicas: their numbers must be the same; received {said}.")
        return next(iter(known.values()))


class RunConfig(Config):
    """One run: model, start, ensemble, length, output."""

    model: str = Field(description="model file, or the name of published weights")
    start: Path = Field(description="structure file; its last frame is the start")
    output: Path = Field(description="trajectory, .h5 or .hdf5; run.h5 stands for run_000.h5, … of replicas")
    ensemble: Section = Field(description="what is sampled, and by what")
    time_ps: PositiveFloat = Field(description="length of the run, the part before a resume included")
    timestep_fs: float = Field(default=0.5, description="fs; 0.5 suits molecules with hydrogen")
    initial_temperature_K: PositiveFloat | None = Field(
        default=None, description="of velocities drawn at the start; null: those of the file, or the thermostat's"
    )
    thermalise_ps: NonNegativeFloat = Field(default=0.0, description="Langevin dynamics before the run, not recorded")
    fixed: NonNegativeInt | str | tuple[NonNegativeInt | str, ...] = Field(
        default=(), description="atoms that do not move, counted from 0: [0, 1, 15], 0-9,15, or ranges in a list"
    )
    hydrogen_mass_u: PositiveFloat | None = Field(
        default=None, description="mass of hydrogen, taken from the atoms it is bonded to, such as 3; null: its own"
    )
    seed: NonNegativeInt = Field(
        default=0, le=MAX_SEED, description="of velocities and noise; replicas count up from it"
    )
    dtype: Literal["float32", "float64"] = Field(default="float32", description="precision of the arithmetic")
    wall_time: str | PositiveInt | None = Field(
        default=None, description="end in time, to be resumed: H:MM:SS, D-HH:MM:SS, MM:SS, or seconds"
    )
    recording: Recording = Field(default=Recording(), description="what is stored, and how often")
    replicas: ReplicasConfig | None = Field(default=None, description="many runs at once; null: one run")
    monitor: Monitor = Field(default=Monitor(), description="when to stop, and what to report")
    committee: tuple[str, ...] = Field(
        default=(), description="other model files; where their forces differ, the model extrapolates"
    )
    running: RunningConfig = Field(default=RunningConfig(), description="how the model is evaluated")

    @model_validator(mode="before")
    @classmethod
    def _said_once(cls, values: Any) -> Any:
        """What each replica has of its own is not asked for again: the ensemble takes that of the first."""
        if not isinstance(values, dict):
            return values
        replicas, ensemble = values.get("replicas"), values.get("ensemble")
        if isinstance(replicas, dict) and isinstance(ensemble, dict):
            kind = ensemble.get("kind")
            taken = parameters(kind) if isinstance(kind, str) and kind in ENSEMBLES else ()
            own = {one: replicas.get(many) for one, many in OF_EACH.items() if one in taken}
            first = {one: many[0] for one, many in own.items() if isinstance(many, (list, tuple)) and many}
            if not _is_valid(replicas):
                # Its mistakes are told there; said of the ensemble too they would be told twice.
                first = dict.fromkeys(first, 1.0)
            return values | {"ensemble": first | ensemble}
        return values

    @field_validator("fixed")
    @classmethod
    def _atoms(cls, given: Any) -> Any:
        _ranges(given)
        return given

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
    def _steps_fit(self) -> Self:
        if self.time_ps * 1e3 / self.timestep_fs >= MAX_STEPS:
            raise ValueError(
                f"time_ps is {self.time_ps:g}, which is {MAX_STEPS} time steps of {self.timestep_fs:g} fs or more, and "
                "more than can be counted"
            )
        if self.steps < 1:
            raise ValueError(f"time_ps is {self.time_ps:g}, which is less than a time step of {self.timestep_fs:g} fs")
        check_slow(self.ensemble, self.timestep_fs, "ensemble.")
        return self

    @model_validator(mode="after")
    def _replicas_fit(self) -> Self:
        replicas = self.replicas
        if replicas is None:
            return self
        for one, many in OF_EACH.items():
            values = getattr(replicas, many)
            if values is None:
                continue
            if one not in parameters(self.kind):
                raise ValueError(f"replicas.{many} belongs to {takers(one)}, not to {self.kind}")
            if getattr(self.ensemble, one) != values[0]:
                raise ValueError(f"replicas.{many} takes the place of ensemble.{one}; give one of them")
        if replicas.exchange_every_fs is not None and self.kind not in EXCHANGING:
            raise ValueError(
                f"replicas.exchange_every_fs: temperatures are exchanged with {' and '.join(EXCHANGING)}, not with "
                f"{self.kind}"
            )
        if replicas.starts == "last":
            replicas.number(1)
        return self

    @property
    def kind(self) -> str:
        """The key of the ensemble in `ENSEMBLES`."""
        return cast(Any, self.ensemble).kind

    @property
    def integrator(self) -> Integrator:
        """The ensemble as what `simulate` takes; of replicas, that of the first."""
        return self._integrator()

    def integrators(self, count: int) -> list[Integrator]:
        """Of each of so many replicas."""
        replicas = self.replicas or ReplicasConfig(count=count)
        found = []
        for number in range(count):
            own = {one: getattr(replicas, many) for one, many in OF_EACH.items()}
            found.append(self._integrator(**{one: many[number] for one, many in own.items() if many is not None}))
        return found

    def _integrator(self, **own: float) -> Integrator:
        chosen = ENSEMBLES[self.kind]
        values = {name: getattr(self.ensemble, name) for name in chosen.model_fields}
        return cast(Integrator, chosen.parse(values | own, "ensemble"))

    @property
    def exchange(self) -> TemperatureExchange | None:
        """Of replicas."""
        every = None if self.replicas is None else self.replicas.exchange_every_fs
        return None if every is None else TemperatureExchange(every_fs=every)

    def fixed_atoms(self, count: int) -> tuple[int, ...]:
        """Numbers of the atoms that are fixed here.

        Args:
            count: of all atoms.

        Raises:
            InputError: for atoms that do not exist.
        """
        ranges = _ranges(self.fixed)
        beyond = [f"{each[0]}" if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in ranges if each[-1] >= count]
        if beyond:
            raise InputError(f"fixed atoms are numbered from 0 to {count - 1}; received {', '.join(beyond)}.")
        return tuple(atom for each in ranges for atom in each)

    @property
    def draws_velocities(self) -> bool:
        """Whether velocities are drawn even if the structure file has some."""
        of_each = self.replicas is not None and self.replicas.temperatures_K is not None
        return of_each or self.initial_temperature_K is not None

    @property
    def steps(self) -> int:
        """As many as come nearest to the time."""
        return round(self.time_ps * 1e3 / self.timestep_fs)

    @property
    def wall_time_s(self) -> float | None:
        """YAML itself reads 23:50:00 without quotes as a number of seconds."""
        return parse_wall_time(self.wall_time) if isinstance(self.wall_time, str) else self.wall_time


def takers(name: str) -> str:
    """The ensembles that can be told this, in words."""
    *others, last = [kind for kind in ENSEMBLES if name in parameters(kind)]
    return f"{', '.join(others)} and {last}" if others else last


def _is_valid(replicas: dict[str, Any]) -> bool:
    try:
        ReplicasConfig.parse(replicas)
    except ConfigError:
        return False
    return True


def _ranges(fixed: int | str | tuple[int | str, ...]) -> tuple[range, ...]:
    parts = fixed if isinstance(fixed, tuple) else (fixed,)
    each = (parse_atoms(part) if isinstance(part, str) else (range(part, part + 1),) for part in parts)
    return tuple(found for ranges in each for found in ranges)


def parameters(kind: str, *, needed: bool = False) -> tuple[str, ...]:
    """What an ensemble can be told, or only what it must be told."""
    fields = ENSEMBLES[kind].model_fields.items()
    return tuple(name for name, field in fields if field.is_required() or not needed)
