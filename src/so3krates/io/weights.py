"""Published weights: where they are, how to know them, and their conversion into a cached model file."""

import hashlib
import shlex
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.error import HTTPError, URLError

from so3krates._cache_folder import CACHE_VARIABLE as CACHE_VARIABLE
from so3krates._cache_folder import cache_folder
from so3krates._errors import FileError, InputError
from so3krates.io.foreign_convert import Conversion, Files, convert_mlff
from so3krates.io.model_file import inspect

TIMEOUT_SECONDS = 60.0


class RemoteFile(NamedTuple):
    """A file, and what it must be."""

    address: str
    size: int
    """Bytes."""
    sha256: str


class Published(NamedTuple):
    """A published model."""

    title: str
    parameters: RemoteFile
    hyperparameters: RemoteFile
    elements: tuple[int, ...]
    """Atomic numbers it was trained on."""
    licence: str
    citation: str


_SO3LR = "https://raw.githubusercontent.com/general-molecular-simulations/so3lr/main/so3lr/params"

REGISTRY: Mapping[str, Published] = MappingProxyType(
    {
        "so3lr": Published(
            "SO3LR, a pretrained force field for (bio)molecules",
            RemoteFile(
                f"{_SO3LR}/params.pkl",
                2_128_714,
                "1c481bd2d9280f8b7b131ec65e92d25ff73deda76956bc137754c2acb98d93fd",
            ),
            RemoteFile(
                f"{_SO3LR}/hyperparameters.json",
                5_287,
                "02a95f777f394dc9ae43529b3ac5e7e0e2e89f60c1fa9e6697926d31308853a9",
            ),
            (1, 6, 7, 8, 9, 15, 16, 17),
            "MIT",
            "Kabylda et al., J. Am. Chem. Soc. 147, 33723 (2025), doi 10.1021/jacs.5c09558",
        )
    }
)


def published(name: str) -> Published:
    """
    Raises:
        InputError: for a name that is not registered.
    """
    if name not in REGISTRY:
        raise InputError(f"there are no published weights named '{name}'; known are {', '.join(REGISTRY)}.")
    return REGISTRY[name]


def cached(name: str) -> Path:
    """Where the model file of published weights is, or will be."""
    return cache_folder() / f"{name}.safetensors"


def name_of(source: str | Path) -> str | None:
    """The published weights that are meant, by their name in whatever case; None for a file, which comes first, and for
    any other path. A folder does not come first."""
    name = str(source).lower()
    return name if name in REGISTRY and not Path(source).is_file() else None


def resolved(source: str | Path) -> Path:
    """The model file of a name of published weights, fetched if need be, which is said on stderr; any other path as it
    is.

    Raises:
        FileError: for what looks like a name and is neither registered nor a file, and as `pull`.
    """
    path, name = Path(source), name_of(source)
    if name is not None:
        return pull(name, tell=lambda sentence: print(sentence, file=sys.stderr))
    if path.parent == Path(".") and not path.suffix and not path.exists():
        raise FileError(
            f"there is neither a model file '{source}' nor published weights of that name; known are "
            f"{', '.join(REGISTRY)}."
        )
    return path


def pull(name: str, *, overwrite: bool = False, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Download published weights, check and convert them, and keep the model file in the cache folder.

    Whatever happens on the way, the cache holds the complete file or none.

    Args:
        name: of the weights.
        overwrite: fetch again although the model file is there.
        tell: receives sentences for the user.

    Raises:
        InputError: for a name that is not registered.
        FileError: without a network (the message says how to convert a local copy), for files that are not those that
            were published, if the cache cannot be written, or holds a model file that is damaged.
    """
    entry, target = published(name), cached(name)
    if target.exists() and not overwrite:
        _refuse_damaged(target, name)
        return target
    _make_cache()
    with tempfile.TemporaryDirectory(prefix="so3krates-pull-") as folder:
        files = Files(Path(folder) / "params.pkl", Path(folder) / "hyperparameters.json")
        for file, remote in zip(files, (entry.parameters, entry.hyperparameters), strict=True):
            tell(f"fetching {remote.address}")
            file.write_bytes(_fetched(remote, name))
        convert_published(name, files, target)
    tell(f"{entry.title}; licence {entry.licence}; please cite {entry.citation}")
    return target


def convert_published(
    name: str,
    files: Files,
    output: Path,
    *,
    reference: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Conversion:
    """Convert a copy of published weights, with the elements they were trained on, their licence and citation.

    Files that are not those published are converted too; the provenance says that they are not, and so does `tell`. The
    cache folder is made if the model file goes there.

    Raises:
        InputError: for a name that is not registered.
        ConfigError, FileError: as `convert_mlff`.
    """
    entry = published(name)
    about = {"title": entry.title, "licence": entry.licence, "citation": entry.citation}
    altered = [
        file.name
        for file, remote in zip(files, (entry.parameters, entry.hyperparameters), strict=True)
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != remote.sha256
    ]
    if altered:
        about["title"] = f"not the published {name}: made with another {' and another '.join(altered)}"
        about["derived_from"] = entry.title
        tell(
            f"not what was published as {name}, by their SHA-256: {', '.join(altered)} in '{files.parameters.parent}'; "
            "the result is not the published model, and its provenance says so"
        )
    if output.parent == cache_folder():
        _make_cache()
    return convert_mlff(files, output, reference=reference, numbers=entry.elements, about=about)


def _make_cache() -> None:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cache folder '{folder}' cannot be made: {error.strerror}; set {CACHE_VARIABLE}.") from error


def _refuse_damaged(path: Path, name: str) -> None:
    """What is called ready has been read, checksum and all."""
    try:
        inspect(path)
    except FileError as error:
        raise FileError(f"{error} `so3krates pull {name} --overwrite` fetches it again.") from error


def _fetched(remote: RemoteFile, name: str) -> bytes:
    try:
        with urllib.request.urlopen(remote.address, timeout=TIMEOUT_SECONDS) as response:
            # One byte more than expected shows that there is more, and an endless answer cannot fill the memory.
            content = response.read(remote.size + 1)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, HTTPError):
            reason = f"{error.code} {reason}"
            error.close()
        target = cached(name)
        again = " --overwrite" if target.exists() else ""
        raise FileError(
            f"'{remote.address}' cannot be fetched ({reason}); with a copy of params.pkl and hyperparameters.json in a "
            f"folder DIR, `so3krates convert {name} DIR -o {shlex.quote(str(target))}{again}` puts the model where it "
            "is looked for."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if len(content) != remote.size or found != remote.sha256:
        more = "at least " if len(content) > remote.size else ""
        raise FileError(
            f"'{remote.address}' is not the file that was published: {more}{len(content)} bytes with SHA-256 {found}; "
            f"expected {remote.size} bytes with {remote.sha256}."
        )
    return content
