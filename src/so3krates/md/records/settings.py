"""What a run was asked to do: checked on entry, stored in the trajectory, hashed so that only the same run resumes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from so3krates._errors import InputError
from so3krates.config import Config
from so3krates.md.ensembles.exchange import TemperatureExchange
from so3krates.md.ensembles.slow import check_slow
from so3krates.md.ensembles.velocities import check_temperature
from so3krates.md.fingerprint import potential_hash
from so3krates.md.monitoring.bonds import alone
from so3krates.md.monitoring.monitor import Monitor
from so3krates.md.records.recording import Recording
from so3krates.md.state import Integrator, Snapshot
from so3krates.potential import Potential
from so3krates.system import System, in_empty_box

MAX_TIMESTEP_FS = 10.0
MAX_STEPS = 2**31 - 2**20
"""Steps are counted in 32 bits."""
MAX_SEED = 2**32 - 1
"""Keys of JAX take no more in single precision: a larger seed would be another one's double."""
CHANGEABLE = ("steps", "monitor")
"""What may be another when a run resumes: it decides where the trajectory ends, and nothing else about it."""

HASHES = ("model", "start")
NAMES = {"save_every": "steps between frames", "scalars_every": "steps between scalars"}
"""For people, where the settings have another unit than what was typed."""


@dataclass(frozen=True)
class Settings:
    """A run in numbers, valid by construction."""

    integrator: Integrator
    monitor: Monitor
    timestep_fs: float
    steps: int
    recording: Recording
    save_every: int
    """Steps from frame to frame."""
    scalars_every: int
    """Steps from scalars to scalars."""
    seed: int
    initial_temperature_K: float | None
    """None: the velocities are given."""
    thermalise_steps: int
    reference_energy: float
    """Of the elements, eV; dynamics leaves it out, and what is read of the frames has it again."""
    model: str
    """Hash of the potential."""
    long_range_cutoff: float | None
    """Å; None for a model without long-range terms."""
    isolated: bool
    """Whether the structure has no periodic images, or is treated as if it had none."""
    start: str
    """Hash of the start structure and its velocities."""
    dtype: str

    @property
    def frame_fs(self) -> float:
        """From frame to frame."""
        return self.save_every * self.timestep_fs

    @property
    def own_scalars(self) -> bool:
        """Whether scalars are saved more often than frames."""
        return self.scalars_every < self.save_every

    def as_dict(self) -> dict[str, Any]:
        """For the trajectory file."""
        ensemble = self.integrator
        assert isinstance(ensemble, Config)
        return {
            "ensemble": {"kind": type(ensemble).__name__, **ensemble.model_dump(mode="json")},
            "monitor": self.monitor.model_dump(mode="json"),
            "timestep_fs": self.timestep_fs,
            "steps": self.steps,
            "recording": self.recording.model_dump(mode="json", exclude={"every_fs", "scalars_every_fs"}),
            "save_every": self.save_every,
            "scalars_every": self.scalars_every,
            "seed": self.seed,
            "initial_temperature_K": self.initial_temperature_K,
            "thermalise_steps": self.thermalise_steps,
            "model": self.model,
            "long_range_cutoff": self.long_range_cutoff,
            "isolated": self.isolated,
            "start": self.start,
            "dtype": self.dtype,
        }

    def hash(self) -> str:
        """Of everything that the trajectory depends on."""
        relevant = {name: value for name, value in self.as_dict().items() if name not in CHANGEABLE}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def differences(before: dict[str, Any], now: dict[str, Any], inside: str = "") -> list[str]:
    """What of stored settings is another now, with both values where a reader can tell them apart."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
            found += differences(old, new, f"{inside}{name}.")
        elif name in HASHES:
            # Parameters of another precision are others, but that is said already.
            if name != "model" or before.get("dtype") == now.get("dtype"):
                found.append(name)
        elif isinstance(old, dict) and isinstance(new, dict) and "kind" in new:
            found.append(f"{inside}{name} was {old.get('kind')}, is {new['kind']}")
        else:
            found.append(f"{inside}{NAMES.get(name, name)} was {old}, is {new}")
    return found


def make_settings(
    potential: Potential,
    start: Snapshot,
    integrator: Integrator,
    monitor: Monitor,
    *,
    timestep_fs: float,
    steps: int,
    recording: Recording,
    seed: int,
    initial_temperature_K: float | None,
    thermalise_ps: float,
) -> Settings:
    """Check what the user asked for.

    Raises:
        InputError: time step, number of steps, save interval, seed, temperature, times of the ensemble or start
            velocities that make no sense.
    """
    check_timestep(timestep_fs)
    if not 0 <= steps < MAX_STEPS:
        raise InputError(f"steps is {steps}; it must be from 0 to {MAX_STEPS - 1}.")
    if not 0 <= thermalise_ps * 1e3 / timestep_fs < MAX_STEPS:
        raise InputError(
            f"thermalise_ps is {thermalise_ps}; it must be a number that is not negative, of less than {MAX_STEPS} "
            "steps."
        )
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed is {seed}; it must be from 0 to {MAX_SEED}.")
    assert isinstance(integrator, Config)
    check_slow(integrator, timestep_fs)
    isolated = not potential.treated(start.system).periodic
    if integrator.moves_cell:
        # A model of short range sees no vacuum; the pressure of a molecule in one is none all the same.
        _refuse_without_box(start, isolated or (potential.isolated is not False and in_empty_box(start.system)))
        _refuse_alone(start.system, monitor.bond_factor, potential.cutoff)
    save_every, scalars_every = recording.intervals(timestep_fs, int(steps))
    if save_every >= MAX_STEPS:
        raise InputError(
            f"the recording asks for a frame every {save_every:.3g} steps; at most {MAX_STEPS - 1} are made."
        )
    return Settings(
        integrator=integrator,
        monitor=monitor,
        timestep_fs=float(timestep_fs),
        steps=int(steps),
        recording=recording,
        save_every=save_every,
        scalars_every=scalars_every,
        seed=int(seed),
        initial_temperature_K=_temperature(start, integrator, initial_temperature_K, thermalise_ps),
        thermalise_steps=round(thermalise_ps * 1e3 / timestep_fs),
        reference_energy=potential.reference_energy(start.system.numbers),
        model=potential_hash(potential),
        long_range_cutoff=potential.far_cutoff(start.system),
        isolated=isolated,
        start=_start_hash(start),
        dtype=potential.dtype.name,
    )


def check_timestep(timestep_fs: float) -> None:
    """Refuse what no integrator survives.

    Raises:
        InputError: for a time step that is not above 0 and at most `MAX_TIMESTEP_FS`.
    """
    if not 0 < timestep_fs <= MAX_TIMESTEP_FS:
        raise InputError(
            f"timestep_fs is {timestep_fs}; it must be above 0 and at most {MAX_TIMESTEP_FS:g} fs "
            "(0.5 fs suits molecules with hydrogen)."
        )


def joint_hash(settings: Sequence[Settings], exchange: TemperatureExchange | None) -> str:
    """Of a run of one structure or of many replicas."""
    if len(settings) == 1 and exchange is None:
        return settings[0].hash()
    parts = [each.hash() for each in settings] + ["" if exchange is None else exchange.model_dump_json()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _temperature(
    start: Snapshot, integrator: Integrator, initial_temperature_K: float | None, thermalise_ps: float
) -> float | None:
    if start.velocities is not None and thermalise_ps:
        raise InputError("the start has velocities, so it cannot be thermalised too: leave out one of both.")
    if initial_temperature_K is not None:
        check_temperature(initial_temperature_K, "initial_temperature_K")
        if start.velocities is not None:
            raise InputError("the start has velocities, so initial_temperature_K cannot be given as well.")
        return float(initial_temperature_K)
    if start.velocities is not None:
        return None
    if integrator.start_temperature_K is None:
        raise InputError(
            f"{type(integrator).__name__} needs velocities to start from: give initial_temperature_K, or start from a "
            "snapshot of another run."
        )
    return integrator.start_temperature_K


def _refuse_without_box(start: Snapshot, isolated: bool) -> None:
    """Constant pressure needs a box that is more than vacuum, and atoms that follow it."""
    system = start.system
    if not all(system.pbc):
        axes = [name for name, periodic in zip("abc", system.pbc, strict=True) if periodic]
        received = f"is periodic along {', '.join(axes)} only" if axes else "has no periodic cell"
        raise InputError(
            f"{system.formula} {received}; constant pressure needs three periodic axes. Use an ensemble at constant "
            "volume (nve, langevin, nose-hoover, csvr), or give a cell."
        )
    if isolated:
        raise InputError(
            f"{system.formula} is a molecule in a cell that only stands for vacuum, and has no pressure; use an "
            "ensemble at constant volume."
        )
    if start.fixed:
        raise InputError(
            f"{len(start.fixed)} atoms of {system.formula} are fixed, so they cannot follow a cell that changes; use "
            "an ensemble at constant volume."
        )


def _refuse_alone(system: System, bond_factor: float, cutoff: float) -> None:
    """A molecule out of reach of its images presses against nothing: a barostat sees its vibration, and the cell would
    drift to the 2 k_BT/p of an ideal gas of one, or until the images touch."""
    if alone(system, bond_factor, cutoff):
        assert system.cell is not None
        lengths = " × ".join(f"{length:.4g}" for length in np.linalg.norm(system.cell, axis=1))
        raise InputError(
            f"{system.formula} is a single molecule in a cell of {lengths} Å, farther from its images than the cutoff "
            f"of {cutoff:g} Å, and has no pressure; use an ensemble at constant volume, or a cell that is filled."
        )


def _start_hash(start: Snapshot) -> str:
    system = start.system
    digest = hashlib.sha256()
    for values in (system.numbers, system.positions, system.masses, system.cell, start.velocities, start.fixed):
        digest.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())
    digest.update(repr((system.pbc, system.charge, system.unpaired)).encode())
    return digest.hexdigest()
