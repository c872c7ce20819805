"""`run.summary.json` beside `run.h5`: what the run was asked to do, how it ended and what came out of it."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from so3krates._errors import FileError
from so3krates._version import __version__
from so3krates.io.atomic import write_atomically
from so3krates.md.records.run import Run, RunStopped, RunUnfinished
from so3krates.md.records.settings import Settings
from so3krates.md.records.summary import GRAM_PER_CM3
from so3krates.system import System

FORMAT = "so3krates-run-summary"
VERSION = 1


def summary_path(trajectory: Path) -> Path:
    """run.h5 → run.summary.json."""
    return trajectory.with_suffix(".summary.json")


def picture_path(trajectory: Path) -> Path:
    """run.h5 → run.summary.png."""
    return trajectory.with_suffix(".summary.png")


def write_summary(
    run: Run, system: System, settings: Settings, ended: BaseException | None, devices: int = 1
) -> Path | None:
    """Write the summary of a run, complete or not; nothing for a run in memory.

    Args:
        run: the run.
        system: its start.
        settings: of the run.
        ended: what ended the run early, if anything did.
        devices: among which it was shared with other replicas.

    Raises:
        FileError: if it cannot be written.
    """
    if run.path is None:
        return None
    target = summary_path(run.path)
    text = json.dumps(_document(run, system, settings, ended, devices), indent=1, allow_nan=False)
    write_atomically(target, f"{text}\n".encode())
    return target


def read_summary(trajectory: Path) -> dict[str, Any]:
    """The summary beside a trajectory.

    Raises:
        FileError: if there is none, or it is none of this version.
    """
    path = summary_path(trajectory)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} is not a readable summary of a run: {error}.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise FileError(f"{path} is not a summary this version of so3krates reads.")
    return found


def says_complete(trajectory: Path, steps: int) -> bool:
    """Whether the summary is that of a run which made all of so many steps."""
    try:
        found = read_summary(trajectory)
    except FileError:
        return False
    return found["ended"]["state"] == "complete" and found["results"]["steps"] == steps


def _document(
    run: Run, system: System, settings: Settings, ended: BaseException | None, devices: int
) -> dict[str, Any]:
    assert run.path is not None
    return {
        "format": FORMAT,
        "version": VERSION,
        "trajectory": run.path.name,
        "ended": _ended(ended),
        "versions": {"so3krates": __version__, **{name: version(name) for name in ("jax", "jaxlib", "numpy")}},
        "device": jax.local_devices()[0].device_kind,
        "devices": devices,
        "system": _described(system),
        "settings": settings.as_dict() | {"reference_energy_eV": settings.reference_energy},
        "results": _finite(run.summary.as_dict()),
    }


def _ended(ended: BaseException | None) -> dict[str, str | None]:
    """State of the run, reason code and sentence."""
    match ended:
        case None:
            return {"state": "complete", "reason": None, "sentence": None}
        case RunStopped(reason=reason):
            state = "stopped"
        case RunUnfinished(reason=reason):
            state = "unfinished"
        case _:
            state, reason = "unfinished", "interrupted"
    return {"state": state, "reason": reason, "sentence": str(ended)}


def _described(system: System) -> dict[str, Any]:
    found: dict[str, Any] = {
        "formula": system.formula,
        "atoms": len(system),
        "mass_u": float(system.masses.sum()),
        "charge": system.charge,
        "unpaired": system.unpaired,
        "pbc": list(system.pbc),
        "cell": None,
    }
    if system.cell is not None:
        found["cell"] = system.cell.tolist()
        if all(system.pbc):
            volume = float(abs(np.linalg.det(system.cell)))
            found |= {"volume_A3": volume, "density_g_cm3": GRAM_PER_CM3 * found["mass_u"] / volume}
    return found


def _finite(value: Any) -> Any:
    """JSON knows no infinity and nothing that is not a number."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
