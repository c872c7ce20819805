"""Old model files: one function per format version that turns its content into that of the next one."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from so3krates._errors import FileError
from so3krates.io.container import Contents

FORMAT_VERSION = 1
"""Version that `save` writes. A change of the header or of parameter names raises it and adds an upgrade function."""

Upgrade = Callable[[Contents], Contents]

UPGRADES: Mapping[int, Upgrade] = MappingProxyType({})
"""Version n -> function from content of version n to content of version n + 1."""


def upgraded(
    contents: Contents, source: str, upgrades: Mapping[int, Upgrade] = UPGRADES, target: int = FORMAT_VERSION
) -> Contents:
    """Content in the current format.

    Raises:
        FileError: for a file without a version, or of a version that is newer than this package or unknown.
    """
    version = contents.header.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise FileError(f"'{source}' has the format version {version!r}; expected a whole number up to {target}.")
    if version > target:
        writer = contents.header.get("package_version", "a newer version")
        raise FileError(
            f"'{source}' has format version {version} (so3krates {writer}), and this package reads up to {target}; "
            "upgrade so3krates."
        )
    while version < target:
        if version not in upgrades:
            raise FileError(f"'{source}' has format version {version}, for which there is no upgrade to {target}.")
        contents = upgrades[version](contents)
        version += 1
        contents = contents._replace(header={**contents.header, "format_version": version})
    return contents
