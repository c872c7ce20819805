"""Sample: structures from Langevin dynamics with any ASE calculator, far enough apart in time to differ.

One trajectory per temperature, each with its own random stream. The start (equilibration) is discarded. Every
stored structure goes to a journal together with momenta and the state of the random numbers, so that an interrupted
call continues where it stopped and gives the same trajectory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import ase
import numpy as np
from ase.md.langevin import Langevin
from pydantic import Field

from so3krates._errors import FileError, InputError
from so3krates._typing import Float
from so3krates.config import Config
from so3krates.reference.bonds import BondWatch
from so3krates.reference.calculators import CalculatorSpec
from so3krates.reference.frames import bare, fingerprint, write_extxyz
from so3krates.reference.journal import Journal
from so3krates.reference.processes import run_tasks
from so3krates.units import BOLTZMANN, FEMTOSECOND, PICOSECOND

Progress = Callable[[int, int], None]
"""Called with the numbers of finished and all stored structures, equilibration included."""
HOTTEST_K = 1e4
"""A trajectory whose kinetic temperature passes this has exploded."""

Positive = Annotated[float, Field(gt=0)]


class SamplingPlan(Config):
    """How to sample.

    Attributes:
        temperatures_K: one trajectory each.
        frames: structures to keep per trajectory.
        interval_fs: time between them; a multiple of the time step.
        equilibration_ps: time discarded at the start, rounded up to whole intervals.
        timestep_fs: of the integrator.
        friction_per_ps: coupling to the heat bath.
        seed: of all random numbers; trajectory k uses the k-th child of it.
        watch_bonds: stop a trajectory whose bonds break or form; None watches structures that are not periodic.
    """

    temperatures_K: Annotated[tuple[Positive, ...], Field(min_length=1)]
    frames: Annotated[int, Field(ge=1)]
    interval_fs: Positive = 100.0
    equilibration_ps: Annotated[float, Field(ge=0)] = 5.0
    timestep_fs: Positive = 0.5
    friction_per_ps: Positive = 10.0
    seed: Annotated[int, Field(ge=0)] = 0
    watch_bonds: bool | None = None

    @property
    def steps_between(self) -> int:
        """Time steps between stored structures.

        Raises:
            InputError: the interval is no multiple of the time step.
        """
        steps = round(self.interval_fs / self.timestep_fs)
        if steps < 1 or abs(steps * self.timestep_fs - self.interval_fs) > 1e-9 * self.interval_fs:
            raise InputError(f"interval {self.interval_fs} fs is no multiple of the time step {self.timestep_fs} fs.")
        return steps

    @property
    def discarded(self) -> int:
        """Intervals of the equilibration."""
        return int(np.ceil(1000.0 * self.equilibration_ps / self.interval_fs - 1e-9))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The stored part of one trajectory.

    Attributes:
        temperature_K: of the heat bath.
        mean_temperature_K: kinetic temperature over the stored structures; NaN if there are none.
        frames: structures; `info` holds `temperature_K`, `trajectory` and `time_fs` since the end of equilibration.
        error: why it stopped early, empty otherwise.
        last: the structure at which it stopped early.
    """

    temperature_K: float
    mean_temperature_K: float
    frames: tuple[ase.Atoms, ...]
    error: str = ""
    last: ase.Atoms | None = None


@dataclass(frozen=True)
class SampleReport:
    """What `sample` did.

    Attributes:
        output: the structures.
        frames: how many there are.
        trajectories: temperature, mean kinetic temperature, number of structures and reason of an early stop of each.
        broken_file: the structures at which trajectories stopped early; None if none did.
    """

    output: Path
    frames: int
    trajectories: tuple[tuple[float, float, int, str], ...]
    broken_file: Path | None


def sample(
    start: ase.Atoms,
    output: Path,
    calculator: CalculatorSpec,
    plan: SamplingPlan,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> SampleReport:
    """Sample structures and write them as extxyz, trajectory after trajectory.

    While it runs, everything is kept in `<output>.journal`, which is removed if no trajectory stopped early.

    Args:
        start: first structure of every trajectory.
        output: extxyz file; must not exist unless left by an earlier call that stopped early.
        calculator: energies and forces of the dynamics.
        plan: temperatures, times and seed.
        processes: how many trajectories to run side by side.
        progress: called after each stored structure.

    Raises:
        FileError: output exists, disk full, or the journal belongs to another task.
        InputError: the calculator cannot be made, or the interval is no multiple of the time step.
        KeyboardInterrupt: passed on after an interrupt; what is finished is kept.
    """
    journal = output.with_name(output.name + ".journal")
    if output.exists() and not journal.exists():
        raise FileError(f"{output} exists already and is complete; remove it or choose another name.")
    trajectories = sample_trajectories(start, calculator, plan, journal, processes=processes, progress=progress)
    frames = [atoms for trajectory in trajectories for atoms in trajectory.frames]
    write_extxyz(output, frames)
    broken = [trajectory.last for trajectory in trajectories if trajectory.last is not None]
    broken_file = output.with_name(output.name + ".broken.extxyz")
    if broken:
        write_extxyz(broken_file, broken)
    else:
        broken_file.unlink(missing_ok=True)
    if not any(trajectory.error for trajectory in trajectories):
        journal.unlink()
    table = tuple((t.temperature_K, t.mean_temperature_K, len(t.frames), t.error) for t in trajectories)
    return SampleReport(output, len(frames), table, broken_file if broken else None)


def sample_trajectories(
    start: ase.Atoms,
    calculator: CalculatorSpec,
    plan: SamplingPlan,
    journal: Path,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Trajectory]:
    """Sample structures in memory; the journal makes the work resumable and stays when it is done.

    Args:
        start: first structure of every trajectory.
        calculator: energies and forces of the dynamics.
        plan: temperatures, times and seed.
        journal: file that keeps the structures; continued if it exists.
        processes: how many trajectories to run side by side.
        progress: called once at the start and after each stored structure.

    Returns:
        One trajectory per temperature, in the order of the plan.

    Raises:
        FileError: the journal belongs to another task, or the disk is full.
        InputError: the calculator cannot be made, or the interval is no multiple of the time step.
    """
    calculator.build()
    start = bare(start)
    per_trajectory = plan.discarded + plan.frames
    total = per_trajectory * len(plan.temperatures_K)
    task = {
        "task": "sample",
        "fingerprint": fingerprint([start]),
        "steps_between": plan.steps_between,
        "calculator": calculator.model_dump(mode="json"),
        "plan": plan.model_dump(mode="json"),
    }
    with Journal(journal, task) as book:
        kept = _by_trajectory(book.records, len(plan.temperatures_K))
        unfinished = [
            (index, kept[index][-1] if kept[index] else None)
            for index in range(len(kept))
            if len(kept[index]) < per_trajectory
        ]
        stopped: dict[int, dict[str, Any]] = {}
        _tell(progress, kept, total)
        for record in run_tasks(_SampleTask(start, calculator, plan), unfinished, processes):
            if record["error"]:
                stopped[record["trajectory"]] = record
                continue
            book.append(record)
            kept[record["trajectory"]].append(record)
            _tell(progress, kept, total)
    return [_trajectory(start, plan, index, kept[index], stopped.get(index)) for index in range(len(kept))]


class _SampleTask:
    """One trajectory in, its records out."""

    def __init__(self, start: ase.Atoms, calculator: CalculatorSpec, plan: SamplingPlan) -> None:
        self._start, self._spec, self._plan = start, calculator, plan

    def __call__(self, item: tuple[int, dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
        index, checkpoint = item
        plan = self._plan
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(plan.seed, spawn_key=(index,))))
        atoms = self._start.copy()
        first = -plan.discarded
        if checkpoint is None:
            atoms.set_momenta(_thermal_momenta(atoms, plan.temperatures_K[index], rng))
        else:
            first = checkpoint["frame"] + 1
            atoms.set_positions(checkpoint["positions"])
            atoms.set_momenta(checkpoint["momenta"])
            rng.bit_generator.state = checkpoint["rng"]
        try:
            atoms.calc = self._spec.build()
            yield from self._run(atoms, index, first, rng)
        except Exception as error:  # any failure of a foreign code belongs to this trajectory alone
            yield self._stop(index, atoms, f"{type(error).__name__}: {error}")

    def _run(self, atoms: ase.Atoms, index: int, first: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        plan = self._plan
        watched = plan.watch_bonds if plan.watch_bonds is not None else not np.any(atoms.pbc)
        watch = BondWatch(self._start) if watched else None
        dynamics = Langevin(
            atoms,
            timestep=plan.timestep_fs * FEMTOSECOND,
            temperature_K=plan.temperatures_K[index],
            friction=plan.friction_per_ps / PICOSECOND,
            fixcm=False,
            rng=rng,
        )
        for frame in range(first, plan.frames):
            dynamics.run(plan.steps_between)
            damage = _damage(atoms, watch)
            if damage:
                yield self._stop(index, atoms, f"{damage} at {(frame + 1) * plan.interval_fs:g} fs")
                return
            yield {
                "trajectory": index,
                "frame": frame,
                "error": "",
                "positions": atoms.positions.tolist(),
                "momenta": atoms.get_momenta().tolist(),
                "rng": rng.bit_generator.state,
            }

    def _stop(self, index: int, atoms: ase.Atoms, reason: str) -> dict[str, Any]:
        return {"trajectory": index, "error": reason, "positions": atoms.positions.tolist()}

    def lost(self, item: tuple[int, dict[str, Any] | None], reason: str) -> dict[str, Any]:
        """The record of a trajectory whose process died."""
        return self._stop(item[0], self._start, reason)


def _thermal_momenta(atoms: ase.Atoms, temperature_K: float, rng: np.random.Generator) -> Float[np.ndarray, "atoms 3"]:
    """Momenta of the Maxwell–Boltzmann distribution, in u·Å per internal unit of time."""
    widths = np.sqrt(atoms.get_masses() * BOLTZMANN * temperature_K)
    return rng.standard_normal((len(atoms), 3)) * widths[:, None]


def _damage(atoms: ase.Atoms, watch: BondWatch | None) -> str:
    temperature = atoms.get_temperature()
    if not temperature < HOTTEST_K:
        return f"kinetic temperature {temperature:.0f} K"
    return watch.damage(atoms) if watch is not None else ""


def _by_trajectory(records: Sequence[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    kept: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for record in records:
        kept[record["trajectory"]].append(record)
    return kept


def _tell(progress: Progress | None, kept: Sequence[Sequence[dict[str, Any]]], total: int) -> None:
    if progress is not None:
        progress(sum(len(records) for records in kept), total)


def _trajectory(
    start: ase.Atoms,
    plan: SamplingPlan,
    index: int,
    records: Sequence[dict[str, Any]],
    stopped: dict[str, Any] | None,
) -> Trajectory:
    stored = [record for record in records if record["frame"] >= 0]
    frames, temperatures = [], []
    for record in stored:
        atoms = _structure(start, record["positions"])
        atoms.set_momenta(record["momenta"])
        temperatures.append(atoms.get_temperature())
        atoms.info["temperature_K"] = plan.temperatures_K[index]
        atoms.info["trajectory"] = index
        atoms.info["time_fs"] = (record["frame"] + 1) * plan.interval_fs
        frames.append(atoms)
    mean = float(np.mean(temperatures)) if temperatures else float("nan")
    error, last = "", None
    if stopped is not None:
        error, last = stopped["error"], _structure(start, stopped["positions"])
    return Trajectory(plan.temperatures_K[index], mean, tuple(frames), error, last)


def _structure(start: ase.Atoms, positions: Any) -> ase.Atoms:
    """A structure at new positions; a molecule is put with its centre of mass at the origin."""
    atoms = start.copy()
    atoms.set_positions(positions)
    if not np.any(atoms.pbc):
        atoms.positions -= atoms.get_center_of_mass()
    return atoms
