"""Writing files so that a reader finds the old content or the new one, never half of it."""

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from so3krates._errors import FileError

_RANDOM_BYTES = 4
_UNFINISHED = re.compile(rf"\.(.+)\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.tmp")


def write_atomically(path: Path, data: bytes, verify: Callable[[Path], None] | None = None) -> None:
    """Write to a temporary file beside `path`, sync it to disk, then let it take the place of `path`.

    Args:
        path: the file to write; an older one is replaced.
        data: its content.
        verify: called with the temporary file before it takes the place; if it raises, `path` is left as it was.

    Raises:
        FileError: if the disk is full, the folder is missing or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}.tmp")
    try:
        try:
            _write_synced(temporary, data)
        except OSError as error:
            raise _cannot_write(path, error) from error
        if verify is not None:
            verify(temporary)
        try:
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except OSError as error:
            raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Delete what a process that was killed while it wrote these files left beside them.

    Nobody else may be writing them: a temporary file does not tell whether its writer lives.
    """
    wanted = set(paths)
    for folder in {path.parent for path in wanted}:
        for found in folder.iterdir():
            name = _UNFINISHED.fullmatch(found.name)
            if name is not None and folder / name[1] in wanted:
                found.unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power failure, where the system lets folders be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> FileError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            reason = "the disk is full; free some space and run again"
        case errno.ENOENT:
            reason = f"folder '{path.parent}' does not exist"
        case _:
            reason = error.strerror or str(error)
    return FileError(f"'{path}' cannot be written: {reason}; what was there before is unchanged.")
