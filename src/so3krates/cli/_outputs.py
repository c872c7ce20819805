"""What every command asks of a file before it writes it: not one of its inputs, and a name that fits."""

from collections.abc import Iterable
from pathlib import Path

from so3krates._errors import FileError, InputError


def check_output(output: Path, what: str, suffixes: tuple[str, ...], inputs: Iterable[Path | str | None]) -> None:
    """Refuse an output that would destroy an input, or whose name says that it is something else.

    Args:
        output: the file to write.
        what: will be in it, such as "a report".
        suffixes: that such a file may have, with the dot; capitals count as small letters.
        inputs: files that the command reads, or names of data such as FILE@SPLIT; None for those not given.

    Raises:
        InputError: if `output` is one of the inputs, by whatever path or link, or has another suffix.
    """
    for given in inputs:
        if given is not None and _same_file(output, _file(given)):
            raise InputError(f"the output '{output}' is the same file as the input '{given}'; name another output.")
    if output.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {what} to '{output}'; give a file that ends in {' or '.join(suffixes)}.")


def check_companions(output: Path, files: Iterable[Path], inputs: Iterable[Path | str | None]) -> None:
    """Refuse an output whose files, which it replaces or deletes, include an input.

    Args:
        output: as the user named it.
        files: that belong to it.
        inputs: as `check_output` takes them.

    Raises:
        InputError: if one of the files is one of the inputs.
    """
    given = [_file(each) for each in inputs if each is not None]
    for file in files:
        for each in given:
            if _same_file(file, each):
                raise InputError(
                    f"'{file}', which belongs to the output '{output}' and would be replaced or deleted, is the input "
                    f"'{each}'; name another output."
                )


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Refuse to replace a file unless that was asked for.

    Raises:
        FileError: if the file exists and `overwrite` is false.
    """
    if output.exists() and not overwrite:
        raise FileError(f"'{output}' exists; replace it with --overwrite, or name another file.")


def _file(name: Path | str) -> Path:
    """The file of FILE@NAME or FILE@START:STOP."""
    from so3krates.data.readers import split_path

    return split_path(name)[0]


def _same_file(one: Path, other: Path) -> bool:
    """By resolved paths; hard links and file systems that ignore capitals are seen where both exist."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
