"""Frames of a trajectory for the viewer of the report page: small, smooth, and standing still as a whole."""

import base64
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from so3krates._typing import Float
from so3krates.analysis.structure import Bonds
from so3krates.system import System

COLORS = {1: "#f1f3f5", 6: "#59616b", 7: "#3d6bd6", 8: "#d9432f", 9: "#5cb85c", 14: "#c9a27a", 16: "#e0b02e"}
"""Elements whose customary colours want to be softer."""


def viewer_data(
    positions: Float[np.ndarray, "frames atoms 3"],
    system: System,
    bonds: Bonds,
    *,
    interval_fs: float,
    start_fs: float = 0.0,
) -> dict[str, Any]:
    """What the page's viewer reads, as JSON: elements, bonds, and positions in whole milli-ångström.

    Molecules are turned onto their first frame, so that one sees vibrations and conformations, not tumbling.

    Args:
        positions: Å.
        system: elements and cell.
        bonds: lines to draw.
        interval_fs: time between the frames.
        start_fs: time of the first.
    """
    shown = np.asarray(positions, np.float64)
    if system.cell is None:
        shown = aligned(shown, system.masses)
    else:
        shown = shown - 0.5 * system.cell.sum(axis=0)
    numbers = system.numbers.tolist()
    return {
        "symbols": [chemical_symbols[z] for z in numbers],
        "colors": [COLORS.get(z) or _hex(jmol_colors[z]) for z in numbers],
        "radii": [round(float(covalent_radii[z]), 3) for z in numbers],
        "bonds": bonds.atoms.tolist() if system.cell is None else _inside(bonds, shown[0]),
        "cell": None if system.cell is None else system.cell.tolist(),
        "frames": len(shown),
        "interval_fs": interval_fs,
        "start_fs": start_fs,
        "positions": base64.b64encode(np.round(shown * 1e3).astype("<i4").tobytes()).decode("ascii"),
    }


def aligned(
    positions: Float[np.ndarray, "frames atoms 3"], masses: Float[np.ndarray, " atoms"]
) -> Float[np.ndarray, "frames atoms 3"]:
    """Each frame moved and turned onto the first, in the sense of least mass-weighted squares (Kabsch)."""
    weights = masses / masses.sum()
    centred = positions - np.einsum("a,fac->fc", weights, positions)[:, None]
    u, _, vt = np.linalg.svd(np.einsum("a,fai,aj->fij", weights, centred, centred[0]))
    # A reflection would fit better at times, but it is not a rotation.
    signs = np.ones((len(u), 3))
    signs[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    return centred @ (u * signs[:, None, :] @ vt)


def _inside(bonds: Bonds, positions: Float[np.ndarray, "atoms 3"]) -> list[list[int]]:
    """Bonds that do not cross the boundary of the cell."""
    lengths = np.linalg.norm(positions[bonds.atoms[:, 1]] - positions[bonds.atoms[:, 0]], axis=1)
    return bonds.atoms[lengths < 1.5 * bonds.lengths].tolist()


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in color)
