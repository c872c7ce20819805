"""Ctrl-C and the termination signal: finish the chunk, write the checkpoint, then stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether somebody asked to stop."""

    requested: bool = False


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Within the block the first signal only sets `requested`; a second one interrupts at once.

    Handlers can be set from the main thread alone; elsewhere the block changes nothing.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if interrupts.requested:
            raise KeyboardInterrupt
        interrupts.requested = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
