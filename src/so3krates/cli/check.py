"""so3krates check: the doctor for data sets."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from so3krates._errors import FileError


def check(
    *files: Path,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    force_unit: str | None = None,
    stress_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virials_key: str | None = None,
    max_frames: Annotated[int | None, Parameter(name="--max-frames")] = None,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Examine reference data: labels, units, forces against energies, duplicates, leaks. Exit status 1 on errors.

    Args:
        files: data files, FILE@NAME for a named subset, FILE@START:STOP for a slice. Several files count as splits
            that must not share frames.
        energy_unit: unit of the energies, such as kcal/mol, where the file does not say it.
        length_unit: unit of positions and cells, such as Bohr.
        force_unit: unit of the forces if it is not energy/length.
        stress_unit: unit of the stress if it is not energy/length^3: GPa, kbar, vasp-kbar.
        energy_key: key of the energy in extxyz, traj and db files, if it is none of the usual.
        forces_key: key of the forces.
        stress_key: key of the stress.
        virials_key: key of the virials.
        max_frames: look at this many frames at most (20,000 if not given).
        json: also write all findings to this file.
    """
    from so3krates._errors import InputError
    from so3krates.data.doctor import MAX_FRAMES, examine
    from so3krates.data.readers import read_dataset

    if not files:
        raise InputError("no file given; usage: so3krates check FILE [FILE ...].")
    datasets = {
        str(file): read_dataset(
            file,
            energy_unit=energy_unit,
            length_unit=length_unit,
            force_unit=force_unit,
            stress_unit=stress_unit,
            energy_key=energy_key,
            forces_key=forces_key,
            stress_key=stress_key,
            virials_key=virials_key,
        )
        for file in files
    }
    alone = next(iter(datasets.values())) if len(datasets) == 1 else None
    report = examine(alone if alone is not None else datasets, max_frames=max_frames or MAX_FRAMES)
    console = Console()
    for key, value in report.summary.items():
        console.print(f"{key}: {value}", markup=False, highlight=False)
    console.print(report.table())
    if json is not None:
        _write(json, report.to_json())
    if report.failed:
        raise SystemExit(1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error}).") from error
