"""Options of `so3krates md` in groups. None: not given, so that a configuration file decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

ENSEMBLE = Group("Ensemble", sort_key=1)
RECORDING = Group("Recording", sort_key=2)
REPLICAS = Group("Replicas", sort_key=3)
MONITOR = Group("Monitor", sort_key=4)

Flag = Annotated[bool, Parameter(negative=())]
"""Said or not; there is no --no-… of it."""
MANY = Parameter(consume_multiple=True, negative=())
"""All words up to the next option."""


@Parameter(name="*", group=ENSEMBLE)
@dataclass(frozen=True)
class EnsembleOptions:
    """What is sampled. An option that the ensemble would ignore is refused."""

    ensemble: Literal["nve", "langevin", "nose-hoover", "csvr", "npt-scr", "npt-mtk"] | None = None
    """nve (velocity Verlet), langevin (BAOAB; if not given), nose-hoover (chain), csvr (stochastic rescaling of
    velocities), npt-scr (stochastic cell rescaling) or npt-mtk (Martyna, Tobias and Klein)."""
    temperature_K: str | None = None
    """Of the thermostat, and of the velocities drawn at the start; a ramp as TIME_PS:K,… such as 0:100,20:300."""
    pressure_GPa: str | None = None
    """Of the barostat (npt-scr, npt-mtk), or a ramp; 0.0001, which is 1 bar, if not given."""
    friction_per_ps: float | None = None
    """langevin: friction, 1/ps; 1 if not given."""
    time_constant_fs: float | None = None
    """csvr: time constant; 100 if not given."""
    period_fs: float | None = None
    """nose-hoover: period of the chain; 100 if not given."""
    chain: int | None = None
    """nose-hoover, npt-mtk: links of a chain; 3 if not given."""
    thermostat_time_fs: float | None = None
    """npt-scr: time constant of the thermostat; 100 if not given."""
    barostat_time_fs: float | None = None
    """npt-scr: time constant of the volume; 1000 if not given."""
    coupling: Literal["isotropic", "anisotropic", "triclinic"] | None = None
    """npt-scr: what of the cell may change; isotropic if not given."""
    compressibility_per_GPa: float | None = None
    """npt-scr, npt-mtk: roughly, since it only sets the speed; 0.46, that of water, if not given."""
    thermostat_period_fs: float | None = None
    """npt-mtk: period of the chains; 100 if not given."""
    barostat_period_fs: float | None = None
    """npt-mtk: period of the cell; 1000 if not given."""
    fix_center: bool | None = None
    """nve, langevin: keep the centre of mass at rest; so if not given."""
    fix_rotation: Flag = False
    """nve, nose-hoover, csvr: remove the angular momentum of a molecule at the start, and count without it."""


@Parameter(name="*", group=RECORDING)
@dataclass(frozen=True)
class RecordingOptions:
    """What is stored, and how often."""

    save_every_fs: float | None = None
    """Interval of frames; about 10 fs, or the whole run if that is shorter, if not given."""
    scalars_every_fs: float | None = None
    """Interval of energies, temperature, pressure; that of the frames if not given."""
    save_forces: Flag = False
    """Store forces too."""
    no_velocities: Flag = False
    """Do not store velocities."""
    precision: Literal["float32", "float64"] | None = None
    """Of what is stored; that of the arithmetic if not given."""
    compression: Literal["none", "gzip"] | None = None
    """gzip makes files an eighth smaller and writing several times slower; none if not given."""


@Parameter(name="*", group=REPLICAS)
@dataclass(frozen=True)
class ReplicasOptions:
    """Many runs at once, into RUN_000.h5, RUN_001.h5 and so on."""

    replicas: int | None = None
    """How many; their seeds count up from --seed."""
    temperatures_K: Annotated[list[float] | None, MANY] = None
    """A replica at each temperature."""
    pressures_GPa: Annotated[list[float] | None, MANY] = None
    """A replica at each pressure (npt-scr, npt-mtk)."""
    starts: Literal["last", "all"] | None = None
    """all: every frame of START is the start of a replica; last if not given."""
    exchange_every_fs: float | None = None
    """Neighbours in temperature may exchange their configurations this often (langevin, csvr)."""


@Parameter(name="*", group=MONITOR)
@dataclass(frozen=True)
class MonitorOptions:
    """When a run is stopped. `monitor` in a configuration file has more."""

    max_temperature_K: float | None = None
    """Stop a run that becomes hotter; 10000 if not given."""
    min_distance: float | None = None
    """Stop when two atoms come closer, Å; 0.5 if not given."""
    max_bond_deviation: float | None = None
    """Stop when a bond changes its length by more, Å; never if not given."""
    max_pressure_GPa: float | None = None
    """Stop beyond this compression or tension; 500 if not given."""
    max_volume_factor: float | None = None
    """Stop when the cell grew or shrank by more; 2 if not given."""
    max_shape_factor: float | None = None
    """Stop when a height of the cell changed by more, beyond what the volume did; 1.6 if not given."""
    max_drift_meV_per_atom: float | None = None
    """Stop when the conserved quantity moved by more; 1000 if not given."""
    stop_on: Annotated[
        list[Literal["bond_broken", "bond_formed", "torn_apart", "evaporated", "committee_disagrees"]] | None, MANY
    ] = None
    """What is seen in saved frames and ends the run, not only reported; torn_apart and committee_disagrees if not
    given."""
    committee: Annotated[list[Path] | None, MANY] = None
    """Other models of the same elements; where their forces differ, the model extrapolates."""
    max_force_disagreement: float | None = None
    """Stop when the forces of the committee differ by more, eV/Å; 1 if not given."""
