"""The checks of `physical_validation` (Merz and Shirts, PLoS ONE 13, e0202764), as deviations in standard errors."""

import logging
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import numpy as np
from validation.ensembles import Kind, StatePoint
from validation.sampling import Samples

from so3krates.system import System
from so3krates.units import BOLTZMANN, GPA, KJ_PER_MOL

SEED = 1
"""Of the resampling that gives standard errors, and of the division into groups."""
GROUPS = 2
"""Parts into which the molecules are divided at random for the test of equipartition."""


@dataclass(frozen=True)
class Freedom:
    """Coordinates that carry no kinetic energy: counted here, not asked of the integrator."""

    translations: int
    rotations: int

    def count(self, system: System) -> int:
        return 3 * len(system) - self.translations - self.rotations


def deviations_of_one(
    samples: Samples, system: System, molecules: np.ndarray, kind: Kind, point: StatePoint, freedom: Freedom
) -> dict[str, float]:
    """At one state point: mean and width of the kinetic energy, of all atoms and of their parts."""
    with _validation() as pv:
        data = _data(pv, samples, system, molecules, kind, point, freedom)
        mean, width = pv.kinetic_energy.distribution(data, verbosity=0, bootstrap_seed=SEED, data_is_uncorrelated=True)
        found = {"kinetic energy, mean": float(mean), "kinetic energy, width": float(width)}
        several = len(molecules) > 1
        if several and freedom.translations:
            samples, freedom = _with_moving_center(samples, system, point), Freedom(0, freedom.rotations)
        parts = pv.kinetic_energy.equipartition(
            _data(pv, samples, system, molecules, kind, point, freedom),
            random_divisions=1 if several else 0,
            random_groups=GROUPS if several else 0,
            random_division_seed=SEED,
            verbosity=0,
            bootstrap_seed=SEED,
            data_is_uncorrelated=True,
        )
    for name, (mean, width) in zip(_parts(system, molecules, freedom), parts, strict=True):
        # A part with all the freedom there is would be counted twice.
        if name is not None:
            found[f"{name}, mean"], found[f"{name}, width"] = float(mean), float(width)
    return found


def _with_moving_center(samples: Samples, system: System, point: StatePoint) -> Samples:
    """With a centre of mass that moves as in the canonical ensemble of all 3N coordinates, independent of the rest.

    While it rests, the kinetic energy of a group of atoms is narrower than that of its share of 3N − 3 coordinates,
    which is what `physical_validation` expects: by 4 % for half of eight atoms.
    """
    mass = system.masses.sum()
    drawn = np.random.default_rng(SEED).standard_normal((samples.count, 1, 3))
    center = np.sqrt(BOLTZMANN * point.temperature_K / mass) * drawn
    kinetic = samples.kinetic + 0.5 * mass * np.sum(center**2, axis=(1, 2))
    return replace(samples, velocities=samples.velocities + center, kinetic=kinetic)


def _parts(system: System, molecules: np.ndarray, freedom: Freedom) -> list[str | None]:
    """What the results of the test of equipartition belong to, in their order; None for what says nothing new."""
    if len(molecules) == len(system):
        return [None, None] + [name for group in range(GROUPS) for name in (f"group {group + 1} of atoms", None)]
    if len(molecules) == 1:
        # All of it, rotation with vibration, then one by one; what has no freedom is left out.
        return [None, None, *([None] if freedom.rotations else ["rotation", "vibration"])]
    kinds = [None, "translation", "rotation and vibration", "rotation", "vibration"]
    groups = [f"group {group + 1} of molecules" for group in range(GROUPS)]
    return kinds + [f"{group}, {kind or 'all'}" for group in groups for kind in kinds]


def deviations_of_two(
    first: Samples, second: Samples, system: System, kind: Kind, points: Sequence[StatePoint], total: bool
) -> list[float]:
    """Ratio of the distributions at two state points against that of the Boltzmann factors.

    With equal pressures the enthalpy (at constant volume the energy), with equal temperatures the volume, otherwise
    both at once. `total` counts kinetic energy too. Empty if the distributions hardly overlap.
    """
    resting = Freedom(3, 0)
    with _validation() as pv:
        pair = [
            _data(pv, samples, system, np.arange(len(system)), kind, point, resting)
            for samples, point in zip((first, second), points, strict=True)
        ]
        try:
            found = pv.ensemble.check(*pair, total_energy=total, verbosity=0, data_is_uncorrelated=True)
        except (pv.util.error.InputError, ValueError):
            # Of energy and volume at once it does not notice by itself that it is left without samples.
            return []
    return [float(value) for value in found]


def suggested_interval(
    samples: Samples, system: System, kind: Kind, point: StatePoint, total: bool
) -> dict[str, float]:
    """How far apart two state points should be, K and GPa."""
    with _validation() as pv:
        data = _data(pv, samples, system, np.arange(len(system)), kind, point, Freedom(3, 0))
        found = pv.ensemble.estimate_interval(data, verbosity=0, total_energy=total, data_is_uncorrelated=True)
    return {name: float(value) for name, value in found.items() if np.isscalar(value)}


def convergence(conserved: dict[float, np.ndarray]) -> float:
    """Largest deviation of the ratio of fluctuations from that of the squared time steps, relative.

    Args:
        conserved: time step in fs → trajectories × frames of the conserved quantity, eV.
    """
    with _validation() as pv:
        units = _units(pv)
        runs = []
        for timestep, values in conserved.items():
            centred = values - values.mean(axis=1, keepdims=True)
            observed = pv.data.ObservableData(constant_of_motion=centred.ravel())
            runs.append(pv.data.SimulationData(units=units, dt=timestep, observables=observed))
        return float(pv.integrator.convergence(runs, verbose=False))


def versions() -> dict[str, str]:
    with _validation() as pv:
        return {"physical_validation": pv.__version__.removeprefix("v")}


def _data(
    pv: Any,
    samples: Samples,
    system: System,
    molecules: np.ndarray,
    kind: Kind,
    point: StatePoint,
    freedom: Freedom,
) -> Any:
    constant = kind != "NPT"
    # Of a molecule in vacuum the volume is not defined and enters nothing, but must be a number.
    volume = np.nan_to_num(samples.volume, nan=1.0)
    return pv.data.SimulationData(
        units=_units(pv),
        system=pv.data.SystemData(
            natoms=len(system),
            nconstraints=0,
            ndof_reduction_tra=freedom.translations,
            ndof_reduction_rot=freedom.rotations,
            mass=system.masses,
            molecule_idx=molecules,
            nconstraints_per_molecule=np.zeros(len(molecules)),
        ),
        ensemble=pv.data.EnsembleData(
            "NVT" if constant else "NPT",
            natoms=len(system),
            volume=float(volume[0]) if constant else None,
            pressure=None if constant else point.pressure_GPa,
            temperature=point.temperature_K,
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=samples.kinetic,
            potential_energy=samples.potential,
            total_energy=samples.energy,
            volume=volume,
        ),
        trajectory=pv.data.TrajectoryData(samples.positions, samples.velocities),
    )


def _units(pv: Any) -> Any:
    """eV, Å, K, GPa and fs in those of GROMACS (kJ/mol, nm, K, bar, ps)."""
    return pv.data.UnitData(
        kb=BOLTZMANN,
        energy_conversion=1.0 / KJ_PER_MOL,
        length_conversion=0.1,
        volume_conversion=1e-3,
        temperature_conversion=1.0,
        pressure_conversion=1e4,
        time_conversion=1e-3,
        energy_str="eV",
        length_str="Å",
        volume_str="Å³",
        temperature_str="K",
        pressure_str="GPa",
        time_str="fs",
    )


def pressure_times_volume() -> float:
    """GPa·Å³ in eV, as the package has it and as `physical_validation` computes it from `_units`: their ratio."""
    with _validation() as pv:
        units = _units(pv)
    theirs = 6.022140857e-2 * units.pressure_conversion * units.volume_conversion / units.energy_conversion
    return theirs / GPA


@contextmanager
def _validation() -> Any:
    """The package, without what it and its dependency `pymbar` print."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()):
            import physical_validation

            yield physical_validation
    finally:
        logging.disable(level)
