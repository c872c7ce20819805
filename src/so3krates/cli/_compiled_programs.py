"""Compiled programs kept between commands: JAX's compilation cache, set up by the command line alone.

The library changes no setting of JAX. The command sets environment variables before JAX is imported, and only those
that the user has not set.
"""

import hashlib
import os
import platform
import re
import shutil
import time
import warnings
from pathlib import Path

from so3krates._cache_folder import cache_folder

VARIABLE = "SO3KRATES_COMPILED_PROGRAMS"
"""Names another folder for them; `off`: nothing is kept."""
JAX_FOLDER = "JAX_COMPILATION_CACHE_DIR"
LARGEST_BYTES = 256 * 1024 * 1024
"""Of the programs for one machine; those used least recently make room for others."""
UNUSED_DAYS = 60.0
"""After which programs for a machine, or a build of the kernel, are deleted."""
DAY = 86400.0
NAME = re.compile("machine-[0-9a-f]{16}")
"""Of the folders made here; nothing else is ever deleted."""


def keep_compiled_programs() -> Path | None:
    """Let JAX keep what it compiles from now on, and read what an earlier command has compiled.

    Returns the folder; None if nothing is kept: `SO3KRATES_COMPILED_PROGRAMS` is `off`, the user has set JAX's own
    cache, or the folder cannot be written. To be called before JAX is imported.
    """
    given = os.environ.get(VARIABLE, "")
    if given.lower() == "off" or JAX_FOLDER in os.environ:
        return None
    folder = _writable((Path(given) if given else cache_folder()) / "compiled-programs")
    if folder is None:
        return None
    os.environ[JAX_FOLDER] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(LARGEST_BYTES))
    # Small programs too: there are a hundred of them, and each is read much faster than compiled.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # For every program it reads XLA reports tuning hints as features that the processor lacks. What is wrong is an
    # exception all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A cache that cannot be read or written costs time, nothing else.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    warnings.filterwarnings("ignore", message="Cache value for key .* exceeds the maximum cache size")
    return folder


def _writable(parent: Path) -> Path | None:
    """The folder of this machine, made if need be, with a file in it written as a test."""
    folder = parent / machine()
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        os.utime(folder)
        _delete_unused(parent)
    except OSError:
        return None
    return folder


def _delete_unused(parent: Path) -> None:
    for other in parent.iterdir():
        if not NAME.fullmatch(other.name):
            continue
        if time.time() - other.stat().st_mtime > UNUSED_DAYS * DAY:
            shutil.rmtree(other, ignore_errors=True)


def machine() -> str:
    """A name for all that compiled code depends on and JAX does not look at: the instructions of the processor, and the
    number of cores that work was divided for. The package's own kernel is called by name, and is not in a program."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [platform.system(), platform.machine(), platform.processor(), str(cores), *_instructions()]
    return "machine-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _instructions() -> list[str]:
    """Model and features of the first core, where the system tells them."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return []
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    return [line for line in first.splitlines() if line.split(":")[0].strip() in wanted]
