"""The command-line application: its verbs, and how errors become one sentence and an exit status."""

import errno
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal, get_args, get_origin

from cyclopts import App, CoercionError, CycloptsError, Parameter, Token, UnknownCommandError, UnknownOptionError

from so3krates._errors import SimulationStopped, SimulationUnfinished, So3kratesError
from so3krates._version import __version__
from so3krates.cli._compiled_programs import keep_compiled_programs

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_STOPPED = 3
EXIT_UNFINISHED = 4
EXIT_INTERRUPTED = 130

VERBS = MappingProxyType(
    {
        "demo": "Train on the packaged ethanol data, run dynamics, write report.html and model.safetensors.",
        "check": "Examine a data set: labels, units, force-energy consistency, duplicates, leaks, outliers.",
        "config": "Print a configuration of training or dynamics, validate one, or print its JSON schema.",
        "train": "Train a force field on energies and forces.",
        "evaluate": "Compare a model with labelled data: table, metrics.json, parity plots.",
        "info": "Describe a model file, or with --system this installation.",
        "convert": "Convert foreign parameters to a model file, or a trajectory to another format.",
        "pull": "Download published weights such as so3lr.",
        "md": "Run molecular dynamics with a model.",
        "label": "Compute energies and forces of structures with a reference method.",
        "sample": "Draw structures from dynamics with a reference method.",
        "report": "Write a self-contained HTML page about runs.",
    }
)
"""Verb -> its line in the help. Verb `x` is the function (or sub-application) `x` in `so3krates.cli.x`."""


ELSEWHERE = MappingProxyType({"--restart": "--resume", "--continue": "--resume"})
"""What options of other programs are called here."""


def _spelling(name: str) -> str:
    """Option names keep their capitals, since those are units: temperature_K -> temperature-K."""
    return name.strip("_").replace("_", "-")


def build_app() -> App:
    """The application; verbs are named by import path, so that help starts without the numerical libraries."""
    app = App(
        name="so3krates",
        help="SO3krates force fields: from ab-initio data to long, stable molecular dynamics.",
        version=__version__,
        name_transform=_spelling,
        default_parameter=Parameter(name_transform=_spelling),
        suppress_keyboard_interrupt=False,
    )
    for verb, line in VERBS.items():
        app.command(f"so3krates.cli.{verb}:{verb}", name=verb, help=line)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0 success; 1 an error, told in one sentence on stderr; 2 a wrong command line; 3 a simulation ended by its monitor;
    4 one that ended at its wall time or at SIGTERM and goes on with --resume; 130 interrupted by Ctrl-C. With
    SO3KRATES_DEBUG=1 in the environment tracebacks come through.
    """
    if arguments is None:  # the command itself, not a call from a program that has settings of its own
        keep_compiled_programs()
    try:
        build_app()(
            None if arguments is None else list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except BaseException as error:
        if os.environ.get("SO3KRATES_DEBUG") == "1":
            raise
        outcome = describe(error)
        if outcome is None:
            raise
        status, sentence = outcome
        sys.stdout.flush()
        print(sentence, file=sys.stderr)
        return status
    return 0


def describe(error: BaseException) -> tuple[int, str] | None:
    """Exit status and sentence for an exception; None for one that is a bug and deserves its traceback."""
    match error:
        case UnknownCommandError(unused_tokens=[verb, *_], command_chain=None | ()):
            return EXIT_USAGE, f"error: '{verb}' is not a verb of so3krates; the verbs are {', '.join(VERBS)}."
        case CycloptsError():
            verb = " ".join(("so3krates", *(error.command_chain or ())))
            return EXIT_USAGE, f"error: {_usage_sentence(error, verb)} Try '{verb} --help'."
        case SimulationStopped():
            return EXIT_STOPPED, f"stopped: {_one_line(error)}"
        case SimulationUnfinished():
            return EXIT_UNFINISHED, f"unfinished: {_one_line(error)}"
        case So3kratesError():
            return EXIT_ERROR, f"error: {_one_line(error)}"
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED, f"interrupted: {_one_line(error) or 'what was written so far is kept.'}"
        case OSError():
            return EXIT_ERROR, f"error: {_file_sentence(error)}"
    return None


def _usage_sentence(error: CycloptsError, verb: str) -> str:
    match error:
        case UnknownOptionError(token=token):
            option = token.keyword or token.value
            known = [name for argument in error.argument_collection for name in argument.names if argument.parse]
            meant = _meant(option, known)
            return f"{verb} has no option {option}{'.' if meant is None else f'; did you mean {meant}?'}"
        case CoercionError(msg=None, token=Token(keyword=str(option), value=value), target_type=kind) if (
            get_origin(kind) is Literal
        ):
            # All of them rather than the most similar: nvt resembles nve and means another ensemble.
            return f"{option} is '{value}'; it must be one of {', '.join(map(str, get_args(kind)))}."
    return _one_line(error)


def _meant(option: str, known: Sequence[str]) -> str | None:
    """The option that an unknown one stands for; none rather than one that only looks a little like it."""
    if ELSEWHERE.get(option) in known:
        return ELSEWHERE[option]
    near = get_close_matches(option, [name for name in known if name[:3] == option[:3]], n=1, cutoff=0.7)
    return near[0] if near else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _file_sentence(error: OSError) -> str:
    where = f"'{error.filename}': " if error.filename else ""
    # HDF5 reports a full disk inside its message, not always as errno.
    if error.errno == errno.ENOSPC or "No space left on device" in str(error):
        return f"{where}the disk is full; free some space and run again (what was committed before is kept)."
    if error.errno is None or error.strerror is None:
        return _one_line(error)
    return f"{where}{error.strerror}."
