"""Sections of the report about a model: how it was trained, and how far it is from the reference."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from so3krates._errors import FileError, InputError
from so3krates.analysis.evaluate import Evaluation
from so3krates.units import KCAL_PER_MOL
from so3krates.viz import plots
from so3krates.viz.page import Card, Figure, Figures, Section, Table, chemical
from so3krates.viz.style import number

QUANTITIES = {
    "energy": ("energy", "meV"),
    "energy_shifted": ("energy, shifted", "meV"),
    "energy_per_atom": ("energy per atom", "meV/atom"),
    "forces": ("forces", "meV/Å"),
    "stress": ("stress", "meV/Å³"),
    "dipole": ("dipole", "me·Å"),
    "hirshfeld_ratios": ("Hirshfeld ratios", "10⁻³"),
}
"""Quantity → name, and thousandths of its unit, in which errors are shown."""
ROUNDING = 1e-3
"""A mean signed error below this part of the mean absolute one is shown as zero."""


def read_training_log(path: Path) -> list[dict[str, Any]]:
    """The records of a training log, JSON lines; a last line cut off by an interrupt is left out.

    Raises:
        FileError: for a file that is missing or something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"training log '{path}' cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error
    records = []
    for row, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if row == len(lines):
                break
            raise FileError(f"'{path}', line {row}: not JSON ({error.msg}); is this a training log?") from error
    if not all(isinstance(record, dict) and "event" in record for record in records):
        raise FileError(f"'{path}' is not a training log: its lines have no 'event'.")
    return records


def training_section(records: Sequence[Mapping[str, Any]]) -> Section:
    """The learning curve.

    Raises:
        InputError: for a log without a validation.
    """
    validations = [record for record in records if record["event"] == "validation"]
    if not validations:
        raise InputError("the training log holds no validation, so there is no learning curve to show.")
    last = validations[-1]
    picture = plots.learning_curve(validations)
    epoch = last["epoch"]
    passes = f"{epoch:.1f}" if epoch < 10 else f"{epoch:,.0f}"
    text = f"{last['step']:,} optimiser steps in {last['minutes']:.1f} minutes, {passes} passes over the data."
    caption = (
        "Mean absolute error on validation frames, which training does not see, against time; logarithmic. Both curves "
        "should fall until the end, where the learning rate goes to zero. A curve that turns upwards means "
        "overfitting; one that still falls steeply at the end means that more time would help."
    )
    label = "Validation errors of forces and energies falling with training time"
    return Section("Training", text, (Figures((Figure(picture.inline(label), caption),)),))


def accuracy_cards(evaluation: Evaluation) -> list[Card]:
    """Force and energy errors against one kcal/mol; of shifted energies where data and model have no common zero."""
    cards = []
    energy = "energy" if evaluation.energy_note is None else "energy_shifted"
    for name, unit in (("forces", "meV/Å"), (energy, "meV")):
        if name in evaluation.statistics:
            limit = 1e3 * KCAL_PER_MOL
            mae = 1e3 * evaluation.statistics[name].mae
            per = "kcal/mol/Å" if name == "forces" else "kcal/mol"
            side = "below" if mae < limit else "above"
            remark = f"{side} 1 {per} ({limit:.0f} {unit}); {len(evaluation):,} frames"
            title = {"forces": "Force error", "energy": "Energy error"}.get(name, "Energy error, zero shifted")
            cards.append(Card(f"{title} (MAE)", number(mae), unit, remark, mae < limit))
    return cards


def accuracy_section(evaluation: Evaluation) -> Section:
    """Parity plots, table of errors, errors by element, worst frames."""
    figures = [
        Figure(picture.inline(f"Predicted against reference {name}"), _parity_caption(name))
        for name, picture in parity_plots(evaluation).items()
    ]
    pairs = Figures(tuple(figures), narrow=len(figures) == 1)
    text = f"The model against the reference on {len(evaluation):,} labelled frames."
    if evaluation.energy_note is not None:
        text += f" {evaluation.energy_note}"
    return Section("Accuracy", text, (pairs,), tuple(error_tables(evaluation)))


def parity_plots(evaluation: Evaluation) -> dict[str, plots.Picture]:
    """A parity plot for each quantity that has labels; energies relative to the mean reference."""
    e = evaluation
    # Frames of different composition differ by the energies of whole atoms, which would hide everything else.
    mixed = len(set(e.formulas)) > 1
    energies = (e.energy_reference, e.energy_predicted)
    if mixed:
        energies = (energies[0] / e.atoms_per_frame, energies[1] / e.atoms_per_frame)
    labelled = ~np.isnan(energies[0])
    zero = energies[0][labelled].mean() if labelled.any() else 0.0
    available = {
        "energy": (energies[0] - zero, energies[1] - zero, "energy per atom" if mixed else "energy", "eV"),
        "forces": (e.forces_reference, e.forces_predicted, "force", "eV/Å"),
        "stress": (e.stress_reference, e.stress_predicted, "stress", "eV/Å³"),
        "dipole": (e.dipole_reference, e.dipole_predicted, "dipole", "e·Å"),
        "hirshfeld_ratios": (e.ratios_reference, e.ratios_predicted, "Hirshfeld ratio", ""),
    }
    return {
        name: plots.parity(reference, predicted, quantity=quantity, unit=unit, scale=1e3)
        for name, (reference, predicted, quantity, unit) in available.items()
        if name in e.statistics
    }


def error_tables(evaluation: Evaluation) -> list[Table]:
    """Errors by quantity, force errors by element, worst frames."""
    header = ("", "MAE", "RMSE", "largest", "mean signed", "unit", "values")
    by_quantity = [
        (name, *_numbers(found), unit, f"{found.count:,}")
        for key, found in evaluation.statistics.items()
        for name, unit in [QUANTITIES[key]]
    ]
    tables = [Table("Errors, predicted less reference.", header, tuple(by_quantity), (1, 2, 3, 4, 6))]
    by_element = [
        (symbol, *_numbers(found), "meV/Å", f"{found.count:,}")
        for symbol, found in evaluation.forces_by_element.items()
    ]
    if by_element:
        tables.append(Table("Force errors by element.", header, tuple(by_element), (1, 2, 3, 4, 6)))
    worst = [
        (_place(frame.origin), chemical(frame.formula), _milli(frame.forces_rmse), _milli(frame.energy_error))
        for frame in evaluation.worst()
    ]
    header = ("frame", "formula", "force RMSE (meV/Å)", "energy error (meV)")
    tables.append(Table("The frames that are worst: look at these first.", header, tuple(worst), (2, 3)))
    return tables


def _place(origin: str) -> str:
    """File and frame, without the folder."""
    return Path(origin).name or "(memory)"


def _numbers(found: Any) -> tuple[str, str, str, str]:
    bias = found.bias if abs(found.bias) >= ROUNDING * found.mae else 0.0
    return (_milli(found.mae), _milli(found.rmse), _milli(found.largest), _milli(bias))


def _milli(value: float | None) -> str:
    """Thousandths of the unit with three significant digits, whole ones from a thousand."""
    if value is None:
        return "–"
    value *= 1e3
    return f"{value:,.0f}".replace("-", "−") if abs(value) >= 1000 else number(value)


def _parity_caption(name: str) -> str:
    what = {
        "energy": "Energies, relative to the mean of the reference.",
        "forces": "Force components of all atoms.",
        "stress": "Stress components.",
        "dipole": "Components of the dipole.",
        "hirshfeld_ratios": "Hirshfeld ratios of all atoms.",
    }[name]
    return (
        f"{what} Above, every point should lie on the diagonal; below, the difference should scatter evenly about zero "
        "at all values, without slope or tails."
    )
