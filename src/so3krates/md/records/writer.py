"""The thread that writes chunks, in order, while the next one is computed."""

from collections.abc import Callable
from queue import Queue
from threading import Thread
from time import perf_counter
from types import TracebackType
from typing import Generic, Self, TypeVar

from so3krates._errors import FileError

T = TypeVar("T")

WAITING = 1
"""Chunks that may wait while one is written: their frames stay in the memory of the device so long."""


class Writer(Generic[T]):
    """Calls `commit` for what is `put`, one after the other, in a thread of its own.

    After an error nothing more is committed, since what follows depends on what is missing. Leaving the block waits
    until everything is committed.
    """

    def __init__(self, commit: Callable[[T], None]) -> None:
        self._commit = commit
        self._queue: Queue[T | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="so3krates-writer", daemon=True)
        self.slowest_s = 0.0
        """Of all commits so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Hand something over; waits while the queue is full.

        Raises:
            FileError: if something that was put before could not be written.
        """
        self._raise()
        self._queue.put(item)

    def wait(self) -> None:
        """Until everything that was put is committed.

        Raises:
            FileError: if something could not be written.
        """
        self._queue.join()
        self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the thread; its error is raised unless another one is on its way.

        Raises:
            FileError: if something could not be written.
        """
        del error, trace
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def _raise(self) -> None:
        match self._error:
            case None:
                return
            case OSError() as error:
                where = f"'{error.filename}'" if error.filename else "the trajectory"
                raise FileError(f"{where} cannot be written: {error.strerror or error}.") from error
            case error:
                raise error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:
                began = perf_counter()
                try:
                    self._commit(item)
                except BaseException as error:  # raised again in the thread of the run
                    self._error = error
                self.slowest_s = max(self.slowest_s, perf_counter() - began)
            self._queue.task_done()
