"""`so3krates sample`: structures from dynamics with a reference method."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def sample(
    start: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    temperature_K: Annotated[list[float], Parameter(consume_multiple=True, negative=())],
    frames: int,
    calculator: str = "tblite",
    arguments: str = "{}",
    interval_fs: float = 100.0,
    equilibration_ps: float = 5.0,
    timestep_fs: float = 0.5,
    friction_per_ps: float = 10.0,
    seed: int = 0,
    watch_bonds: bool | None = None,
    processes: int = 1,
) -> None:
    """Draw structures from Langevin dynamics with a reference method, one trajectory per temperature.

    Interrupt it as you like: the same command goes on where it stopped and gives the same trajectories.

    Parameters
    ----------
    start
        Any file ASE reads; its first structure starts every trajectory.
    output
        extxyz file with temperature_K, trajectory and time_fs of each structure.
    temperature_K
        One or several temperatures, such as --temperature-K 300 500 1000.
    frames
        Structures to keep per temperature.
    calculator
        tblite (GFN2-xTB), pyscf (DFT), an import path package.module:Class, or folder/file.py:Class.
    arguments
        Keyword arguments of the calculator as JSON.
    interval_fs
        Time between kept structures; short intervals give structures that are alike.
    equilibration_ps
        Time discarded at the start.
    timestep_fs
        Time step; the interval is a multiple of it.
    friction_per_ps
        Coupling to the heat bath.
    seed
        Of all random numbers.
    watch_bonds
        Stop a trajectory whose bonds break or form; by default for structures that are not periodic.
    processes
        Trajectories to run side by side, each with one thread.
    """
    from so3krates._errors import So3kratesError
    from so3krates.cli._reference import counting
    from so3krates.reference import CalculatorSpec, SamplingPlan
    from so3krates.reference import sample as sample_file
    from so3krates.reference.frames import read_frames

    plan = SamplingPlan.parse(
        {
            "temperatures_K": temperature_K,
            "frames": frames,
            "interval_fs": interval_fs,
            "equilibration_ps": equilibration_ps,
            "timestep_fs": timestep_fs,
            "friction_per_ps": friction_per_ps,
            "seed": seed,
            "watch_bonds": watch_bonds,
        },
        source="sampling",
    )
    spec = CalculatorSpec.from_text(calculator, arguments)
    first = read_frames(start)[0]
    with counting("sampling") as bar:
        report = sample_file(
            first, output, spec, plan, processes=processes, progress=lambda done, total: bar(done, total, "")
        )
    for temperature, mean, kept, error in report.trajectories:
        print(
            f"{temperature:g} K: {kept} structures, mean kinetic temperature {mean:.0f} K" + f"; {error}" * bool(error)
        )
    print(f"{output}: {report.frames} structures")
    early = [error for *_, error in report.trajectories if error]
    if early:
        raise So3kratesError(
            f"{len(early)} of {len(report.trajectories)} trajectories stopped early, the first: {early[0]}. "
            f"Their last structures are in {report.broken_file}."
        )
