"""A page of cards, sections, figures, tables and a viewer, rendered to one HTML file that refers to nothing else."""

from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Card:
    """One number at the top of the page."""

    label: str
    value: str
    unit: str
    remark: str
    good: bool | None = None
    """Whether the number is as it should be; None where that is for the reader to say."""


@dataclass(frozen=True)
class Figure:
    """An inline `<svg>` and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """Figures beside each other where the screen is wide enough, or one."""

    figures: tuple[Figure, ...]
    narrow: bool = False
    """One figure that should not fill the page."""

    @property
    def side_by_side(self) -> bool:
        return len(self.figures) > 1 or self.narrow


@dataclass(frozen=True)
class Table:
    """Rows of text."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    """Columns set flush right."""


@dataclass(frozen=True)
class Viewer:
    """A structure to turn around."""

    data: dict[str, Any]
    """From `so3krates.viz.viewer.viewer_data`."""
    label: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with what belongs under it."""

    title: str
    text: str
    figures: tuple[Figures, ...] = ()
    tables: tuple[Table, ...] = ()
    viewer: Viewer | None = None


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    lead: str
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    footer: str


def chemical(formula: str) -> str:
    """A formula as chemists set it: C2H6O → C₂H₆O."""
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def render(page: Page) -> str:
    """HTML with styles, scripts, pictures and data inside; texts are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = resources.files("so3krates.viz") / "templates"
    environment = Environment(
        loader=PackageLoader("so3krates.viz"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        page=page,
        style=Markup((templates / "style.css").read_text(encoding="utf-8")),
        script=Markup((templates / "viewer.js").read_text(encoding="utf-8")),
    )
