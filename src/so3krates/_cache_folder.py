"""The folder for what can be made or downloaded again."""

import os
from pathlib import Path

CACHE_VARIABLE = "SO3KRATES_CACHE"


def cache_folder() -> Path:
    """`SO3KRATES_CACHE`, or `so3krates` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "so3krates"
