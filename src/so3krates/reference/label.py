"""Label: energies and forces of a reference method for many structures, in parallel, resumable, failures listed.

Every finished structure goes to a journal at once; a second call with the same structures and calculator does only
what is missing and tries again what failed. The result does not depend on the number of processes as long as the
calculator treats each structure on its own.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import BaseCalculator, Calculator, PropertyNotImplementedError

from so3krates._errors import FileError, InputError
from so3krates._typing import Float
from so3krates.io.atomic import write_atomically
from so3krates.reference.calculators import CalculatorSpec
from so3krates.reference.frames import bare, fingerprint, read_frames, write_extxyz
from so3krates.reference.journal import Journal
from so3krates.reference.processes import run_tasks

Progress = Callable[[int, int, int], None]
"""Called with the numbers of finished, failed and all structures."""


@dataclass(frozen=True, eq=False)
class Label:
    """What the reference says about one structure, or why it says nothing.

    Attributes:
        energy: total energy, eV; None if the calculation failed.
        forces: eV/Å.
        stress: eV/Å³, tension positive; None for a structure that is not periodic in all directions or a calculator
            without stress.
        error: the reason of a failure, empty otherwise.
    """

    energy: float | None = None
    forces: Float[np.ndarray, "atoms 3"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    error: str = ""


@dataclass(frozen=True)
class LabelReport:
    """What `label` did.

    Attributes:
        total: structures in the input.
        labelled: of these in the output.
        resumed: of these taken from an interrupted call.
        failures: frame number and reason of each structure that is not in the output.
        output: the labelled structures.
        failures_file: the failures as JSON lines; None if there are none.
    """

    total: int
    labelled: int
    resumed: int
    failures: tuple[tuple[int, str], ...]
    output: Path
    failures_file: Path | None


def label(
    source: Path,
    output: Path,
    calculator: CalculatorSpec,
    *,
    processes: int = 1,
    theory: str | None = None,
    progress: Progress | None = None,
) -> LabelReport:
    """Label the structures of a file and write extxyz.

    Each frame of the output keeps its `info` and gains `REF_energy`, `REF_forces`, `REF_stress` where there is one,
    `source_frame` and `level_of_theory`. While it runs, results gather in `<output>.journal`, which is removed once
    every structure has its label.

    Args:
        source: any file ASE reads.
        output: extxyz file; must not exist unless left by an earlier call with failures.
        calculator: the reference.
        processes: how many to run side by side, each with one thread.
        theory: overrides the calculator's own words on its level of theory.
        progress: called after each structure.

    Raises:
        FileError: input missing or unreadable, output exists, disk full, or the journal belongs to another task.
        InputError: the calculator cannot be made.
        KeyboardInterrupt: passed on after an interrupt; what is finished is kept.
    """
    journal = output.with_name(output.name + ".journal")
    if output.exists() and not journal.exists():
        raise FileError(f"{output} exists already and is complete; remove it or choose another name.")
    frames = read_frames(source)
    words = calculator.level_of_theory() if theory is None else theory
    resumed = [0]
    labels = label_frames(frames, calculator, journal, processes=processes, progress=_noting(progress, resumed))
    _write_labelled(output, frames, labels, words)
    failures = tuple((number, found.error) for number, found in enumerate(labels) if found.error)
    failures_file = _write_failures(output, source, failures)
    if not failures:
        journal.unlink()
    return LabelReport(len(frames), len(frames) - len(failures), resumed[0], failures, output, failures_file)


def label_frames(
    frames: Sequence[ase.Atoms],
    calculator: CalculatorSpec,
    journal: Path,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Label]:
    """Label structures in memory; the journal makes the work resumable and stays when it is done.

    Args:
        frames: structures, labelled exactly as given.
        calculator: the reference.
        journal: file that keeps the results; continued if it exists.
        processes: how many to run side by side, each with one thread.
        progress: called once at the start and after each structure.

    Returns:
        One label per structure, in order; those that failed carry the reason.

    Raises:
        FileError: the journal belongs to other structures or another calculator, or the disk is full.
        InputError: the calculator cannot be made.
        KeyboardInterrupt: passed on; what is finished is in the journal.
    """
    calculator.build()
    task = {
        "task": "label",
        "frames": len(frames),
        "fingerprint": fingerprint(frames),
        "calculator": calculator.model_dump(mode="json"),
    }
    with Journal(journal, task) as book:
        done = {record["frame"]: record for record in book.records if not record["error"]}
        missing = [(number, bare(frames[number])) for number in range(len(frames)) if number not in done]
        failed = 0
        if progress is not None:
            progress(len(done), failed, len(frames))
        for record in run_tasks(_LabelTask(calculator), missing, processes):
            book.append(record)
            done[record["frame"]] = record
            failed += bool(record["error"])
            if progress is not None:
                progress(len(done), failed, len(frames))
    return [_label_of(done[number]) for number in range(len(frames))]


def evaluate_frame(calculator: BaseCalculator, atoms: ase.Atoms) -> Label:
    """Energy, forces and, with a three-dimensional cell, stress of one structure.

    The energy is the free energy where the calculator has one: with smeared occupations forces are its derivatives.

    Raises:
        InputError: the calculator returns something that is not finite or of the wrong shape.
    """
    atoms = bare(atoms)
    if isinstance(calculator, Calculator):
        # Nothing of the structure before may stay: calculators compare positions, but not the charge in `info`, and
        # some start their iterations from the last density.
        calculator.reset()
    forces = np.array(calculator.get_property("forces", atoms), dtype=np.float64)
    consistent = "free_energy" if "free_energy" in calculator.implemented_properties else "energy"
    energy = float(np.asarray(calculator.get_property(consistent, atoms)))
    stress = _stress(calculator, atoms)
    if forces.shape != (len(atoms), 3):
        raise InputError(f"the calculator gives forces of shape {forces.shape}, expected ({len(atoms)}, 3).")
    for name, value in (("energy", energy), ("forces", forces), ("stress", stress)):
        if value is not None and not np.isfinite(value).all():
            raise InputError(f"the calculator gives {name} that are not finite.")
    return Label(energy, forces, stress)


def _stress(calculator: BaseCalculator, atoms: ase.Atoms) -> Float[np.ndarray, "3 3"] | None:
    if not all(atoms.pbc) or "stress" not in calculator.implemented_properties:
        return None
    from ase.stress import voigt_6_to_full_3x3_stress

    try:
        stress = np.array(calculator.get_property("stress", atoms), dtype=np.float64)
    except PropertyNotImplementedError:
        return None
    return stress if stress.shape == (3, 3) else voigt_6_to_full_3x3_stress(stress)


class _LabelTask:
    """One frame in, one journal record out; makes its calculator once per process."""

    def __init__(self, calculator: CalculatorSpec) -> None:
        self._spec = calculator
        self._calculator: BaseCalculator | None = None

    def __call__(self, item: tuple[int, ase.Atoms]) -> Iterator[dict[str, Any]]:
        number, atoms = item
        try:
            if self._calculator is None:
                self._calculator = self._spec.build()
            found = evaluate_frame(self._calculator, atoms)
        except Exception as error:  # any failure of a foreign code belongs to this frame alone
            self._calculator = None
            yield {"frame": number, "error": f"{type(error).__name__}: {error}"}
            return
        yield {
            "frame": number,
            "error": "",
            "energy": found.energy,
            "forces": found.forces.tolist() if found.forces is not None else None,
            "stress": found.stress.tolist() if found.stress is not None else None,
        }

    def lost(self, item: tuple[int, ase.Atoms], reason: str) -> dict[str, Any]:
        """The record of a frame whose process died."""
        return {"frame": item[0], "error": reason}


def _label_of(record: dict[str, Any]) -> Label:
    if record["error"]:
        return Label(error=record["error"])
    stress = None if record["stress"] is None else np.array(record["stress"], dtype=np.float64)
    return Label(record["energy"], np.array(record["forces"], dtype=np.float64).reshape(-1, 3), stress)


def _noting(progress: Progress | None, resumed: list[int]) -> Progress:
    """Remember the first count, which is what an earlier call had finished."""
    first = [True]

    def note(done: int, failed: int, total: int) -> None:
        if first[0]:
            resumed[0], first[0] = done, False
        if progress is not None:
            progress(done, failed, total)

    return note


def _write_labelled(output: Path, frames: Sequence[ase.Atoms], labels: Sequence[Label], theory: str) -> None:
    good = [number for number, found in enumerate(labels) if not found.error]
    labelled = []
    for number in good:
        atoms, found = frames[number].copy(), labels[number]
        atoms.info["REF_energy"] = found.energy
        if found.stress is not None:
            atoms.info["REF_stress"] = found.stress
        atoms.info["source_frame"] = number
        atoms.info["level_of_theory"] = theory.replace('"', "'")
        labelled.append(atoms)
    write_extxyz(output, labelled, [labels[number].forces for number in good])  # type: ignore[misc]


def _write_failures(output: Path, source: Path, failures: Sequence[tuple[int, str]]) -> Path | None:
    path = output.with_name(output.name + ".failures.jsonl")
    if not failures:
        path.unlink(missing_ok=True)
        return None
    lines = (json.dumps({"file": str(source), "frame": number, "error": error}) for number, error in failures)
    write_atomically(path, ("\n".join(lines) + "\n").encode())
    return path
