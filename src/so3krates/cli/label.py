"""`so3krates label`: energies and forces of a reference method for the structures of a file."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def label(
    structures: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    calculator: str = "pyscf",
    arguments: str = "{}",
    processes: int = 1,
    theory: str | None = None,
) -> None:
    """Compute energies and forces of structures with a reference method.

    Interrupt it as you like: the same command goes on where it stopped. Structures that fail are listed in
    OUTPUT.failures.jsonl, the exit status is then 1, and the same command tries them again.

    Parameters
    ----------
    structures
        Any file of structures ASE reads.
    output
        extxyz file with REF_energy (eV, total), REF_forces (eV/Å) and, for periodic structures, REF_stress (eV/Å³).
    calculator
        pyscf (DFT), tblite (GFN2-xTB), an import path package.module:Class, or folder/file.py:Class.
    arguments
        Keyword arguments of the calculator as JSON, such as '{"xc": "PBE", "basis": "def2-TZVP"}'.
    processes
        Structures to compute side by side, each with one thread.
    theory
        Words on the level of theory for the file; the calculator's own by default.
    """
    from so3krates._errors import So3kratesError
    from so3krates.cli._reference import counting
    from so3krates.reference import CalculatorSpec
    from so3krates.reference import label as label_file

    spec = CalculatorSpec.from_text(calculator, arguments)
    with counting("labelling") as bar:
        report = label_file(
            structures,
            output,
            spec,
            processes=processes,
            theory=theory,
            progress=lambda done, failed, total: bar(done, total, f"{failed} failed" if failed else ""),
        )
    again = f", {report.resumed} of them by an earlier call" if report.resumed else ""
    print(f"{output}: {report.labelled} of {report.total} structures labelled{again}")
    if report.failures:
        frame, reason = report.failures[0]
        raise So3kratesError(
            f"{len(report.failures)} of {report.total} structures have no label, listed in {report.failures_file}; "
            f"the first is frame {frame}: {reason}. Run the same command to try them again."
        )
