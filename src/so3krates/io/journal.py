"""A file changed in place, all or nothing: every write of a session goes to a journal first.

HDF5 updates its index in place, so a process that dies in the middle of a flush can leave a file that nobody opens.
Here the library writes to memory; on commit the changes go to `NAME.journal` (checksummed, fsynced, renamed into
place), then into the file, then the journal is deleted. A journal that is found later is applied again, which is
harmless; one that is incomplete has no name yet and is ignored.

Writers hold the file exclusively and readers hold it together (`flock`): nobody reads half a commit, and a journal that
a reader finds is that of a dead writer.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from so3krates._errors import FileError
from so3krates.io.atomic import write_atomically

try:
    import fcntl
except ImportError:  # Windows has none; there, readers and writers must not meet
    fcntl = None  # type: ignore[assignment]

MAGIC = b"S3KJRNL1"
_ENTRY = struct.Struct("<QQ")
_HEAD = struct.Struct("<8sQI")


class JournaledFile(io.RawIOBase):
    """A file object for h5py whose writes stay in memory until `commit`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = open(path, "rb")
        _hold(self._file, exclusively=True)
        recover(path)
        self._size = os.fstat(self._file.fileno()).st_size
        self._position = 0
        self._writes: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        start, count = self._position, max(0, min(len(view), self._size - self._position))
        self._file.seek(start)
        found = self._file.read(count)
        view[:count] = found + bytes(count - len(found))
        for offset, data in self._writes:
            low, high = max(offset, start), min(offset + len(data), start + count)
            if low < high:
                view[low - start : high - start] = data[low - offset : high - offset]
        self._position += count
        return count

    def write(self, data: object) -> int:
        content = bytes(memoryview(data).cast("B"))  # type: ignore[arg-type]
        self._writes.append((self._position, content))
        self._position += len(content)
        self._size = max(self._size, self._position)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._position if size is None else size
        return self._size

    def flush(self) -> None:
        """Nothing leaves memory before `commit`."""

    def commit(self) -> None:
        """Make all writes permanent.

        Raises:
            FileError: if the disk is full or the file cannot be written; either nothing has changed, or the journal
                is complete and the next opening finishes the work.
        """
        write_atomically(_journal(self._path), _packed(self._writes, self._size))
        _apply(self._path, self._writes, self._size)
        self._writes = []

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Keep writers out for a moment; first finish the commit of one that died.

    Raises:
        FileError: if a journal is damaged.
    """
    with open(path, "rb") as handle:
        _hold(handle, exclusively=False)
        if _journal(path).exists():
            _hold(handle, exclusively=True)
            recover(path)
            _hold(handle, exclusively=False)
        yield


def _hold(handle: BinaryIO, *, exclusively: bool) -> None:
    """Until the handle is closed; without effect on file systems that know no locks."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH)


def recover(path: Path) -> None:
    """Finish a commit that was interrupted; without a journal, do nothing.

    Raises:
        FileError: if the journal is damaged.
    """
    journal = _journal(path)
    if not journal.exists():
        return
    content = journal.read_bytes()
    head = content[: _HEAD.size]
    if len(head) < _HEAD.size or head[:8] != MAGIC or zlib.crc32(content[_HEAD.size :]) != _HEAD.unpack(head)[2]:
        raise FileError(f"{journal} is damaged; delete it together with {path} and run again.")
    _apply(path, _unpacked(content[_HEAD.size :]), _HEAD.unpack(head)[1])


def _journal(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def _packed(writes: list[tuple[int, bytes]], size: int) -> bytes:
    body = b"".join(_ENTRY.pack(offset, len(data)) + data for offset, data in writes)
    return _HEAD.pack(MAGIC, size, zlib.crc32(body)) + body


def _unpacked(body: bytes) -> list[tuple[int, bytes]]:
    writes, position = [], 0
    while position < len(body):
        offset, length = _ENTRY.unpack_from(body, position)
        position += _ENTRY.size
        writes.append((offset, body[position : position + length]))
        position += length
    return writes


def _apply(path: Path, writes: list[tuple[int, bytes]], size: int) -> None:
    try:
        with open(path, "rb+") as handle:
            for offset, data in writes:
                handle.seek(offset)
                handle.write(data)
            handle.truncate(size)
            handle.flush()
            os.fsync(handle.fileno())
        _journal(path).unlink()
    except OSError as error:
        raise FileError(
            f"'{path}' cannot be written: {error.strerror or error}; its journal is complete, so the next opening "
            "finishes the work once there is room."
        ) from error
