"""What the README and the documentation show is what happens."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from so3krates.cli.app import VERBS, build_app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [page for page in PAGES if re.search("^<!-- run( -->|:)", page.read_text(encoding="utf-8"), re.MULTILINE)]
WITH_SLOW = [page for page in PAGES if re.search("^<!-- run slow", page.read_text(encoding="utf-8"), re.MULTILINE)]

Blocks = Callable[[Path], list]
Execute = Callable[[Sequence], None]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page.stem == "performance")) for page in RUNNABLE],
    ids=_name,
)
def test_page_runs(
    page: Path, blocks: Blocks, execute: Execute, example_files: None, request: pytest.FixtureRequest
) -> None:
    if page.stem in {"so3lr", "performance"}:
        request.getfixturevalue("published_weights")
    execute([block for block in blocks(page) if block.run and not block.slow])


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SLOW, ids=_name)
def test_page_runs_slow_blocks_too(
    page: Path, blocks: Blocks, execute: Execute, example_files: None, request: pytest.FixtureRequest
) -> None:
    if page.stem in {"so3lr", "performance"}:
        request.getfixturevalue("published_weights")
    chosen = [block for block in blocks(page) if block.run]
    for package in sorted(
        {name for block in chosen for name in re.findall(r"--calculator (pyscf|tblite)", block.code)}
    ):
        pytest.importorskip(package, reason="needs the extra reference")
    execute(chosen)


def _commands(code: str) -> Iterator[list[str]]:
    """The `so3krates …` commands of a shell block: joined lines, without comments, redirections and [brackets]."""
    for line in re.sub(r"\\\n\s*", " ", code).splitlines():
        for part in re.split(r"&&|\|\||;|\s{3,}(?=so3krates )", line.replace("[", "").replace("]", "")):
            words = shlex.split(re.sub(r"\s[>|].*$", "", part), comments=True)
            if words[:1] == ["so3krates"]:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_shown_is_understood(page: Path, blocks: Blocks) -> None:
    app = build_app()
    for block in blocks(page):
        for tokens in _commands(block.code) if block.language in {"bash", ""} else ():
            if tokens[0].startswith("-"):
                continue
            assert tokens[0] in VERBS, f"{block.page}:{block.line} shows the verb {tokens[0]!r}"
            app.parse_args(tokens, exit_on_error=False, print_error=False)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]]
    assert [page for page in pages if page not in navigation] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_named_in_a_page_exist(page: Path) -> None:
    """Names in backticks that look like source files of the package."""
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", page.read_text(encoding="utf-8"))
    places = (ROOT, ROOT / "src" / "so3krates")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_between_pages_resolve(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
