"""How pictures and numbers look: colours that survive colour blindness and a dark background, and the way to a file.

Matplotlib is imported when a picture is drawn, and its settings are changed for the time of drawing only.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from so3krates.io.atomic import write_atomically

COLORS = MappingProxyType(
    {
        "ink": "#1f262e",
        "muted": "#66707b",
        "grid": "#dfe3e8",
        "blue": "#0072b2",
        "orange": "#d55e00",
        "green": "#009e73",
        "gold": "#b97f00",
    }
)
"""After Okabe and Ito. On a page each is the CSS variable of its name, so that it follows the theme of the reader."""
POINTS = "#3a87c8"
"""For dense clouds, which are pixels: legible on white and on black."""
FORMATS = (".png", ".svg", ".pdf")

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "axes.edgecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["ink"],
    "axes.titlecolor": COLORS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.7,
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.labelcolor": COLORS["ink"],
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "so3krates",
    "path.simplify_threshold": 0.3,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The house style, inside a `with`; Matplotlib's own settings are as before afterwards."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number for people: significant digits, the minus sign U+2212, and 1.2 × 10⁻⁷ rather than 1.2e-07.

    Args:
        value: the number.
        digits: significant ones.
        signed: with a plus sign where it is positive.
    """
    text = f"{value:{'+' if signed else ''}.{digits}g}"
    mantissa, is_power, exponent = text.partition("e")
    if is_power:
        power = int(exponent)
        short = f"{mantissa} × 10{str(power).translate(_SUPERSCRIPTS)}"
        text = f"{value:{'+' if signed else ''},.0f}" if 0 < power < 6 else short
    return text.replace("-", "−")


class Picture:
    """A drawn figure, to be written to a file or set into a page."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure
        with drawing():
            figure.draw_without_rendering()
        # Laid out once; each drawing would shift things a little, and equal data would give different files.
        figure.set_layout_engine("none")

    def save(self, path: Path, dpi: int = 200) -> None:
        """Write a file in the format of its extension: .png, .svg or .pdf.

        Raises:
            FileError: if it cannot be written.
        """
        write_atomically(path, self._bytes(path.suffix.removeprefix("."), dpi))

    def inline(self, label: str) -> str:
        """The picture as an `<svg>` element without any reference to elsewhere, coloured by CSS variables.

        Args:
            label: what is seen, for readers who do not see.
        """
        text = self._bytes("svg", 150, transparent=True).decode()
        text = text[text.index("<svg") :]
        (viewbox,) = re.findall(r'viewBox="([^"]+)"', text)[:1]
        start = f'<svg viewBox="{viewbox}" role="img" aria-label="{_attribute(label)}">'
        text = start + text[text.index(">") + 1 :]
        text = re.sub(r' id="[A-Za-z.]+[\d.]*_\d+"', "", text)
        for name, value in COLORS.items():
            text = text.replace(value, f"var(--{name})")
        return text.strip()

    def _bytes(self, extension: str, dpi: int, *, transparent: bool = False) -> bytes:
        # SVG and PDF would state the time of writing; without it equal data give equal files.
        dates = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "pdf": {"CreationDate": None}}
        buffer = io.BytesIO()
        with drawing():
            self.figure.savefig(
                buffer, format=extension, dpi=dpi, metadata=dates.get(extension), transparent=transparent
            )
        return buffer.getvalue()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
