"""Rules of the house that no linter knows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import so3krates

PACKAGE = Path(so3krates.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 450

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_package_was_found() -> None:
    assert {"model.py", "potential.py", "cli/app.py"} <= {_name(path) for path in FILES}


def test_no_file_is_too_long() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_folder_or_file_is_called_utils() -> None:
    words = {part for path in FILES for part in Path(_name(path)).with_suffix("").parts}
    assert words & {"utils", "util", "tools", "helpers", "misc", "common"} == set()


def test_pickle_is_imported_by_the_reader_of_foreign_files_alone() -> None:
    users = {_name(path) for path in FILES if {name.split(".")[0] for name in _imports(path)} & PICKLES}
    assert {name for name in users if not name.startswith("io/foreign")} == set()


def test_every_file_says_what_it_holds() -> None:
    silent = [_name(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_nothing_sets_jax_configuration() -> None:
    """Neither `jax.config.update` nor an assignment to an attribute of `jax.config`."""
    offenders = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and ast.unparse(node.func) in {"jax.config.update", "config.update"}
            assigned = isinstance(node, ast.Assign) and any(
                ast.unparse(target).startswith("jax.config.") for target in node.targets
            )
            if called or assigned:
                offenders.append(f"{_name(path)}:{node.lineno}")  # type: ignore[attr-defined]
    assert offenders == []


DOORS = {"so3krates.reference.xtb"}
"""Modules that subclass something of an optional package; named by import path and loaded only when asked for."""


def _modules() -> list[str]:
    names = ["so3krates." + _name(path).removesuffix(".py").replace("/", ".") for path in FILES]
    return sorted({name.removesuffix(".__init__") for name in names if not name.endswith("__main__")} - DOORS)


def test_importing_every_module_changes_no_global_setting() -> None:
    code = f"""
import importlib, jax, numpy, warnings
before = dict(jax.config.values), numpy.get_printoptions(), numpy.geterr()
for name in {_modules()!r}:
    importlib.import_module(name)
after = dict(jax.config.values), numpy.get_printoptions(), numpy.geterr()
changed = [key for key in before[0] if before[0][key] != after[0].get(key)]  # loading JAX's parts adds keys
assert not changed, changed
assert before[1:] == after[1:]
import sys
heavy = {{"pyscf", "tblite", "wandb", "tensorboardX", "chemiscope", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_numerical_library() -> None:
    code = "import sys, so3krates; print(sorted({'jax', 'numpy', 'ase', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", dir(so3krates))
def test_every_name_of_the_contents_page_exists(name: str) -> None:
    assert getattr(so3krates, name) is not None


def test_contents_page_and_type_checker_agree() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {alias.asname: n.module for n in checked.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen == dict(so3krates._HOME)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        so3krates.no_such_name  # type: ignore[attr-defined]  # noqa: B018
