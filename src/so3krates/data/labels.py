"""Labels: which key of a file holds which label, missing values, virials to stress, and what training may use."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.data.sample import Sample

ENERGY_KEYS = ("REF_energy", "free_energy", "energy")
"""With smeared occupations forces are derivatives of the free energy, and `energy` is extrapolated to zero width."""
FORCE_KEYS = ("REF_forces", "forces", "force")
STRESS_KEYS = ("REF_stress", "stress")
VIRIAL_KEYS = ("REF_virials", "REF_virial", "virials", "virial")
DIPOLE_KEYS = ("REF_dipole", "dipole")
RATIO_KEYS = ("REF_hirshfeld_ratios", "hirshfeld_ratios")
STRESS_AGREEMENT = 1e-3
"""eV/Å³ and relative: how well a stress and virials given side by side must agree."""

ASYMMETRY, ASYMMETRY_FLOOR = 1e-2, 1e-5
"""How far a stress may be from symmetric: relative to its largest component, and what is noise in any unit."""

_STRUCTURE = frozenset(
    "Properties Lattice pbc species pos positions numbers masses momenta cell offsets R z lattice coords "
    "nuclear_charges old_indices meta name theory md5 type e_unit r_unit f_unit s_unit energy_unit length_unit "
    "force_unit stress_unit charge unpaired isolated_atom group".split()
)
"""Names by which the formats call everything that is no label."""


class LabelKeys(NamedTuple):
    """The keys labels are read from, for a whole file; None where the file has no such label."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virials: str | None = None
    dipole: str | None = None
    hirshfeld_ratios: str | None = None

    def used(self) -> dict[str, str]:
        return {label: key for label, key in self._asdict().items() if key is not None}


def choose_keys(available: Collection[str], wanted: LabelKeys, source: str) -> LabelKeys:
    """Choose one key per label for the whole file: the user's, else `REF_*`, else single-point results.

    Stress and virials belong together: `REF_stress` or `REF_virials` exclude a plain `stress`.

    Raises:
        InputError: if a key the user named occurs nowhere in the file.
    """
    for label, key in wanted.used().items():
        if key not in available:
            raise InputError(f"{source}: no frame has the key '{key}' asked for as {label}; found {sorted(available)}.")
    energy = wanted.energy or _first(ENERGY_KEYS, available)
    forces = wanted.forces or _first(FORCE_KEYS, available)
    dipole = wanted.dipole or _first(DIPOLE_KEYS, available)
    ratios = wanted.hirshfeld_ratios or _first(RATIO_KEYS, available)
    if wanted.stress or wanted.virials:
        return LabelKeys(energy, forces, wanted.stress, wanted.virials, dipole, ratios)
    reference = {key for key in available if key.startswith("REF_")}
    if _first(STRESS_KEYS, reference) or _first(VIRIAL_KEYS, reference):
        available = reference
    stress, virials = _first(STRESS_KEYS, available), _first(VIRIAL_KEYS, available)
    return LabelKeys(energy, forces, stress, virials, dipole, ratios)


def unused_key_notes(counts: Mapping[str, int], keys: LabelKeys, frames: int, source: str) -> tuple[str, ...]:
    """Say where frames lack the chosen key although they hold another one of the same meaning."""
    notes = []
    for label, names in (
        ("energy", ENERGY_KEYS),
        ("forces", FORCE_KEYS),
        ("stress", STRESS_KEYS),
        ("dipole", DIPOLE_KEYS),
        ("hirshfeld_ratios", RATIO_KEYS),
    ):
        chosen = getattr(keys, label)
        if chosen is None or counts.get(chosen, 0) >= frames:
            continue
        others = [name for name in names if name != chosen and counts.get(name, 0)]
        if others:
            notes.append(
                f"{source}: {label} is read from '{chosen}', which {frames - counts[chosen]} of {frames} frames lack; "
                f"'{others[0]}' in the file is not used."
            )
    return tuple(notes)


def names_beside_structure(names: Iterable[str]) -> tuple[str, ...]:
    """Keys of a file that may be labels: without elements, positions, cell and what describes the file itself."""
    return tuple(sorted(name for name in set(names) - _STRUCTURE if not name.startswith("split")))


def energy_label(value: object, key: str, origin: str) -> float | None:
    """A number, or None for NaN."""
    array = numeric(value, key, origin)
    if array.size != 1:
        raise InputError(f"{origin}: '{key}' has shape {array.shape}, expected one number.")
    number = float(array.reshape(()))
    if np.isinf(number):
        raise InputError(f"{origin}: '{key}' is infinite.")
    return None if np.isnan(number) else number


def forces_label(value: object, atoms: int, key: str, origin: str) -> Float[np.ndarray, "atoms 3"] | None:
    """An (atoms, 3) array, or None if all of it is NaN; forces that are NaN in part are kept for the doctor to see."""
    return _array_label(value, (atoms, 3), key, origin)


def dipole_label(value: object, key: str, origin: str) -> Float[np.ndarray, " 3"] | None:
    """Three numbers, or None for NaN."""
    array = _array_label(value, (3,), key, origin)
    return None if array is None or np.isnan(array).any() else array


def ratios_label(value: object, atoms: int, key: str, origin: str) -> Float[np.ndarray, " atoms"] | None:
    """A number per atom, or None for NaN.

    Raises:
        InputError: for ratios that are not positive: the volume of an atom over that of the free atom is.
    """
    array = _array_label(value, (atoms,), key, origin)
    if array is None or np.isnan(array).any():
        return None
    if (array <= 0).any():
        atom = int(np.argmin(array))
        raise InputError(f"{origin}: '{key}' is {array[atom]:g} for atom {atom}; Hirshfeld ratios are positive.")
    return array


def _array_label(value: object, shape: tuple[int, ...], key: str, origin: str) -> Float[np.ndarray, "..."] | None:
    array = numeric(value, key, origin)
    if array.shape != shape:
        raise InputError(f"{origin}: '{key}' has shape {array.shape}, expected {shape}.")
    if np.isinf(array).any():
        raise InputError(f"{origin}: '{key}' holds an infinite value.")
    return None if np.isnan(array).all() else array


def stress_label(value: object, key: str, origin: str) -> Float[np.ndarray, "3 3"] | None:
    """A symmetric 3x3 tensor from 3x3, 9 numbers or Voigt's 6 (xx, yy, zz, yz, xz, xy); None for NaN.

    Raises:
        InputError: for other shapes, or for a tensor that is not symmetric.
    """
    array = numeric(value, key, origin)
    if array.shape == (6,):
        xx, yy, zz, yz, xz, xy = array
        array = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if array.size != 9:
        raise InputError(f"{origin}: '{key}' has shape {array.shape}; expected (3, 3), 9 numbers or Voigt's 6.")
    array = array.reshape(3, 3)
    if np.isnan(array).any():
        return None
    if np.abs(array - array.T).max() > ASYMMETRY * float(np.abs(array).max()) + ASYMMETRY_FLOOR:
        raise InputError(f"{origin}: '{key}' is not symmetric: {array.tolist()}.")
    return 0.5 * (array + array.T)


def stress_from_virials(virials: Float[np.ndarray, "3 3"], cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """σ = −virial / V, tension positive."""
    return -virials / abs(np.linalg.det(cell))


def agreed_stress(
    stress: Float[np.ndarray, "3 3"] | None, from_virials: Float[np.ndarray, "3 3"] | None, origin: str
) -> Float[np.ndarray, "3 3"] | None:
    """The stress where only one of both is given; both must agree.

    Raises:
        InputError: if they differ by more than `STRESS_AGREEMENT`.
    """
    if stress is None or from_virials is None:
        return from_virials if stress is None else stress
    gap = float(np.abs(stress - from_virials).max())
    if gap > STRESS_AGREEMENT * (1e-2 + float(np.abs(stress).max())):
        raise InputError(
            f"{origin}: stress and virials contradict each other by {gap:.3g} eV/Å³ (expected stress = -virials/V, "
            "tension positive); keep the one that is right."
        )
    return stress


def check_labels(sample: Sample) -> None:
    """Refuse labels no loss can use.

    Raises:
        InputError: for forces that are NaN in part, naming the frame and the first such atom.
    """
    if sample.forces is not None and not np.isfinite(sample.forces).all():
        atom = int(np.argwhere(~np.isfinite(sample.forces))[0, 0])
        raise InputError(
            f"{sample.origin}: forces are NaN for atom {atom} but not for all atoms; remove the frame or its forces."
        )


def numeric(value: object, key: str, origin: str) -> Float[np.ndarray, "..."]:
    """The value as a float64 array; None entries of text formats are refused with the key's name."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{origin}: '{key}' is {str(value)[:60]!r}; expected numbers.") from None


def _first(names: tuple[str, ...], available: Collection[str]) -> str | None:
    return next((name for name in names if name in available), None)
