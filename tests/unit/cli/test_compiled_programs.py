"""Compiled programs that the command line keeps: found again, switched off, in a folder that cannot be written."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from so3krates.cli import _compiled_programs as programs

PROGRAM = """
import sys
from so3krates.cli._compiled_programs import keep_compiled_programs
kept = keep_compiled_programs()
assert "jax" not in sys.modules
import jax, jax.monitoring
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
jax.jit(lambda x: x @ x + 1.0)(jax.numpy.ones((3, 3)))
hits, misses = (found.count(f"/jax/compilation_cache/cache_{kind}") for kind in ("hits", "misses"))
print(kept is not None, hits, misses)
"""


def run(program: str = PROGRAM, **variables: str) -> list[str]:
    """What a new process prints; nothing may appear on stderr."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "SO3KRATES_", "TF_CPP"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=inherited | {"JAX_PLATFORMS": "cpu"} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    kept, hits, misses = run(SO3KRATES_CACHE=str(tmp_path))
    assert kept == "True" and int(hits) == 0 and int(misses) > 0
    assert (tmp_path / "compiled-programs" / programs.machine()).is_dir()
    assert run(SO3KRATES_CACHE=str(tmp_path)) == ["True", misses, "0"]


@pytest.mark.parametrize("off", ["off", "OFF"])
def test_switched_off_nothing_is_kept(off: str, tmp_path: Path) -> None:
    assert run(SO3KRATES_CACHE=str(tmp_path), SO3KRATES_COMPILED_PROGRAMS=off) == ["False", "0", "0"]
    assert list(tmp_path.iterdir()) == []


def test_another_folder(tmp_path: Path) -> None:
    run(SO3KRATES_COMPILED_PROGRAMS=str(tmp_path / "here"))
    assert list((tmp_path / "here" / "compiled-programs" / programs.machine()).glob("*-cache"))


def test_a_cache_of_jax_that_the_user_has_set_stays(tmp_path: Path) -> None:
    assert run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "jax"))[0] == "False"


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert run(SO3KRATES_COMPILED_PROGRAMS=str(tmp_path / "file")) == ["False", "0", "0"]


def test_a_folder_that_vanishes_meanwhile_is_no_error(tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "import jax, ", "import shutil; shutil.rmtree(kept.parent); kept.parent.touch(); import jax, "
    )
    run(program, SO3KRATES_COMPILED_PROGRAMS=str(tmp_path / "here"))


def test_a_damaged_entry_is_no_error(tmp_path: Path) -> None:
    run(SO3KRATES_CACHE=str(tmp_path))
    for entry in tmp_path.rglob("*-cache"):
        entry.write_bytes(b"damaged")
    run(SO3KRATES_CACHE=str(tmp_path))


def test_programs_of_machines_not_seen_for_long_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    old, recent = tmp_path / f"machine-{'0' * 16}", tmp_path / f"machine-{'f' * 16}"
    others = [tmp_path / "something", tmp_path / "machine-learning", tmp_path / f"machine-{'0' * 16}-backup"]
    for folder in (old, recent, *others):
        folder.mkdir()
    for folder in (old, *others):
        os.utime(folder, (time.time() - 100 * programs.DAY,) * 2)
    programs._delete_unused(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([recent, *others])


def test_the_name_of_the_machine_follows_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = programs.machine()
    assert before == programs.machine()
    monkeypatch.setattr(programs, "_instructions", lambda: ["flags: other"])
    assert programs.machine() != before


def test_importing_the_library_keeps_nothing(tmp_path: Path) -> None:
    program = "import so3krates, jax; print(jax.config.jax_compilation_cache_dir)"
    assert run(program, SO3KRATES_CACHE=str(tmp_path)) == ["None"]
