"""Locks between readers and the writer of a growing file, which nobody waits for without end.

The lock is `flock` on the file itself: it needs no file beside it, works in folders that may only be read, and keeps
other programs from opening the file in the middle of a commit. HDF5 holds the same lock, shared, for as long as a
program has the file open, and a reader of ours may be suspended. A run that waited for them would not hear its wall
time or SIGTERM any more, so everybody waits for `PATIENCE` and then goes on without the lock.
"""

from time import monotonic, sleep
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

PATIENCE = 1.0
"""Seconds; half of what a chunk of dynamics takes, so that a run does not slow down."""
_PAUSE = 0.002


def hold(handle: BinaryIO, *, exclusively: bool) -> bool:
    """Take the lock until the handle is closed, or hold it in another way.

    Args:
        handle: of the file; open for writing where the lock is to be exclusive, which NFS asks for.
        exclusively: keep all others out, and not only those who would write.

    Returns:
        Whether it is held; False if others kept it for too long, and on file systems that know no locks.
    """
    if fcntl is None:
        return False
    how = (fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH) | fcntl.LOCK_NB
    until = monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            if monotonic() > until:
                return False
            sleep(_PAUSE)
        except OSError:
            return False
        else:
            return True


def let_go(handle: BinaryIO) -> None:
    """Give the lock back before the handle is closed."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_UN)
        except OSError:  # file systems that know no locks
            return
