"""Files that appear whole: written under a passing name beside the target, then renamed."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from so3krates._errors import FileError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Name of a file to write, which takes the place of `target` if all went well, and is removed if not.

    Raises:
        FileError: if the target cannot be written; what was there before is unchanged.
    """
    unfinished = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        yield unfinished
        with open(unfinished, "rb") as handle:
            os.fsync(handle.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise FileError(
            f"'{target}' cannot be written: {error.strerror or error}; what was there before is unchanged."
        ) from error
    finally:
        with suppress(OSError):  # where nothing could be written
            unfinished.unlink(missing_ok=True)
