"""Run tasks in other processes: spawned, one thread each, and a process that dies takes only its own item with it."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

from so3krates._errors import InputError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@runtime_checkable
class Task(Protocol):
    """Work on an item that gives records as they come; sent to the processes by pickling in memory."""

    def __call__(self, item: Any) -> Iterator[dict[str, Any]]: ...

    def lost(self, item: Any, reason: str) -> dict[str, Any]:
        """The record of an item whose process died."""
        ...


def run_tasks(task: Task, items: Sequence[Any], processes: int) -> Iterator[dict[str, Any]]:
    """Give the records of all items, in the order in which they come.

    With one process everything happens in the caller's. Otherwise workers are spawned (forking a process that holds
    threads is unsafe), restricted to one thread each; they end when the caller stops listening or dies.

    Args:
        task: what to do; must not raise for failures that belong to an item.
        items: what to do it with.
        processes: how many items to work on at a time.

    Raises:
        InputError: fewer than one process.
    """
    if processes < 1:
        raise InputError(f"{processes} processes; expected at least 1.")
    if processes == 1 or len(items) <= 1:
        for item in items:
            yield from task(item)
        return
    yield from _in_parallel(task, items, min(processes, len(items)))


def _in_parallel(task: Task, items: Sequence[Any], processes: int) -> Iterator[dict[str, Any]]:
    waiting = deque(items)
    workers: dict[Connection, tuple[BaseProcess, Any]] = {}
    try:
        for _ in range(processes):
            _start(task, waiting.popleft(), workers)
        while workers:
            speaking = wait(list(workers))
            for connection in [one for one in workers if one in speaking]:
                yield from _heard(task, connection, waiting, workers)
    finally:
        for connection, (process, _) in workers.items():
            connection.close()
            process.terminate()
            process.join()


def _heard(
    task: Task,
    connection: Connection,
    waiting: deque[Any],
    workers: dict[Connection, tuple[BaseProcess, Any]],
) -> Iterator[dict[str, Any]]:
    """Take one message of a worker; None means that its item is done."""
    process, item = workers[connection]
    try:
        record = connection.recv()
    except (EOFError, OSError):
        del workers[connection]
        process.join()
        connection.close()
        if waiting:
            _start(task, waiting.popleft(), workers)
        yield task.lost(item, f"the process died with exit status {process.exitcode}")
        return
    if record is not None:
        yield record
    elif waiting:
        workers[connection] = (process, waiting.popleft())
        with suppress(OSError):  # a worker that died in between is noticed at the next message
            connection.send(workers[connection][1])
    else:
        del workers[connection]
        connection.close()
        process.join()


def _start(task: Task, item: Any, workers: dict[Connection, tuple[BaseProcess, Any]]) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(task, there), daemon=True)
    with _environment({name: "1" for name in THREAD_VARIABLES}):
        process.start()
    there.close()
    workers[here] = (process, item)
    with suppress(OSError):
        here.send(item)


def _work(task: Task, connection: Connection) -> None:
    """A worker's life: items in, records out, None after each item, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the caller's to handle
    with suppress(EOFError, OSError):
        while True:
            for record in task(connection.recv()):
                connection.send(record)
            connection.send(None)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes started meanwhile; libraries read their thread counts when they are loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
