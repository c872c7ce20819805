"""Pictures: files of the right kind, inline SVG without references, settings untouched."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from so3krates.viz import plots
from so3krates.viz.style import COLORS, Picture, drawing, number


@pytest.fixture(scope="module")
def picture() -> Picture:
    x = np.linspace(-1.0, 1.0, 50)
    return plots.parity(x, x + 0.01, quantity="force", unit="eV/Å", scale=1e3)


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_files(picture: Picture, tmp_path: Path, name: str, start: bytes) -> None:
    picture.save(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_equal_data_give_equal_files(picture: Picture, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.svg")
    picture.save(tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_inline_refers_to_nothing_outside(picture: Picture) -> None:
    text = picture.inline('force "parity" <test>')
    assert text.startswith("<svg ") and text.endswith("</svg>")
    assert 'aria-label="force &quot;parity&quot; &lt;test>"' in text
    assert "http" not in text
    references = re.findall(r'(?:href="|url\()([^")]+)', text)
    assert references
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in references)
    defined = set(re.findall(r' id="([^"]+)"', text))
    assert {r[1:] for r in references if r.startswith("#")} <= defined


def test_inline_follows_the_theme_of_the_reader(picture: Picture) -> None:
    text = picture.inline("parity")
    assert "var(--ink)" in text and "var(--muted)" in text
    assert [color for color in COLORS.values() if color in text] == []


def test_every_color_is_defined_for_light_and_dark() -> None:
    sheet = (Path(plots.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    for name, value in COLORS.items():
        assert len(re.findall(rf"--{name}: #[0-9a-f]{{6}};", sheet)) == 2, name
        assert f"--{name}: {value};" in sheet


def test_settings_of_matplotlib_stay() -> None:
    before = dict(matplotlib.rcParams)
    with drawing():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (-0.00131, 2, True, "−0.0013"),
        (0.00131, 2, True, "+0.0013"),
        (0.0, 3, False, "0"),
        (-1.2e-7, 2, False, "−1.2 × 10⁻⁷"),
        (-12_345.0, 2, True, "−12,345"),
        (3e9, 2, False, "3 × 10⁹"),
    ],
)
def test_numbers_for_people(value: float, digits: int, signed: bool, text: str) -> None:
    assert number(value, digits, signed=signed) == text
