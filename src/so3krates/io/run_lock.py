"""One run, one writer: two processes that write the same trajectory would mix their frames."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from so3krates._errors import FileError

try:
    import fcntl
except ImportError:  # Windows has none; there, nobody notices
    fcntl = None  # type: ignore[assignment]


def lock_path(path: Path) -> Path:
    """run.h5 → run.h5.lock."""
    return path.with_name(f"{path.name}.lock")


class RunLock:
    """Held from its creation to `release`, or to the end of the process, however that ends.

    Raises:
        FileError: if another process holds it, or the lock cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = lock_path(path)
        self._file: BinaryIO | None = None
        try:
            while self._file is None:
                self._file = self._taken(path)
        except OSError as error:
            if not path.parent.is_dir():
                raise FileError(f"'{path}' cannot be written: folder '{path.parent}' does not exist.") from error
            more = "; so many replicas need a higher limit (ulimit -n)" if error.errno == errno.EMFILE else ""
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                more = "; choose a folder in which files may be made"
            raise FileError(
                f"'{path}' cannot be written, nor its lock '{self._path.name}': {error.strerror or error}{more}."
            ) from error

    def _taken(self, path: Path) -> BinaryIO | None:
        """The file, locked; None if its last owner deleted it in between."""
        file = open(self._path, "ab")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise FileError(
                f"another process is writing '{path}'; wait until it has ended, or choose another name."
            ) from error
        except OSError:  # file systems that know no locks
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                return file
        file.close()
        return None

    def release(self) -> None:
        """Let others write; nothing is left behind."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
