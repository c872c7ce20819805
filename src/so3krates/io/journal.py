"""A file changed in place, all or nothing: every write of a session goes to a journal first.

HDF5 updates its index in place, so a process that dies in the middle of a flush can leave a file that nobody opens.
Here the library writes to memory; on commit the changes go to `NAME.journal` (checksummed, fsynced, renamed into
place), then into the file, then the journal is deleted. A journal that is found later is applied again, which is
harmless; one that is incomplete has no name yet and is ignored.

A writer holds the file exclusively and readers hold it together (`file_lock`), so nobody meets half a commit. Where a
lock cannot be had, since another program keeps the file open or the file system knows none, the writer goes on and a
reader looks after itself: it reads what the journal holds over what the file holds, which is the whole commit however
much of it has arrived, and says so if the file changed while it was read. Only who holds the file alone may apply a
journal that is not its own: without the lock its writer may be alive.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from so3krates._errors import FileError
from so3krates.io.atomic import write_atomically
from so3krates.io.file_lock import hold, let_go
from so3krates.io.patched import PatchedFile, Writes

MAGIC = b"S3KJRNL1"
_ENTRY = struct.Struct("<QQ")
_HEAD = struct.Struct("<8sQI")


class Commit(NamedTuple):
    """What a journal holds."""

    writes: Writes
    size: int
    """Of the file behind them."""


@contextmanager
def changing(path: Path) -> Iterator[PatchedFile]:
    """A file object for h5py whose writes stay in memory until the block is left; after an exception nothing changed.

    Raises:
        FileError: if the disk is full or the file cannot be written; either nothing has changed, or the journal is
            complete and the next opening finishes the work.
    """
    try:
        file = open(path, "rb+")
    except OSError as error:
        raise FileError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    with file:
        hold(file, exclusively=True)
        # There is one writer (`run_lock`), so a journal is that of a dead one, with the lock or without.
        recover(path)
        changed = PatchedFile(file, [], os.fstat(file.fileno()).st_size)
        yield changed
        write_atomically(journal_path(path), _packed(changed.writes, changed.size))
        _apply(path, changed.writes, changed.size)


@contextmanager
def reading(path: Path) -> Iterator[Path | PatchedFile]:
    """What to read from: the file, or the file and the rest of a commit that cannot be finished now.

    The commit of a writer that died is finished first if the file may be written and nobody else has it open.

    Raises:
        FileError: if a journal is damaged, or a writer that could wait no longer changed the file meanwhile.
    """
    with open(path, "rb") as handle:
        hold(handle, exclusively=False)
        if journal_path(path).exists():
            let_go(handle)
            _recover_alone(path)
            hold(handle, exclusively=False)
        before, left = _stamp(handle), _left(path)
        try:
            yield path if left is None else PatchedFile(handle, *left)
        except Exception as error:
            if _stamp(handle) == before:
                raise
            raise _changed(path) from error
        if _stamp(handle) != before:
            raise _changed(path)


def recover(path: Path) -> None:
    """Finish a commit that was interrupted; without a journal, do nothing.

    Raises:
        FileError: if the journal is damaged.
    """
    left = _left(path)
    if left is not None:
        _apply(path, *left)


def before_replacing(path: Path) -> None:
    """Leave no journal that would be applied to another file of this name.

    The work is finished and not thrown away: the new file may find no room, and then the old one must be whole.

    Raises:
        FileError: if it cannot be finished for lack of room.
    """
    try:
        left = _left(path)
    except FileError:  # damaged, so of no use to anybody
        left = None
    if left is not None and path.exists():
        _apply(path, *left)
    journal_path(path).unlink(missing_ok=True)


def _recover_alone(path: Path) -> None:
    try:
        handle = open(path, "rb+")
    except OSError:  # may only be read
        return
    with handle:
        if hold(handle, exclusively=True):
            recover(path)


def _stamp(handle: BinaryIO) -> tuple[int, int]:
    found = os.fstat(handle.fileno())
    return found.st_mtime_ns, found.st_size


def _changed(path: Path) -> FileError:
    return FileError(f"{path} was written to while it was read; read it again, or fewer frames at once.")


def journal_path(path: Path) -> Path:
    """run.h5 → run.h5.journal."""
    return path.with_name(path.name + ".journal")


def _left(path: Path) -> Commit | None:
    """A commit that is not finished, or not yet."""
    journal = journal_path(path)
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return None
    head = content[: _HEAD.size]
    if len(head) < _HEAD.size or head[:8] != MAGIC or zlib.crc32(content[_HEAD.size :]) != _HEAD.unpack(head)[2]:
        raise FileError(f"{journal} is damaged; delete it together with {path} and run again.")
    return Commit(_unpacked(content[_HEAD.size :]), _HEAD.unpack(head)[1])


def _packed(writes: Writes, size: int) -> bytes:
    body = b"".join(_ENTRY.pack(offset, len(data)) + data for offset, data in writes)
    return _HEAD.pack(MAGIC, size, zlib.crc32(body)) + body


def _unpacked(body: bytes) -> Writes:
    writes, position = [], 0
    while position < len(body):
        offset, length = _ENTRY.unpack_from(body, position)
        position += _ENTRY.size
        writes.append((offset, body[position : position + length]))
        position += length
    return writes


def _apply(path: Path, writes: Writes, size: int) -> None:
    try:
        with open(path, "rb+") as handle:
            for offset, data in writes:
                handle.seek(offset)
                handle.write(data)
            handle.truncate(size)
            handle.flush()
            os.fsync(handle.fileno())
        # Gone already where somebody else finished the same work.
        journal_path(path).unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            f"'{path}' cannot be written: {error.strerror or error}; its journal is complete, so the next opening "
            "finishes the work once there is room."
        ) from error
