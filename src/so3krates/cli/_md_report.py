"""What `so3krates md` prints: the plan of a dry run, and the summary of a run."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from so3krates.md import Run
from so3krates.md.averages import Average
from so3krates.md.plan import Plan
from so3krates.md.progress import duration
from so3krates.md.run_config import RunConfig
from so3krates.system import System


def print_plan(console: Console, config: RunConfig, system: System, plan: Plan) -> None:
    """What would run."""
    parameters = config.ensemble.model_dump(mode="json", exclude={"kind"})
    table = Table(title="dry run: nothing was written", show_header=False)
    exists = " (exists: --resume or --overwrite)" if config.output.exists() else ""
    table.add_row("system", f"{config.start}: {system.formula}, {len(system)} atoms, {_surroundings(system)}")
    table.add_row("model", f"{config.model}, {config.dtype}")
    table.add_row("ensemble", f"{config.kind}: " + ", ".join(f"{name} {value}" for name, value in parameters.items()))
    table.add_row("degrees of freedom", f"{plan.degrees_of_freedom}")
    table.add_row("length", f"{config.time_ps:g} ps, {plan.steps} steps of {config.timestep_fs:g} fs")
    if plan.thermalise_steps:
        table.add_row("before that", f"{config.thermalise_ps:g} ps to thermalise, {plan.thermalise_steps} steps")
    table.add_row("output", f"{config.output}{exists}: {plan.frames} frames, {_size(plan.file_bytes)} uncompressed")
    table.add_row("memory of the frames of a chunk", f"at most {_size(plan.chunk_bytes)}")
    ns_per_day = plan.steps_per_second * config.timestep_fs * 0.0864
    table.add_row("speed", f"{ns_per_day:.4g} ns/day, {plan.steps_per_second:.4g} steps/s, timed over some steps")
    table.add_row("time", f"about {duration(plan.seconds)}, compilation not included")
    if config.wall_time_s is not None:
        parts = plan.seconds / config.wall_time_s
        enough = "enough" if parts < 1 else f"not enough: about {parts:.1f} times as long"
        table.add_row("wall time", f"{duration(config.wall_time_s)}, {enough}")
    console.print(table)


def print_summary(console: Console, run: Run, output: Path) -> None:
    """What came out of it."""
    summary = run.summary
    table = Table(title=str(output), show_header=False)
    table.add_row("simulated", f"{summary.time_ps:.4g} ps, {summary.steps} steps, {summary.frames} frames")
    error = "" if summary.temperature_error_K is None else f"; standard error {summary.temperature_error_K:.2g} K"
    spread = f"{summary.mean_temperature_K:.2f} ± {summary.temperature_spread_K:.2f} K"
    table.add_row("temperature", f"{spread}{error}")
    for name, average, unit in (
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
    error = "" if average.standard_error is None else f"; standard error {average.standard_error:.2g} {unit}"
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
