"""Charged and zwitterionic molecules, built from bond lengths and angles."""

import ase.build
import numpy as np

from so3krates.system import System

H, C, N, O = 1, 6, 7, 8
TETRAHEDRAL = 109.5


def placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, distance: float, angle: float, dihedral: float) -> np.ndarray:
    """The position at `distance` (Å) from a, with the angle to b and the dihedral to c (degrees)."""
    theta, phi = np.radians([angle, dihedral])
    along = (a - b) / np.linalg.norm(a - b)
    normal = np.cross(b - c, along)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    return a + distance * (-np.cos(theta) * along + np.sin(theta) * (np.cos(phi) * across + np.sin(phi) * normal))


def hydronium() -> System:
    """H₃O⁺, a flat pyramid."""
    turns = np.radians([0.0, 120.0, 240.0])
    hydrogens = np.stack([0.93 * np.cos(turns), 0.93 * np.sin(turns), np.full(3, 0.3)], axis=1)
    return System(np.concatenate([np.zeros((1, 3)), hydrogens]), np.array([O, H, H, H]), charge=1.0)


def hydroxide() -> System:
    """OH⁻."""
    return System(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.965]]), np.array([O, H]), charge=-1.0)


def acetate() -> System:
    """CH₃COO⁻: acetic acid without its proton."""
    acid = ase.build.molecule("CH3COOH")
    oxygens = acid.positions[acid.numbers == O]
    distances = [np.min(np.linalg.norm(oxygens - x, axis=1)) if z == H else np.inf
                 for z, x in zip(acid.numbers, acid.positions, strict=True)]  # fmt: skip
    del acid[int(np.argmin(distances))]
    return System(acid.positions, acid.numbers, charge=-1.0)


def glycylglycine() -> System:
    """⁺H₃N–CH₂–CO–NH–CH₂–COO⁻, stretched: neutral as a whole."""
    nitrogen, alpha = np.zeros(3), np.array([1.49, 0.0, 0.0])
    carbonyl = placed(alpha, nitrogen, np.array([-1.0, 1.0, 0.0]), 1.52, 110.0, 180.0)
    amide = placed(carbonyl, alpha, nitrogen, 1.34, 116.0, 180.0)
    second = placed(amide, carbonyl, alpha, 1.45, 122.0, 180.0)
    acid = placed(second, amide, carbonyl, 1.53, 111.0, 180.0)
    atoms = [
        (N, nitrogen),
        (C, alpha),
        (C, carbonyl),
        (N, amide),
        (C, second),
        (C, acid),
        (O, placed(carbonyl, alpha, nitrogen, 1.23, 121.0, 0.0)),
        (O, placed(acid, second, amide, 1.25, 118.0, 0.0)),
        (O, placed(acid, second, amide, 1.25, 117.0, 180.0)),
        (H, placed(amide, carbonyl, alpha, 1.01, 119.0, 0.0)),
        *((H, placed(nitrogen, alpha, carbonyl, 1.03, TETRAHEDRAL, turn)) for turn in (60.0, 180.0, 300.0)),
        *((H, placed(alpha, carbonyl, amide, 1.09, TETRAHEDRAL, turn)) for turn in (60.0, 300.0)),
        *((H, placed(second, acid, np.asarray(amide), 1.09, TETRAHEDRAL, turn)) for turn in (120.0, 240.0)),
    ]
    return System(np.array([x for _, x in atoms]), np.array([z for z, _ in atoms]))
