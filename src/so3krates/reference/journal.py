"""Journal: an append-only file of JSON lines that survives a kill at any moment.

The first line is a header that identifies the task; every further line is one finished piece of work. A line counts
once its newline is on the disk, so a line torn by a kill is dropped and its piece done again. Floats are written
with the digits that give back the same float64.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from so3krates._errors import FileError

VERSION = 1


class Journal:
    """Records of a task, kept on disk as they come.

    Attributes:
        path: the file.
        records: those already in the file when it was opened.
    """

    def __init__(self, path: Path, task: Mapping[str, Any]) -> None:
        """Open the journal of a task, or begin one.

        Args:
            path: file; folders on the way to it are made.
            task: what identifies the task, anything JSON can hold. A journal continues the same task only.

        Raises:
            FileError: the file holds another task, is damaged before its last line, or cannot be written.
        """
        self.path = path
        header = {"journal": VERSION, **task}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines, complete = _complete_lines(path)
            self.records = _records(path, lines, json.loads(json.dumps(header)))
            self._file = open(path, "ab")
            self._file.truncate(complete)
            if not lines:
                self._write(header)
        except OSError as error:
            raise FileError(f"cannot write the journal {path}: {error.strerror or error}.") from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; when this returns, it is on the disk.

        Raises:
            FileError: the disk is full or the file cannot be written.
        """
        try:
            self._write(record)
        except OSError as error:
            raise FileError(f"cannot write the journal {self.path}: {error.strerror or error}.") from error

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _complete_lines(path: Path) -> tuple[list[bytes], int]:
    content = path.read_bytes() if path.exists() else b""
    complete = content.rfind(b"\n") + 1
    return content[:complete].splitlines(), complete


def _records(path: Path, lines: list[bytes], header: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        parsed = [json.loads(line) for line in lines]
    except ValueError as error:
        raise FileError(f"the journal {path} is damaged ({error}); remove it to start again.") from error
    if not parsed:
        return []
    differing = sorted(key for key in header.keys() | parsed[0].keys() if header.get(key) != parsed[0].get(key))
    if differing:
        shown = ", ".join(f"{key} was {parsed[0].get(key)!r}, now {header.get(key)!r}" for key in differing)
        raise FileError(f"the journal {path} belongs to another task ({shown}); remove it to start again.")
    return parsed[1:]
