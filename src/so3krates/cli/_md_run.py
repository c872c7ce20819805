"""What `so3krates md` does once everything is read: a dry run, one run, or many replicas."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console

from so3krates._errors import FileError, SimulationStopped
from so3krates.cli._md_report import print_plan, print_replicas, print_summary
from so3krates.md import (
    RunInterrupted,
    RunStopped,
    RunUnfinished,
    Snapshot,
    progress_bar,
    simulate,
    simulate_replicas,
)
from so3krates.md.conduct import replica_paths
from so3krates.md.plan import plan
from so3krates.md.records.checkpoint import checkpoint_path, glance
from so3krates.md.records.output import resumable
from so3krates.md.records.run_file import summary_path
from so3krates.md.records.settings import make_settings
from so3krates.md.run_config import RunConfig
from so3krates.md.simulate import replica_settings
from so3krates.md.wall_time import Deadline
from so3krates.potential import Potential

PICTURE_SECONDS = 5.0
"""Of the wall time for drawing the summary, but at most a tenth of it."""
MORE_PICTURES_SECONDS = 1.0
"""For each further replica."""

MANY = 100
"""Replicas that take a while to prepare."""


@dataclass(frozen=True, eq=False)
class Command:
    """What was read: the configuration, and what the files that it names hold."""

    config: RunConfig
    potential: Potential
    committee: Sequence[Potential]
    starts: Sequence[Snapshot]
    """One for each replica."""
    console: Console

    @property
    def seeds(self) -> list[int]:
        return [self.config.seed + number for number in range(len(self.starts))]

    @property
    def outputs(self) -> list[Path]:
        """The trajectory of each replica, or that of the run."""
        return trajectories(self.config, len(self.starts))

    @property
    def asked(self) -> dict[str, Any]:
        """Arguments that a dry run needs too."""
        config = self.config
        return {
            "timestep_fs": config.timestep_fs,
            "steps": config.steps,
            "recording": config.recording,
            "monitor": config.monitor,
            "initial_temperature_K": config.initial_temperature_K,
            "thermalise_ps": config.thermalise_ps,
        }


def trajectories(config: RunConfig, count: int) -> list[Path]:
    """The trajectory of each of so many replicas, or that of the run."""
    return [config.output] if config.replicas is None else replica_paths(config.output, count)


def dry(command: Command, *, resume: bool, began: float) -> None:
    """Say what would run.

    Raises:
        FileError: for what cannot be resumed.
    """
    config, potential, asked = command.config, command.potential, command.asked
    _say_before(command)
    starts: Sequence[Snapshot] = command.starts
    if config.replicas is None:
        settings = [make_settings(potential, starts[0], config.integrator, seed=config.seed, **asked)]
    else:
        integrators = config.integrators(len(starts))
        starts, settings = replica_settings(
            potential, starts, integrators, seeds=command.seeds, exchange=config.exchange, **asked
        )
    loaded = monotonic() - began
    checkpoint, count = checkpoint_path(config.output), None if config.replicas is None else len(starts)
    going_on = resume and resumable(checkpoint, command.outputs, count)
    planned = plan(
        potential,
        starts,
        settings,
        together=config.replicas is not None,
        exchange=config.exchange,
        committee=command.committee,
        done=glance(checkpoint).step if going_on else 0,
    )
    planned = replace(planned, start_seconds=loaded + planned.start_seconds)
    room_s = None if config.wall_time_s is None else Deadline(_without_pictures(command)).room(0.0)
    print_plan(command.console, config, starts, settings, command.outputs, planned, room_s)


def go(command: Command, *, resume: bool, overwrite: bool, began: float) -> None:
    """Run, tell what came out of it, and draw it.

    Raises:
        SimulationStopped: if the monitor ended the run, or replicas of it; the others are complete then.
        RunUnfinished, KeyboardInterrupt: if it is to be resumed.
    """
    config = command.config
    _say_before(command)
    wall_time_s = config.wall_time_s
    if wall_time_s is not None:
        wall_time_s = max(_without_pictures(command) - (monotonic() - began), 1e-3)
    how = command.asked | {
        "to": config.output,
        "committee": command.committee,
        "resume": resume,
        "overwrite": overwrite,
        "wall_time_s": wall_time_s,
    }
    if config.replicas is None:
        _one(command, how)
    else:
        _many(command, how)


def _say_before(command: Command) -> None:
    """What somebody would else find out too late, or wonder about."""
    config, console = command.config, command.console
    every_fs = config.recording.every_fs
    if every_fs is not None and every_fs > 1e3 * config.time_ps:
        console.print(
            f"--save-every-fs {every_fs:g} is longer than the run of {config.time_ps:g} ps: of its frames only the "
            "start is recorded.",
            highlight=False,
            soft_wrap=True,
        )
    if len(command.starts) >= MANY:
        console.print(f"preparing {len(command.starts)} replicas", highlight=False)


def _without_pictures(command: Command) -> float:
    """Of the wall time."""
    wall_time_s = command.config.wall_time_s
    assert wall_time_s is not None
    pictures = PICTURE_SECONDS + MORE_PICTURES_SECONDS * (len(command.outputs) - 1)
    return wall_time_s - min(pictures, 0.1 * wall_time_s)


def _one(command: Command, how: dict[str, Any]) -> None:
    config, console = command.config, command.console
    try:
        with progress_bar(console) as report:
            _, run = simulate(
                command.potential, command.starts[0], config.integrator, seed=config.seed, report=report, **how
            )
    except (RunStopped, RunUnfinished, RunInterrupted) as error:
        if error.run is not None:
            print_summary(console, error.run, config.output, config.integrator)
            _draw(config.output)
        raise
    if not run.made:
        _say_complete(console, config, run.summary.steps, f"'{config.output}' holds")
    print_summary(console, run, config.output, config.integrator)
    _draw(config.output)


def _many(command: Command, how: dict[str, Any]) -> None:
    config, console, outputs = command.config, command.console, command.outputs
    integrators = config.integrators(len(command.starts))
    try:
        with progress_bar(console) as report:
            done = simulate_replicas(
                command.potential,
                command.starts,
                integrators,
                seeds=command.seeds,
                exchange=config.exchange,
                report=report,
                **how,
            )
    except (RunStopped, RunUnfinished, RunInterrupted) as error:
        if any(summary_path(output).exists() for output in outputs):
            left = None if isinstance(error, RunStopped) else error.replicas
            print_replicas(console, outputs, integrators, left)
        _draw(*outputs)
        raise
    runs = [each.run for each in done.complete if each.run is not None]
    if runs and not runs[0].made:
        _say_complete(console, config, runs[0].summary.steps, f"{len(runs)} of {len(done)} replicas hold")
    print_replicas(console, outputs, integrators, done)
    _draw(*outputs)
    ended = [each for each in done.replicas if each.ended is not None]
    if ended:
        rest = "the others are complete; " if runs else ""
        stopped = ended[0].stopped
        raise SimulationStopped(
            f"{len(ended)} of {len(done)} replicas ended early; {rest}{ended[0].ended}",
            "replicas_ended" if stopped is None else stopped.reason,
            0 if stopped is None else stopped.step,
        )


def _say_complete(console: Console, config: RunConfig, steps: int, who: str) -> None:
    more = f", more than the {config.steps} asked for" if steps > config.steps else ""
    console.print(f"{who} all {steps} steps already{more}; there was nothing to do.", highlight=False, soft_wrap=True)


def _draw(*outputs: Path) -> None:
    """The page about each run; what ended a run must be said even if that cannot be written."""
    from so3krates.viz.run_summary import write_run_picture

    for output in outputs:
        if summary_path(output).exists():
            with suppress(FileError):
                write_run_picture(output)
