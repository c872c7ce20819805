"""`so3krates info`: what a model file says about itself, or what this installation runs on."""

import json as json_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from so3krates.io.model_file import ModelInfo

PACKAGES = ("jax", "jaxlib", "equinox", "numpy", "vesin", "ase", "safetensors", "h5py")
SHOWN_PROVENANCE = 12


def info(
    file: Path | None = None,
    /,
    *,
    system: Annotated[bool, Parameter(negative=())] = False,
    tables: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Describe a model file, or with --system the versions and devices of this installation.

    Parameters
    ----------
    file
        Model file.
    system
        Show versions, devices and the compiled kernel.
    tables
        Also measure by how much tables in place of the network's radial functions change its forces.
    json
        Print JSON instead of a table.
    """
    from so3krates._errors import InputError

    if (file is None) != system:
        raise InputError("give either a model file or --system.")
    if tables and file is None:
        raise InputError("--tables is about a model; give a model file instead of --system.")
    if file is None:
        title, rows = "so3krates", describe_system()
    else:
        from so3krates.io.weights import resolved

        title, rows = str(file), describe_model(resolved(file))
        if tables:
            rows["tables"] = describe_tables(resolved(file))
    if json:
        print(json_module.dumps(rows, indent=2))
    else:
        _print_table(title, rows)


def describe_model(path: Path) -> dict[str, Any]:
    """Everything about a model file, as plain values."""
    from so3krates.io.model_file import inspect, load
    from so3krates.md.fingerprint import potential_hash

    # What a run notes is what it computes with, so each precision has its own.
    return _rows(inspect(path)) | {
        "model_of_runs": {dtype: potential_hash(load(path, dtype)) for dtype in ("float32", "float64")}
    }


def describe_tables(path: Path) -> dict[str, Any]:
    """What `load` puts in place of the radial functions, and what that changes."""
    from so3krates.analysis.tables import check_tables
    from so3krates.io.model_file import load

    found = check_tables(load(path, "float64"))
    return {
        "tolerance_eV_per_A": found.tolerance,
        "intervals": list(found.intervals),
        "largest_change_of_forces_eV_per_A": found.largest_change,
        "mean_change_of_forces_eV_per_A": found.mean_change,
        "structures": found.structures,
    }


def _rows(found: "ModelInfo") -> dict[str, Any]:
    from ase.data import chemical_symbols

    from so3krates.io.terms import NetworkHeader

    header = found.header
    elements = header.elements
    config = next((term.config for term in header.terms if isinstance(term, NetworkHeader)), None)
    others = [term.model_dump(mode="json") for term in header.terms if not isinstance(term, NetworkHeader)]
    return {
        "terms": [term.kind for term in header.terms],
        **({"architecture": config.model_dump(mode="json")} if config else {}),
        **({"analytic_terms": others} if others else {}),
        "parameters": found.parameters,
        "precision": found.dtype,
        **({"cutoff": config.cutoff} if config else {}),
        **({"long_range_cutoff": header.long_range_cutoff} if header.long_range_cutoff else {}),
        "elements": [chemical_symbols[z] for z in elements.numbers] if elements else None,
        "reference_energies": list(elements.energies) if elements else None,
        "units": header.units.model_dump(),
        "provenance": json_module.loads(header.provenance),
        "format_version": header.format_version,
        "package_version": header.package_version,
        "file_sha256": found.sha256,
        "bytes": found.size,
    }


def describe_system() -> dict[str, Any]:
    """Versions and devices."""
    import platform

    import jax

    from so3krates._version import __version__

    return {
        "so3krates": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "backend": jax.default_backend(),
        "kernel": _kernel(),
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()],
    }


def _kernel() -> str:
    from so3krates.nn.fused import kernels, variants

    if not variants():
        return f"none: {kernels().missing}"
    first, *others = [variant.name for variant in variants()]
    return f"{first} on a CPU (this processor could also run {', '.join(others)})" if others else f"{first} on a CPU"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _print_table(title: str, rows: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _flat(rows):
        table.add_row(key, Text(value))
    Console().print(table)


def _flat(rows: dict[str, Any]) -> list[tuple[str, str]]:
    """One line per value; long lists and deep trees are shortened, since --json has them whole."""
    lines: list[tuple[str, str]] = []
    for key, value in rows.items():
        match key, value:
            case "elements", list() if len(value) > SHOWN_PROVENANCE:
                lines.append((key, f"{value[0]} to {value[-1]} ({len(value)} elements)"))
            case "reference_energies", list():
                lines.append((key, _energies(value)))
            case "cutoff" | "long_range_cutoff", float():
                lines.append((key, f"{value} Å"))
            case "parameters", int():
                lines.append((key, f"{value:,}"))
            case "architecture" | "provenance" | "tables", dict():
                lines += [(f"{key} · {name}", _short(part)) for name, part in value.items()]
            case _:
                lines.append((key, _short(value)))
    return lines


def _energies(energies: list[float]) -> str:
    if not any(energies):
        return "0 eV for every element"
    return ", ".join(f"{energy:.4f}" for energy in energies[:SHOWN_PROVENANCE]) + " eV"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False).replace('"', "")
    return text if len(text) <= 200 else text[:197] + "…"
