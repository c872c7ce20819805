"""The report page: training, accuracy and runs in one HTML file that opens without a network."""

from collections.abc import Sequence
from pathlib import Path

from so3krates._errors import InputError
from so3krates._version import __version__
from so3krates.analysis.evaluate import Evaluation
from so3krates.data.sample import Dataset
from so3krates.io.atomic import write_atomically
from so3krates.io.trajectory import Trajectory
from so3krates.viz.model_sections import accuracy_cards, accuracy_section, read_training_log, training_section
from so3krates.viz.page import Card, Page, Section, render
from so3krates.viz.run_sections import read_run, run_cards, run_sections


def write_report(
    path: Path,
    *,
    title: str,
    lead: str = "",
    runs: Sequence[Path] = (),
    reference: Dataset | None = None,
    training_log: Path | None = None,
    evaluation: Evaluation | None = None,
) -> None:
    """Write a report about any of a training, an evaluation and some runs.

    Args:
        path: HTML file to write; an older one is replaced.
        title: of the page.
        lead: what the page is about, in a sentence.
        runs: trajectory files.
        reference: data to hold the bond lengths of the runs against.
        training_log: the `.log.jsonl` beside a model.
        evaluation: of the model.

    Raises:
        InputError: if there is nothing to report, or something given cannot be reported.
        FileError: for files that cannot be read or written.
    """
    sections: list[Section] = []
    cards: list[Card] = []
    if training_log is not None:
        sections.append(training_section(read_training_log(training_log)))
    if evaluation is not None:
        sections.append(accuracy_section(evaluation))
        cards += accuracy_cards(evaluation)
    for run in runs:
        data = read_run(Trajectory(run), reference)
        named = len(runs) > 1
        cards += [_named(card, run.name) for card in run_cards(data)] if named else run_cards(data)
        parts = run_sections(data)
        sections += [_titled(part, run.name) for part in parts] if named else parts
    if not sections:
        raise InputError("a report needs at least one run, training log or evaluation.")
    footer = f"Made by so3krates {__version__}. Everything on this page is inside this file; it loads nothing."
    page = Page(title, lead, tuple(cards), tuple(sections), footer)
    write_atomically(Path(path), render(page).encode())


def _named(card: Card, name: str) -> Card:
    return Card(f"{card.label}, {name}", card.value, card.unit, card.remark, card.good)


def _titled(section: Section, name: str) -> Section:
    return Section(f"{section.title}: {name}", section.text, section.figures, section.tables, section.viewer)
