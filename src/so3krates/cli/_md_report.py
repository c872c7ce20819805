"""What `so3krates md` prints: the plan of a dry run, and the summary of a run or of many replicas."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from so3krates.config import Config
from so3krates.md import Exchanges, Integrator, Ramp, Replicas, Run, Snapshot
from so3krates.md.plan import Plan
from so3krates.md.progress import duration
from so3krates.md.records.averages import Average
from so3krates.md.records.run_file import read_summary, summary_path
from so3krates.md.records.settings import Settings
from so3krates.md.run_config import RunConfig
from so3krates.system import System

SET = MappingProxyType({"temperature_K": "K", "pressure_GPa": "GPa"})
"""What an ensemble may hold constant → its unit."""
SURELY = 0.8
"""Share of a wall time: a machine that is busy is slower than some steps have shown."""
RESULTS = ("temperature (K)", "drift (meV/atom/ps)", "steps")


def print_plan(
    console: Console,
    config: RunConfig,
    starts: Sequence[Snapshot],
    settings: Sequence[Settings],
    outputs: Sequence[Path],
    plan: Plan,
    room_s: float | None,
) -> None:
    """What would run; starts, settings and outputs of all replicas, and what of the wall time is not for files."""
    system = starts[0].system
    table = Table(title="dry run: nothing was written", show_header=False)
    table.add_row("system", f"{config.start}: {system.formula}, {len(system)} atoms, {_surroundings(system)}")
    table.add_row("model", f"{config.model}, {config.dtype}")
    if config.committee:
        table.add_row("committee", ", ".join(config.committee))
    table.add_row("ensemble", f"{config.kind}: " + _ensemble(settings))
    fixed = len(starts[0].fixed)
    table.add_row("degrees of freedom", f"{plan.degrees_of_freedom}" + (f"; {fixed} atoms are fixed" if fixed else ""))
    table.add_row("velocities", _velocities(settings))
    table.add_row("length", f"{config.time_ps:g} ps, {plan.steps} steps of {config.timestep_fs:g} fs")
    if plan.done:
        table.add_row("left", f"{plan.left} steps; {plan.done} are made")
    elif plan.thermalise_steps:
        table.add_row("before that", f"{config.thermalise_ps:g} ps to thermalise, {plan.thermalise_steps} steps")
    if config.replicas is not None:
        every = config.replicas.exchange_every_fs
        exchange = "" if every is None else f", exchanged every {every:g} fs"
        seeds = f"seeds {settings[0].seed} to {settings[-1].seed}"
        table.add_row("replicas", f"{len(settings)}, {seeds}{exchange}; the numbers below are of each")
    table.add_row("output", f"{_files(outputs, plan)}: {_rows(plan)}, {_size(plan.file_bytes)} uncompressed")
    table.add_row("memory of the frames of a chunk", f"at most {_size(plan.chunk_bytes)}" + _of_all(settings))
    ns_per_day = plan.steps_per_second * config.timestep_fs * 0.0864
    table.add_row("speed", f"{ns_per_day:.4g} ns/day, {plan.steps_per_second:.4g} steps/s, timed over some steps")
    table.add_row(
        "time", f"about {duration(plan.seconds)} after a start of {duration(plan.start_seconds)}" + _of_all(settings)
    )
    if config.wall_time_s is not None and room_s is not None:
        table.add_row("wall time", f"{duration(config.wall_time_s)}, {_judged(room_s - plan.start_seconds, plan)}")
    console.print(table)


def _judged(room_s: float, plan: Plan) -> str:
    """Whether a wall time is enough, as far as some steps can tell; `room_s` is left for steps."""
    if room_s <= 0.0:
        return f"too short: the start and the last files leave no time for a step, {duration(-room_s)} are missing"
    share = plan.seconds / room_s
    if share > 1.0:
        return f"not enough: about {ceil(share)} runs of that length, with --resume"
    return "enough" if share < SURELY else "hardly enough: it may take a second run, with --resume"


def _ensemble(settings: Sequence[Settings]) -> str:
    """Its numbers; those that differ from replica to replica one after the other."""
    each = [cast(Config, own.integrator).model_dump(mode="json") for own in settings]
    words = []
    for name in each[0]:
        values = list(dict.fromkeys(_written(own[name]) for own in each))
        words.append(f"{name} {', '.join(values)}")
    return ", ".join(words)


def _written(value: Any) -> str:
    """A ramp as the command line takes it."""
    if isinstance(value, dict):
        return ",".join(f"{time:g}:{each:g}" for time, each in zip(value["time_ps"], value["value"], strict=True))
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _velocities(settings: Sequence[Settings]) -> str:
    drawn = {own.initial_temperature_K for own in settings}
    known = sorted(each for each in drawn if each is not None)
    words = ", ".join(f"{each:g}" for each in known)
    return "those of the start" if not known else f"drawn at {words} K"


def _files(outputs: Sequence[Path], plan: Plan) -> str:
    there = not plan.done and any(output.exists() for output in outputs)
    exists = " (exists: --resume or --overwrite)" if there else ""
    return (f"{outputs[0]}" if len(outputs) == 1 else f"{outputs[0]} to {outputs[-1].name}") + exists


def _rows(plan: Plan) -> str:
    more = f", {plan.scalar_rows} rows of scalars" if plan.scalar_rows > plan.frames else ""
    return f"{plan.frames} frames{more}"


def _of_all(settings: Sequence[Settings]) -> str:
    return ", of all replicas together" if len(settings) > 1 else ""


def print_replicas(
    console: Console, outputs: Sequence[Path], integrators: Sequence[Integrator], done: Replicas | None = None
) -> None:
    """A row for each replica, from the summaries beside the trajectories.

    Args:
        console: where.
        outputs: the trajectories.
        integrators: of each.
        done: what came out of it so far; None if nothing did.
    """
    exchanges = None if done is None else done.exchanges
    table = Table(title="replicas")
    for column in [
        "trajectory",
        *(f"set ({unit})" for name, unit in SET.items() if hasattr(integrators[0], name)),
        *RESULTS,
        *(["pressure (GPa)", "density (g/cm³)"] if integrators[0].moves_cell else []),
        *(["exchanged with next", "began as"] if exchanges is not None else []),
        "ended",
    ]:
        table.add_column(column, overflow="fold")
    for number, (output, integrator) in enumerate(zip(outputs, integrators, strict=True)):
        row = [output.name, *(_set(getattr(integrator, name)) for name in SET if hasattr(integrator, name))]
        row += _results(output, integrator.moves_cell)
        if exchanges is not None:
            row += [_accepted(exchanges, number), f"{exchanges.walker[number]}"]
        table.add_row(*row, _how(output, None if done is None else done[number].ended))
    console.print(table)


def _set(value: float | Ramp) -> str:
    return _written(value.model_dump() if isinstance(value, Ramp) else value)


def _results(output: Path, moves_cell: bool) -> list[str]:
    """Temperature, drift, steps, pressure and density; empty for one that ended before its first frame."""
    if not summary_path(output).exists():
        return [""] * (len(RESULTS) + (2 if moves_cell else 0))
    results = read_summary(output)["results"]
    temperature, drift = _mean(results["temperature_K"], ".2f"), results["drift"]
    found = [temperature, "" if drift is None else f"{drift['meV_per_atom_per_ps']:.3g}", f"{results['steps']}"]
    found += [_mean(results[key], ".4g") for key in ("pressure_GPa", "density_g_cm3")] if moves_cell else []
    return found


def _mean(average: dict[str, Any], form: str) -> str:
    """With its standard error, or the least it can be."""
    error = average["standard_error"]
    if error is None:
        return format(average["mean"], form)
    return f"{average['mean']:{form}} ± {'' if average['converged'] else '≥ '}{error:.2g}"


def _accepted(exchanges: Exchanges, number: int) -> str:
    if number == len(exchanges.attempted) or not exchanges.attempted[number]:
        return ""
    counts = f"{exchanges.accepted[number]} of {exchanges.attempted[number]}"
    return f"{exchanges.acceptance[number]:.2f} ({counts})"


def _how(output: Path, ended: str | None) -> str:
    """The reason code alone: the sentences are in the summaries."""
    if not summary_path(output).exists():
        return ended or ""
    found = read_summary(output)["ended"]
    return found["state"] if found["reason"] is None else f"{found['state']}: {found['reason']}"


def print_summary(console: Console, run: Run, output: Path) -> None:
    """What came out of it."""
    summary = run.summary
    table = Table(title=str(output), show_header=False)
    table.add_row("simulated", f"{summary.time_ps:.4g} ps, {summary.steps} steps, {summary.frames} frames")
    for name, average, unit in (
        ("temperature", summary.temperature_K, "K"),
        ("pressure", summary.pressure_GPa, "GPa"),
        ("volume", summary.volume_A3, "Å³"),
        ("density", summary.density_g_cm3, "g/cm³"),
    ):
        if average is not None:
            table.add_row(name, _average(average, unit))
    if summary.drift is not None:
        drift = summary.drift
        table.add_row("drift", f"{drift.meV_per_atom_per_ps:.3g} meV/atom/ps, {drift.kT_per_ns_per_dof:.3g} kT/ns/dof")
        table.add_row("drift over σ(kinetic energy)", f"{drift.over_kinetic_spread:.3g}")
    if run.made:
        table.add_row("speed", f"{summary.ns_per_day:.4g} ns/day, {summary.steps_per_second:.4g} steps/s")
    if summary.neighbor_retries:
        table.add_row("neighbour list", f"enlarged {summary.neighbor_retries} times, chunks run again")
    console.print(table)


def _average(average: Average, unit: str) -> str:
    error = ""
    if average.standard_error is not None:
        short = "" if average.converged else " or more: the run is too short to tell"
        error = f"; standard error {average.standard_error:.2g} {unit}{short}"
    return f"{average.mean:.5g} ± {average.spread:.2g} {unit}{error}"


def _surroundings(system: System) -> str:
    if not system.periodic:
        return "isolated"
    return "periodic along " + ", ".join(axis for axis, is_so in zip("abc", system.pbc, strict=True) if is_so)


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:.3g} TB"
