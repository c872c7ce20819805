"""What `so3krates md` prints: the plan of a dry run, and the summary of a run or of many replicas."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from so3krates.config import Config
from so3krates.md import Exchanges, Integrator, Replica, Replicas, Run, Snapshot
from so3krates.md.plan import Plan
from so3krates.md.progress import duration
from so3krates.md.records.averages import Average
from so3krates.md.records.run_file import read_summary, summary_path
from so3krates.md.records.settings import Settings
from so3krates.md.records.summary import Disputed
from so3krates.md.records.wording import OF_A_RAMP, average_text, follows_ramp, many, plain, rounded, spread_text
from so3krates.md.run_config import RunConfig
from so3krates.system import System

SET = MappingProxyType({"temperature_K": "K", "pressure_GPa": "GPa"})
"""What an ensemble may hold constant → its unit."""
SURELY = 0.8
"""Share of a wall time: a machine that is busy is slower than some steps have shown."""
BROADEST = 10_000
"""Columns of a terminal at most, for tables that are measured."""
LONGEST_WORD = 20
"""In the last column: reason codes are whole, long names of files in a sentence may be broken."""
NOTHING = "–"


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
    table.add_row("degrees of freedom", f"{plan.degrees_of_freedom}" + (f"; {_fixed(fixed)}" if fixed else ""))
    table.add_row("velocities", _velocities(settings))
    table.add_row("length", f"{config.time_ps:g} ps, {many(plan.steps, 'step')} of {config.timestep_fs:g} fs")
    if plan.done:
        table.add_row("left", f"{many(plan.left, 'step')}; {plan.done} {'is' if plan.done == 1 else 'are'} made")
    elif plan.thermalise_steps:
        table.add_row(
            "before that", f"{config.thermalise_ps:g} ps to thermalise, {many(plan.thermalise_steps, 'step')}"
        )
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


def _fixed(count: int) -> str:
    return f"{many(count, 'atom')} {'is' if count == 1 else 'are'} fixed"


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
    more = f", {many(plan.scalar_rows, 'row')} of scalars" if plan.scalar_rows > plan.frames else ""
    return f"{many(plan.frames, 'frame')}{more}"


def _of_all(settings: Sequence[Settings]) -> str:
    return ", of all replicas together" if len(settings) > 1 else ""


def print_replicas(
    console: Console, outputs: Sequence[Path], integrators: Sequence[Integrator], done: Replicas | None = None
) -> None:
    """A row for each replica, from the summaries beside the trajectories; what all share is said above.

    Args:
        console: where.
        outputs: the trajectories.
        integrators: of each.
        done: what came out of it so far; None if nothing did.
    """
    written = [read_summary(output) if summary_path(output).exists() else None for output in outputs]
    results = [None if each is None else each["results"] for each in written]
    ensembles = [cast(Config, each).model_dump(mode="json") for each in integrators]
    columns: dict[str, list[str]] = {"trajectory": [output.name for output in outputs]}
    shared = [many(len(outputs), "replica")]
    for name, unit in SET.items():
        values = [_written(each[name]) for each in ensembles if name in each]
        if len(set(values)) > 1:
            columns[f"set\n({unit})"] = values
        elif values:
            shared.append(f"{values[0]} {unit}")
    steps = [None if each is None else each["steps"] for each in results]
    if len(set(steps)) == 1 and steps[0] is not None:
        shared.append(many(steps[0], "step") + (" each" if len(steps) > 1 else ""))
    else:
        columns["steps"] = [NOTHING if each is None else f"{each}" for each in steps]
    columns["T (K)"] = _averages(results, ensembles, "temperature_K")
    columns["drift"] = [_drift(each) for each in results]
    if integrators[0].moves_cell:
        columns["p (GPa)"] = _averages(results, ensembles, "pressure_GPa")
        columns["g/cm³"] = _averages(results, ensembles, "density_g_cm3")
    notes = _notes(columns)
    if any(each is not None and each.get("disagreement") for each in results):
        columns["dispute"] = [_dispute(each) for each in results]
        notes.append("Dispute: largest disagreement of the committee about a force, in eV/Å.")
    if done is not None and done.exchanges is not None:
        exchanges = done.exchanges
        columns["accepted"] = [_accepted(exchanges, number) for number in range(len(outputs))]
        columns["began\nin"] = [f"{each}" for each in exchanges.walker]
        notes.append("Accepted: share of the exchanges tried with the next replica.")
        notes.append("Began in: the replica, counted from 0, in which the configuration at the end began.")
    columns["ended"] = [_how(each, None if done is None else done[n]) for n, each in enumerate(written)]
    table = _table(columns)
    table.title, table.caption = ", ".join(shared), " ".join(notes)
    needed = Measurement.get(console, console.options.update(width=BROADEST), table).minimum
    # Lines longer than the terminal can be read; names and numbers that are broken cannot.
    table.width = max(console.width, needed)
    console.print(table, crop=False, soft_wrap=needed > console.width)


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    """Only the last column is broken into lines, between words."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title_justify="left", caption_justify="left")
    for name, cells in columns.items():
        whole = name != "ended"
        words = [line for cell in (name, *cells) for line in (cell.splitlines() if whole else cell.split())]
        least = max(map(cell_len, words))
        table.add_column(name, no_wrap=whole, min_width=least if whole else min(least, LONGEST_WORD), overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _averages(
    results: Sequence[Mapping[str, Any] | None], ensembles: Sequence[Mapping[str, Any]], name: str
) -> list[str]:
    """Of each replica; of one that ended before its first frame there is none."""
    cells = []
    for found, ensemble in zip(results, ensembles, strict=True):
        if found is None or found[name] is None:
            cells.append(NOTHING)
        elif follows_ramp(ensemble, name):
            cells.append("ramp")
        else:
            average = Average(**found[name])
            value, error = rounded(average)
            cells.append(value if error is None else f"{value} ± {error}" + ("" if average.converged else " *"))
    return cells


def _notes(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """What the signs in the cells mean."""
    cells = [cell for each in columns.values() for cell in each]
    notes = []
    if any("±" in cell for cell in cells):
        least = "; * at least that: the run is too short to tell, or was not in equilibrium"
        notes.append(f"Mean ± its standard error{least if any('*' in cell for cell in cells) else ''}.")
    return [*notes, "Drift in meV/atom/ps."]


def _drift(found: Mapping[str, Any] | None) -> str:
    drift = None if found is None else found["drift"]
    return NOTHING if drift is None else f"{drift['meV_per_atom_per_ps']:.3g}"


def _dispute(found: Mapping[str, Any] | None) -> str:
    dispute = None if found is None else found.get("disagreement")
    return NOTHING if dispute is None else plain(dispute["largest_eV_per_A"], 3)


def _accepted(exchanges: Exchanges, number: int) -> str:
    if number == len(exchanges.attempted) or not exchanges.attempted[number]:
        return NOTHING
    return f"{exchanges.acceptance[number]:.2f} of {exchanges.attempted[number]}"


def _how(written: Mapping[str, Any] | None, replica: Replica | None) -> str:
    """The reason code alone: the sentences are in the summaries, but for those that ended before their first frame."""
    if written is not None:
        found = written["ended"]
        return found["state"] if found["reason"] is None else f"{found['state']}: {found['reason']}"
    if replica is None:
        return NOTHING
    return (replica.ended or NOTHING) if replica.stopped is None else f"stopped: {replica.stopped.reason}"


def print_summary(console: Console, run: Run, output: Path, integrator: Integrator) -> None:
    """What came out of it."""
    summary, ensemble = run.summary, cast(Config, integrator).model_dump(mode="json")
    broad = min(cell_len(str(output)), console.width)
    table = Table(title=str(output), show_header=False, caption_justify="left", min_width=broad)
    length = f"{many(summary.steps, 'step')}, {many(summary.frames, 'frame')}"
    table.add_row("simulated", f"{summary.time_ps:.4g} ps, {length}")
    shown = []
    for name, average, unit in (
        ("temperature_K", summary.temperature_K, "K"),
        ("pressure_GPa", summary.pressure_GPa, "GPa"),
        ("volume_A3", summary.volume_A3, "Å³"),
        ("density_g_cm3", summary.density_g_cm3, "g/cm³"),
    ):
        if average is not None:
            ramped = follows_ramp(ensemble, name)
            table.add_row(
                name.split("_")[0], OF_A_RAMP if ramped else average_text(average, unit) + spread_text(average, unit)
            )
            shown += [] if ramped else [average]
    table.caption = _about_errors(shown)
    if summary.drift is not None:
        drift = summary.drift
        table.add_row("drift", f"{drift.meV_per_atom_per_ps:.3g} meV/atom/ps, {drift.kT_per_ns_per_dof:.3g} kT/ns/dof")
        table.add_row("drift over σ(kinetic energy)", f"{drift.over_kinetic_spread:.3g}")
    if summary.disagreement is not None:
        table.add_row("disagreement of the committee", _disagreement(summary.disagreement))
    if run.made:
        table.add_row("speed", f"{summary.ns_per_day:.4g} ns/day, {summary.steps_per_second:.4g} steps/s")
    if retries := summary.neighbor_retries:
        again = "once, a chunk" if retries == 1 else f"{retries} times, chunks"
        table.add_row("neighbour list", f"enlarged {again} run again")
    console.print(table)


def _about_errors(averages: Sequence[Average]) -> str | None:
    errors = [each for each in averages if each.standard_error]
    if not errors:
        return None
    note = "Mean ± its standard error; spread of single frames."
    if not all(each.converged for each in errors):
        note += " An error is 'at least' that where the run is too short to tell, or was not in equilibrium."
    return note


def _disagreement(found: Disputed) -> str:
    where = f"at step {found.step} ({found.time_ps:.4g} ps), atom {found.atom}"
    return f"at most {plain(found.largest_eV_per_A, 3)} eV/Å {where}; mean {plain(found.mean_eV_per_A, 3)} eV/Å"


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
