"""A file with writes that are only in memory, for h5py."""

import io
import os
from typing import BinaryIO

Writes = list[tuple[int, bytes]]
"""Where, and what."""


class PatchedFile(io.RawIOBase):
    """What the file holds once these writes are applied; further ones stay in memory too.

    Attributes:
        writes: in order.
        size: of the file behind them.
    """

    def __init__(self, file: BinaryIO, writes: Writes, size: int) -> None:
        super().__init__()
        self._file = file
        self.writes = writes
        self.size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        start, count = self._position, max(0, min(len(view), self.size - self._position))
        self._file.seek(start)
        found = self._file.read(count)
        view[:count] = found + bytes(count - len(found))
        for offset, data in self.writes:
            low, high = max(offset, start), min(offset + len(data), start + count)
            if low < high:
                view[low - start : high - start] = data[low - offset : high - offset]
        self._position += count
        return count

    def write(self, data: object) -> int:
        content = bytes(memoryview(data).cast("B"))  # type: ignore[arg-type]
        self.writes.append((self._position, content))
        self._position += len(content)
        self.size = max(self.size, self._position)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size

    def flush(self) -> None:
        """Nothing leaves memory."""
