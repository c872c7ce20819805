"""Ctrl-C and the termination signal: finish the chunk, write the checkpoint, then stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether somebody asked to stop."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.requested = False
        self.terminated = False
        """The first signal was the termination signal, as batch systems send it, not Ctrl-C."""
        self.at_once = at_once
        """Whether a signal interrupts what runs now. It is noted all the same: an exception that is raised inside a
        destructor or a callback of the garbage collector is lost."""


@contextmanager
def deferred_interrupts(*, at_once: bool = False) -> Iterator[Interrupts]:
    """Within the block the first signal only sets `requested`, unless it shall interrupt at once.

    A second Ctrl-C interrupts at once. A second termination signal changes nothing: batch systems send it more than
    once, to a process and to the group it is in, and what ends at the first one has to end in the same way. A process
    that takes too long is killed, and has its last checkpoint.

    A signal that is ignored (Ctrl-C behind `nohup` or in the background of a script) stays so, and one whose handler
    was not set from Python is left to that, since it could not be put back. Handlers can be set from the main thread
    alone; elsewhere the block changes nothing.
    """
    interrupts = Interrupts(at_once=at_once)
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        again, interrupts.requested = interrupts.requested, True
        if not again:
            interrupts.terminated = number == signal.SIGTERM
        if (again and number == signal.SIGINT) or (not again and interrupts.at_once):
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler not in (None, signal.SIG_IGN)]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield interrupts
    finally:
        for number in ours:
            signal.signal(number, before[number])
