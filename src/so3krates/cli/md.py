"""`so3krates md`: molecular dynamics with a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from so3krates._errors import InputError
from so3krates.cli._running import Running

if TYPE_CHECKING:
    from rich.console import Console

    from so3krates.md import Integrator, Snapshot, Summary
    from so3krates.potential import Potential
    from so3krates.system import System


def md(
    model: Path,
    start: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    time_ps: float,
    ensemble: Literal["nve", "langevin", "nose-hoover"] = "langevin",
    temperature_K: float | None = None,
    timestep_fs: float = 0.5,
    friction_per_ps: float | None = None,
    period_fs: float | None = None,
    fix_rotation: Annotated[bool, Parameter(negative=())] = False,
    thermalise_ps: float = 0.0,
    seed: int = 0,
    save_every_fs: float | None = None,
    save_forces: Annotated[bool, Parameter(negative=())] = False,
    max_temperature_K: float = 1e4,
    min_distance: float = 0.5,
    max_bond_deviation: float | None = 1.0,
    dtype: Literal["float32", "float64"] = "float32",
    running: Running | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run molecular dynamics with a model.

    Ends with exit status 3 if the monitor stops the run; Ctrl-C writes a checkpoint first.

    Parameters
    ----------
    model
        Model file, or the name of published weights.
    start
        Structure file; its last frame is the start. Velocities in it are used if no temperature is given.
    output
        Trajectory (.h5 or .hdf5) in the H5MD layout; the checkpoint lies beside it.
    time_ps
        Length of the run in ps, with the part before a resume.
    ensemble
        nve (velocity Verlet), langevin (BAOAB) or nose-hoover (chain).
    temperature_K
        Temperature of the thermostat, and of the velocities drawn at the start.
    timestep_fs
        Time step in fs.
    friction_per_ps
        Friction of Langevin dynamics in 1/ps; 1 if not given.
    period_fs
        Characteristic time of the Nosé–Hoover chain in fs; 100 if not given.
    fix_rotation
        Remove the angular momentum at the start (nve, nose-hoover; isolated molecules), and count without it.
    thermalise_ps
        Langevin dynamics before the run, not recorded.
    seed
        Of velocities and noise.
    save_every_fs
        Interval of saved frames; about 10 fs, or the whole run if that is shorter, if not given.
    save_forces
        Store forces too.
    max_temperature_K
        The monitor stops a run that becomes hotter.
    min_distance
        The monitor stops when two atoms come closer, in Å.
    max_bond_deviation
        The monitor stops when a bond changes its length by more, in Å.
    dtype
        Precision of the arithmetic.
    resume
        Go on from the checkpoint, or begin if there is none.
    overwrite
        Replace an existing trajectory.
    """
    from rich.console import Console

    from so3krates.cli._outputs import check_output
    from so3krates.md import Monitor, progress_bar, simulate

    check_output(output, "a trajectory", (".h5", ".hdf5"), [model, start])
    snapshot = _read(start, ignore_velocities=temperature_K is not None)
    integrator = _integrator(ensemble, temperature_K, friction_per_ps, period_fs, fix_rotation)
    if ensemble == "nve" and temperature_K is None and snapshot.velocities is None:
        raise InputError(f"--ensemble nve needs --temperature-K, or velocities in '{start}'.")
    monitor = Monitor.parse(
        {
            "max_temperature_K": max_temperature_K,
            "min_distance": min_distance,
            "max_bond_deviation": max_bond_deviation,
        },
        "monitor",
    )
    potential = (running or Running()).load(model, dtype)
    console = Console()
    for remark in _remarks(potential, snapshot.system, start):
        console.print(remark, highlight=False, soft_wrap=True)
    with progress_bar(console) as report:
        _, run = simulate(
            potential,
            snapshot,
            integrator,
            timestep_fs=timestep_fs,
            steps=_steps(time_ps, timestep_fs),
            to=output,
            initial_temperature_K=temperature_K,
            thermalise_ps=thermalise_ps,
            seed=seed,
            save_every_fs=save_every_fs,
            save_forces=save_forces,
            monitor=monitor,
            resume=resume,
            overwrite=overwrite,
            report=report,
        )
    _print_summary(console, run.summary, output)


def _integrator(
    ensemble: str,
    temperature_K: float | None,
    friction_per_ps: float | None,
    period_fs: float | None,
    fix_rotation: bool,
) -> "Integrator":
    """The ensemble; an option that would be ignored is refused."""
    from so3krates.md import NVE, Langevin, NoseHoover

    if friction_per_ps is not None and ensemble != "langevin":
        raise InputError(f"--friction-per-ps belongs to langevin, not to {ensemble}.")
    if period_fs is not None and ensemble != "nose-hoover":
        raise InputError(f"--period-fs belongs to nose-hoover, not to {ensemble}.")
    if fix_rotation and ensemble == "langevin":
        raise InputError("--fix-rotation belongs to nve and nose-hoover: Langevin's noise sets a molecule rotating.")
    if ensemble == "nve":
        return NVE(fix_rotation=fix_rotation)
    if temperature_K is None:
        raise InputError(f"--ensemble {ensemble} needs --temperature-K.")
    if ensemble == "langevin":
        friction = 1.0 if friction_per_ps is None else friction_per_ps
        return Langevin.parse({"temperature_K": temperature_K, "friction_per_ps": friction}, "langevin")
    period = 100.0 if period_fs is None else period_fs
    values = {"temperature_K": temperature_K, "period_fs": period, "fix_rotation": fix_rotation}
    return NoseHoover.parse(values, "nose-hoover")


def _read(path: Path, *, ignore_velocities: bool) -> "Snapshot":
    import ase.io
    import numpy as np

    from so3krates._errors import FileError
    from so3krates.md import Snapshot
    from so3krates.system import System
    from so3krates.units import FEMTOSECOND

    if not path.exists():
        raise FileError(f"structure file '{path}' does not exist.")
    try:
        atoms = ase.io.read(path, index=-1)
    except Exception as error:  # readers of other formats raise whatever they like
        raise FileError(f"'{path}' cannot be read as a structure: {error}") from error
    assert not isinstance(atoms, list)
    velocities = None
    if not ignore_velocities and np.any(atoms.get_momenta()):
        velocities = atoms.get_velocities() * FEMTOSECOND
    try:
        return Snapshot(System.from_ase(atoms), velocities)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _remarks(potential: "Potential", system: "System", path: Path) -> list[str]:
    """What there is to say about the structure; what the model refuses of it names the file."""
    try:
        potential.check(system)
        potential.treated(system)
        potential.mesh(system)
        return list(potential.remarks(system).values())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _steps(time_ps: float, timestep_fs: float) -> int:
    if not time_ps > 0:
        raise InputError(f"--time-ps is {time_ps}; it must be positive.")
    # simulate refuses the time step; here it only must not divide by zero.
    return round(time_ps * 1e3 / timestep_fs) if timestep_fs > 0 else 0


def _print_summary(console: "Console", summary: "Summary", output: Path) -> None:
    from rich.table import Table

    table = Table(title=str(output), show_header=False)
    table.add_row("simulated", f"{summary.time_ps:.4g} ps, {summary.steps} steps, {summary.frames} frames")
    table.add_row("temperature", f"{summary.mean_temperature_K:.2f} ± {summary.temperature_spread_K:.2f} K")
    if summary.drift is not None:
        drift = summary.drift
        table.add_row("drift", f"{drift.meV_per_atom_per_ps:.3g} meV/atom/ps, {drift.kT_per_ns_per_dof:.3g} kT/ns/dof")
        table.add_row("drift over σ(kinetic energy)", f"{drift.over_kinetic_spread:.3g}")
    table.add_row("speed", f"{summary.ns_per_day:.4g} ns/day, {summary.steps_per_second:.4g} steps/s")
    if summary.neighbor_retries:
        table.add_row("neighbour list", f"enlarged {summary.neighbor_retries} times, chunks run again")
    console.print(table)
