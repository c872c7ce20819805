"""The README's promises that are not commands to run."""

import tomllib
from pathlib import Path

from so3krates.cli.app import VERBS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_both_one_line_installations_are_there() -> None:
    assert "pip install . && so3krates demo" in README
    assert 'pip install ".[test]" && pytest' in README


def test_every_verb_is_shown() -> None:
    assert [verb for verb in VERBS if f"so3krates {verb}" not in README] == []


def test_every_extra_named_exists() -> None:
    for extra in PROJECT["optional-dependencies"]:
        assert f"`{extra}`" in README, f"the README does not say what the extra {extra} is for"


def test_citation_and_package_have_the_same_version() -> None:
    from so3krates import __version__

    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_continuous_integration_runs_the_readme_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install --quiet ".[test]"' in script
    assert 'step "pytest" pytest\n' in script
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
