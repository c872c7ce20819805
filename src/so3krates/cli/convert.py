"""`so3krates convert`: parameters of other implementations to a model file, and trajectories to other formats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from so3krates.io.foreign_convert import Conversion, Files

convert = App(name="convert", help="Convert foreign parameters to a model file, or a trajectory to another format.")


@convert.default
def trajectory(
    source: Path,
    target: Path,
    /,
    *,
    every: int = 1,
    start_ps: float | None = None,
    stop_ps: float | None = None,
    wrap: bool = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a trajectory as extended XYZ, DCD or XTC: `so3krates convert run.h5 run.xtc`.

    DCD and XTC need the extra `formats`, and get a PDB file of the first frame beside them.

    Parameters
    ----------
    source
        HDF5 trajectory.
    target
        File to write, ending in .extxyz, .xyz, .dcd or .xtc.
    every
        Frames from one that is written to the next: 10 writes a tenth of them.
    start_ps
        Time of the first frame, ps; from the beginning if not given.
    stop_ps
        Time of the last frame, ps; to the end if not given.
    wrap
        Bring each atom into the cell, which may cut molecules; positions are unwrapped, as they are stored, if not.
    overwrite
        Replace existing files.
    """
    from so3krates.cli._outputs import check_output, refuse_existing
    from so3krates.io.trajectory.convert import SUFFIXES, convert_trajectory, topology_path

    check_output(target, "a trajectory", SUFFIXES, [source])
    topology = topology_path(target)
    for output in (target, topology):
        if output is not None:
            refuse_existing(output, overwrite)
    done = convert_trajectory(source, target, every=every, start_ps=start_ps, stop_ps=stop_ps, wrap=wrap)
    print(f"{target}: {done.frames} {'frame' if done.frames == 1 else 'frames'} written from {source}")
    if target.suffix.lower() == ".xtc":
        print("positions are rounded to 0.01 Å, as XTC has it")
    if done.turned:
        print("frames were turned so that the first cell vector lies along x and the second in the xy plane")
    if topology is not None:
        print(f"{topology}: first frame with bonds; residue MOL, atoms named like their elements")


@convert.command
def so3lr(
    folder: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    reference: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Convert the published SO3LR weights as their authors ship them, check the model against them, and write it.

    Parameters
    ----------
    folder
        Folder with params.pkl and hyperparameters.json.
    output
        Model file to write.
    reference
        npz with positions, numbers, energy and forces that the model must reproduce.
    overwrite
        Replace an existing model file.
    """
    from so3krates.cli._outputs import check_output, refuse_existing
    from so3krates.io.foreign_convert import find_files
    from so3krates.io.weights import convert_published

    files = find_files(folder)
    check_output(output, "a model", (".safetensors",), [*files, reference])
    refuse_existing(output, overwrite)
    _report(convert_published("so3lr", files, output, reference=reference, tell=print), reference, output)


@convert.command
def mlff(
    folder: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    parameters: Path | None = None,
    hyperparameters: Path | None = None,
    reference: Path | None = None,
    elements: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    energy_shifts: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Convert a model of the original implementation, check it against its own parameters, and write it.

    Parameters
    ----------
    folder
        Folder with params.npz or params.pkl, and hyperparameters.json.
    output
        Model file to write, ending in .safetensors.
    parameters
        Parameters under another name (.npz or .pkl).
    hyperparameters
        Hyper-parameters under another name.
    reference
        npz with positions, numbers, energy and forces that the model must reproduce.
    elements
        Symbols of the elements the model was trained on; all that it has parameters for if not given.
    energy_shifts
        Add the energy shifts of the hyper-parameter file as reference energies of the elements.
    overwrite
        Replace an existing model file.
    """
    from so3krates.cli._outputs import check_output, refuse_existing
    from so3krates.io.foreign_convert import convert_mlff

    files = _files(folder, parameters, hyperparameters)
    check_output(output, "a model", (".safetensors",), [*files, reference])
    refuse_existing(output, overwrite)
    done = convert_mlff(files, output, reference=reference, numbers=_numbers(elements), energy_shifts=energy_shifts)
    _report(done, reference, output)


def _report(done: "Conversion", reference: Path | None, output: Path) -> None:
    lines = [("separate evaluation of the original parameters", done.check)]
    if done.reference is not None:
        lines.append((str(reference), done.reference))
    for name, deviation in lines:
        print(f"agrees with {name}: {deviation.energy:.1e} eV, {deviation.forces:.1e} eV/Å")
    if done.unused:
        print(f"left out: {len(done.unused)} arrays without effect on the energy (charges, Hirshfeld ratios)")
    print(f"{output}: written")


def _files(folder: Path | None, parameters: Path | None, hyperparameters: Path | None) -> "Files":
    from so3krates._errors import InputError
    from so3krates.io.foreign_convert import Files, find_files

    if folder is None:
        if parameters is None or hyperparameters is None:
            raise InputError("give a folder, or both --parameters and --hyperparameters.")
        return Files(parameters, hyperparameters)
    if parameters is None:
        found = find_files(folder)
        return found._replace(hyperparameters=hyperparameters or found.hyperparameters)
    return Files(parameters, hyperparameters or folder / "hyperparameters.json")


def _numbers(symbols: list[str] | None) -> tuple[int, ...] | None:
    from ase.data import atomic_numbers

    from so3krates._errors import InputError

    if symbols is None:
        return None
    unknown = [symbol for symbol in symbols if atomic_numbers.get(symbol, 0) < 1]
    if unknown:
        raise InputError(f"'{unknown[0]}' is not the symbol of an element; give symbols such as H C N O.")
    return tuple(atomic_numbers[symbol] for symbol in symbols)
