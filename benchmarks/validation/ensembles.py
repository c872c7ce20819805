"""The ensembles that are validated. A new one is one more entry of `ENSEMBLES`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from so3krates import md
from so3krates.md import Integrator

Kind = Literal["NVE", "NVT", "NPT"]


@dataclass(frozen=True)
class StatePoint:
    """Where in the phase diagram."""

    temperature_K: float
    pressure_GPa: float | None = None
    """None at constant volume."""


@dataclass(frozen=True)
class Surroundings:
    """What the choice of a thermostat depends on beside the state point."""

    friction_per_ps: float
    period_fs: float
    """Time constant of thermostats; barostats have five times as much."""
    compressibility_per_GPa: float
    isolated: bool
    """A molecule in vacuum: what scales velocities cannot make it rotate."""


Maker = Callable[[StatePoint, Surroundings], Integrator]


@dataclass(frozen=True)
class Ensemble:
    """An entry of the table."""

    kind: Kind
    make: Maker
    stirs: bool = True
    """Whether its noise reaches every mode by itself; if not, a harmonic crystal needs many starts."""
    rotates: bool = True
    """Whether it can make an isolated molecule rotate: otherwise 3N − 6 degrees of freedom."""
    oscillates: bool = False
    """Whether its cell oscillates instead of relaxing: then it forgets slowly that it began at rest."""
    reshapes: bool = False
    """Whether the shape of its cell changes."""


def _nve(point: StatePoint, around: Surroundings) -> Integrator:
    del point
    return md.NVE(fix_rotation=around.isolated)


def _langevin(point: StatePoint, around: Surroundings) -> Integrator:
    return md.Langevin(temperature_K=point.temperature_K, friction_per_ps=around.friction_per_ps)


def _nose_hoover(point: StatePoint, around: Surroundings) -> Integrator:
    return md.NoseHoover(temperature_K=point.temperature_K, period_fs=around.period_fs, fix_rotation=around.isolated)


def _csvr(point: StatePoint, around: Surroundings) -> Integrator:
    return md.CSVR(
        temperature_K=point.temperature_K,
        time_constant_fs=around.period_fs,
        fix_rotation=around.isolated,
    )


def _cell_rescaling(coupling: str) -> Maker:
    def make(point: StatePoint, around: Surroundings) -> Integrator:
        return md.StochasticCellRescaling(
            temperature_K=point.temperature_K,
            pressure_GPa=point.pressure_GPa,
            compressibility_per_GPa=around.compressibility_per_GPa,
            barostat_time_fs=5.0 * around.period_fs,
            thermostat_time_fs=around.period_fs,
            coupling=coupling,
        )

    return make


def _mtk(point: StatePoint, around: Surroundings) -> Integrator:
    return md.MTK(
        temperature_K=point.temperature_K,
        pressure_GPa=point.pressure_GPa,
        compressibility_per_GPa=around.compressibility_per_GPa,
        thermostat_period_fs=around.period_fs,
        barostat_period_fs=5.0 * around.period_fs,
    )


ENSEMBLES: dict[str, Ensemble] = {
    "NVE": Ensemble("NVE", _nve, stirs=False, rotates=False),
    "Langevin": Ensemble("NVT", _langevin),
    "NoseHoover": Ensemble("NVT", _nose_hoover, stirs=False, rotates=False),
    "CSVR": Ensemble("NVT", _csvr, stirs=False, rotates=False),
    "StochasticCellRescaling": Ensemble("NPT", _cell_rescaling("isotropic"), stirs=False, rotates=False),
    "StochasticCellRescaling, anisotropic": Ensemble(
        "NPT", _cell_rescaling("anisotropic"), stirs=False, rotates=False, reshapes=True
    ),
    "StochasticCellRescaling, triclinic": Ensemble(
        "NPT", _cell_rescaling("triclinic"), stirs=False, rotates=False, reshapes=True
    ),
    "MTK": Ensemble("NPT", _mtk, stirs=False, rotates=False, oscillates=True),
}
"""Name → what it samples and how it is made for a state point."""
