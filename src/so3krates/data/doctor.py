"""The doctor: looks at a data set before anyone trains on it."""

from collections.abc import Mapping

import ase
import numpy as np

from so3krates._errors import InputError
from so3krates.data.doctor_duplicates import check_duplicates
from so3krates.data.doctor_gradients import check_gradients
from so3krates.data.doctor_labels import check_all_labels
from so3krates.data.doctor_report import Finding, Report, make_report
from so3krates.data.doctor_structures import check_structures
from so3krates.data.doctor_table import FrameTable, gather
from so3krates.data.doctor_units import check_units
from so3krates.data.frames import about
from so3krates.data.sample import Dataset
from so3krates.data.zero_of_energy import check_zero_of_energy
from so3krates.potential import Potential

MAX_FRAMES = 20_000


def examine(
    data: Dataset | Mapping[str, Dataset], *, max_frames: int = MAX_FRAMES, potential: Potential | None = None
) -> Report:
    """Examine a data set, or several that are to be used together such as training and test files.

    Looked for: frames that cannot be read, missing or NaN labels, wrong or mixed units, forces that are not the
    gradient of the energies, a stress that is not the strain derivative, duplicates, leaks between splits,
    trajectories whose random splits would leak, isolated-atom energies, outliers, overlapping atoms, boxes of vacuum.

    Args:
        data: a data set, whose named subsets count as splits; or several by name, each of which is a split.
        max_frames: how many frames to look at; of more, evenly spread runs of consecutive frames are taken.
        potential: a model that shall be fine-tuned on the data; then also whether the energies have its zero.

    Raises:
        InputError: if there is nothing to examine.
    """
    parts = dict(data) if isinstance(data, Mapping) else {"data": data}
    empty = [name for name, part in parts.items() if not len(part)]
    if empty or not parts:
        raise InputError(f"{', '.join(empty) or 'data'}: no frames to examine.")
    table = gather(parts, max_frames)
    findings = [Finding("warning", "file", note) for part in parts.values() for note in about(part).notes]
    findings += check_all_labels(table)
    if table.samples:
        for check in (check_structures, check_units, check_gradients, check_duplicates):
            findings += check(table)
    if potential is not None:
        for part in parts.values():
            findings += check_zero_of_energy(potential, part)
    return make_report(findings, _summary(parts, table))


def _summary(parts: Mapping[str, Dataset], table: FrameTable) -> dict[str, str]:
    samples = table.samples
    whole = len(samples) == table.total
    summary = {"frames": f"{table.total}" if whole else f"{len(samples)} of {table.total} examined"}
    sizes = [len(sample.system) for sample in samples]
    if sizes:
        numbers = np.unique(np.concatenate([block.numbers for block in table.blocks]))
        summary["atoms"] = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        summary["elements"] = " ".join(ase.Atoms(numbers=numbers).get_chemical_symbols())
        summary["periodic"] = f"{sum(sample.system.periodic for sample in samples)} of {len(samples)}"
    for name, part in parts.items():
        known = about(part)
        prefix = f"{name}: " if len(parts) > 1 else ""
        if known.label_keys:
            keys = ", ".join(f"{label} from '{key}'" for label, key in known.label_keys.items())
            summary[f"{prefix}labels"] = keys
        summary[f"{prefix}units"] = known.units
        if known.subsets:
            summary[f"{prefix}subsets"] = ", ".join(f"{name} ({len(i)})" for name, i in known.subsets.items())
    return summary
