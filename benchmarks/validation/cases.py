"""What is simulated: argon, fluid and solid, a crystal of springs, the ideal gas, a trained model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase.build import bulk
from scipy.optimize import minimize_scalar
from validation.ensembles import Ensemble, StatePoint, Surroundings
from validation.terms import IdealGas, Springs

import so3krates
from so3krates import md
from so3krates.demo import ETHANOL
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import BOLTZMANN


@dataclass(frozen=True)
class Plan:
    """How much is simulated at each state point."""

    trajectories: int
    equilibrate_ps: float
    sample_ps: float
    save_every_fs: float

    @property
    def frames(self) -> int:
        """That count, of each trajectory."""
        return round(self.sample_ps * 1e3 / self.save_every_fs)


LONGER_IF_IT_OSCILLATES = 4.0
"""Equilibration of such ensembles: the mean volume of a crystal creeps for some fifteen periods of the cell."""


@dataclass(frozen=True, eq=False)
class Case:
    """A system with the state points it is looked at."""

    name: str
    system: System
    make: Callable[[str], Potential]
    """dtype → the potential."""
    around: Surroundings
    timestep_fs: float
    convergence_fs: tuple[float, ...]
    """Time steps of the test of convergence, largest first."""
    plan: Plan
    points: dict[str, tuple[StatePoint, ...]]
    """Kind of ensemble → state points; the first is the base, the others are compared with it."""
    molecules: np.ndarray
    """Index of the first atom of each molecule."""
    modes: bool = False
    """Starts are drawn from the harmonic canonical distribution, each a trajectory of its own."""
    moving_cell: Plan | None = None
    """The plan with a barostat, whose volume has to be forgotten too; the same if not given."""
    fluid: bool = False
    """Nothing resists a change of shape: where the cell may change it, it becomes ever thinner, and what is measured is
    that of atoms beside their own images."""

    def sampling(self, entry: Ensemble) -> "Case":
        """With the plan for this ensemble."""
        plan = self.plan if entry.kind != "NPT" or self.moving_cell is None else self.moving_cell
        longer = LONGER_IF_IT_OSCILLATES if entry.oscillates else 1.0
        return replace(self, plan=replace(plan, equilibrate_ps=longer * plan.equilibrate_ps))

    def planned(self, trajectories: int | None, sample_ps: float | None) -> "Case":
        """With more or fewer trajectories, or longer ones."""
        plan = replace(
            self.plan,
            trajectories=trajectories or self.plan.trajectories,
            sample_ps=sample_ps or self.plan.sample_ps,
        )
        return replace(self, plan=plan)

    def quick(self) -> "Case":
        """The same with hardly any sampling: it shows that everything works and says nothing."""
        frames = max(4, 24 // self.plan.trajectories)
        plan = replace(self.plan, trajectories=min(6, self.plan.trajectories), equilibrate_ps=0.4)
        return replace(self, plan=replace(plan, sample_ps=frames * self.plan.save_every_fs * 1e-3))

    def start(self, temperature_K: float, seed: int) -> System:
        """Where a trajectory begins; its velocities are drawn by `simulate`."""
        return self._displaced(temperature_K, seed) if self.modes else self.system

    @cached_property
    def normal_modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Stiffness of all modes but the translations (eV/Å²) and their directions."""
        atoms = len(self.system)
        hessian = self.make("float64").hessian(self.system).reshape(3 * atoms, 3 * atoms)
        stiffness, directions = np.linalg.eigh(0.5 * (hessian + hessian.T))
        return stiffness[3:], directions[:, 3:]

    def _displaced(self, temperature_K: float, seed: int) -> System:
        stiffness, directions = self.normal_modes
        amplitude = np.sqrt(BOLTZMANN * temperature_K / stiffness)
        noise = np.random.default_rng([seed, 7]).standard_normal(len(stiffness))
        return self.system.moved(self.system.positions + (directions @ (amplitude * noise)).reshape(-1, 3))


def _lattice(constant: float, repeat: int) -> System:
    return System.from_ase(bulk("Ar", "fcc", a=constant, cubic=True).repeat((repeat, repeat, repeat)))


def argon() -> Case:
    """32 atoms of supercritical argon, dense as a liquid: no transition is near, and modes mix at once."""
    system = _lattice(5.8, 2)
    base, warm = StatePoint(150.0, 0.1), StatePoint(175.0, 0.1)
    return Case(
        "argon",
        system,
        lambda dtype: Potential(LennardJones(0.0104, 3.4, 7.0, dtype=dtype)),
        Surroundings(friction_per_ps=2.0, period_fs=400.0, compressibility_per_GPa=2.0, isolated=False),
        timestep_fs=4.0,
        convergence_fs=(8.0, 4.0, 2.0),
        plan=Plan(trajectories=8, equilibrate_ps=10.0, sample_ps=250.0, save_every_fs=200.0),
        points={
            "NVT": (StatePoint(150.0), StatePoint(175.0)),
            "NPT": (base, warm, StatePoint(150.0, 0.14)),
        },
        molecules=np.arange(len(system)),
        fluid=True,
    )


def solid_argon() -> Case:
    """32 atoms of Lennard-Jones argon on the lattice of lowest energy, for cells that change their shape."""
    potential = Potential(LennardJones(0.0104, 3.4, 7.0, dtype="float64"))
    system = _relaxed(potential, lambda edge: _lattice(edge, 2), (5.0, 5.6))
    return Case(
        "solid argon",
        system,
        potential.astype,
        Surroundings(friction_per_ps=2.0, period_fs=400.0, compressibility_per_GPa=0.4, isolated=False),
        timestep_fs=4.0,
        convergence_fs=(8.0, 4.0, 2.0),
        plan=Plan(trajectories=120, equilibrate_ps=20.0, sample_ps=20.0, save_every_fs=500.0),
        points={"NPT": (StatePoint(30.0, 0.0), StatePoint(36.0, 0.0), StatePoint(30.0, 0.07))},
        molecules=np.arange(len(system)),
        modes=True,
    )


def crystal() -> Case:
    """32 argon masses on springs: modes hardly mix, so each of many starts has amplitudes of its own.

    Springs this stiff keep the lattice. With a quarter of the stiffness, one trajectory in a hundred changes into a
    denser crystal within 50 ps at 0.13 GPa and stays there, which no distribution is compared with.
    """
    length = 3.75
    system = _lattice(2**0.5 * length, 2)
    return Case(
        "crystal",
        system,
        lambda dtype: Potential(Springs(1.0, length, dtype=dtype)),
        Surroundings(friction_per_ps=4.0, period_fs=200.0, compressibility_per_GPa=0.025, isolated=False),
        timestep_fs=2.0,
        convergence_fs=(4.0, 2.0, 1.0),
        plan=Plan(trajectories=400, equilibrate_ps=0.5, sample_ps=1.0, save_every_fs=250.0),
        points={
            "NVE": (StatePoint(40.0), StatePoint(47.0)),
            "NVT": (StatePoint(40.0), StatePoint(47.0)),
            "NPT": (StatePoint(40.0, 0.0), StatePoint(47.0, 0.0), StatePoint(40.0, 0.26)),
        },
        molecules=np.arange(len(system)),
        modes=True,
        moving_cell=Plan(trajectories=200, equilibrate_ps=5.0, sample_ps=5.0, save_every_fs=250.0),
    )


FEW, FEWEST = 20, 8
"""Atoms of an ideal gas."""


def ideal_gas(atoms: int) -> Case:
    """Atoms without any interaction, in about the volume they will have. Few tell whether p(V) ∝ V^N or V^(N−1)."""
    point = StatePoint(300.0, 0.1)
    assert point.pressure_GPa is not None
    volume = atoms * BOLTZMANN * point.temperature_K / (point.pressure_GPa * so3krates.units.GPA)
    side = volume ** (1.0 / 3.0)
    positions = np.random.default_rng(5).uniform(0.0, side, (atoms, 3))
    system = System(positions, np.full(atoms, 18), side * np.eye(3), (True, True, True))
    return Case(
        "ideal gas" if atoms > FEW else "ideal gas of few",
        system,
        lambda dtype: Potential(IdealGas(dtype=dtype)),
        Surroundings(friction_per_ps=2.0, period_fs=400.0, compressibility_per_GPa=10.0, isolated=False),
        timestep_fs=4.0,
        convergence_fs=(8.0, 4.0, 2.0),
        plan=Plan(trajectories=4 if atoms > FEW else 16, equilibrate_ps=40.0, sample_ps=400.0, save_every_fs=400.0),
        points={"NPT": (point,)},
        molecules=np.arange(atoms),
    )


def trained(model: Path) -> Case:
    """A model of ethanol in vacuum."""
    return Case(
        "trained",
        so3krates.read_dataset(ETHANOL)[0].system,
        so3krates.load(model).astype,
        Surroundings(friction_per_ps=5.0, period_fs=50.0, compressibility_per_GPa=0.5, isolated=True),
        timestep_fs=0.25,
        convergence_fs=(0.5, 0.25),
        plan=Plan(trajectories=8, equilibrate_ps=3.0, sample_ps=60.0, save_every_fs=100.0),
        points={"NVT": (StatePoint(300.0), StatePoint(400.0))},
        molecules=np.zeros(1, int),
    )


def trained_crystal(model: Path) -> Case:
    """A model of silicon: the eight atoms of the cube, at the edge where they are at rest without pressure."""
    potential = so3krates.load(model)
    return Case(
        "trained crystal",
        _relaxed(
            potential.astype("float64"),
            lambda edge: System.from_ase(bulk("Si", "diamond", a=edge, cubic=True)),
            (5.2, 5.7),
        ),
        potential.astype,
        Surroundings(friction_per_ps=5.0, period_fs=100.0, compressibility_per_GPa=0.01, isolated=False),
        timestep_fs=1.0,
        convergence_fs=(2.0, 1.0, 0.5),
        plan=Plan(trajectories=400, equilibrate_ps=1.0, sample_ps=2.0, save_every_fs=250.0),
        points={
            "NVT": (StatePoint(300.0), StatePoint(400.0)),
            "NPT": (StatePoint(300.0, 0.0), StatePoint(400.0, 0.0), StatePoint(300.0, 1.5)),
        },
        molecules=np.arange(8),
        modes=True,
        moving_cell=Plan(trajectories=200, equilibrate_ps=5.0, sample_ps=10.0, save_every_fs=250.0),
    )


def _relaxed(potential: Potential, at: Callable[[float], System], edges: tuple[float, float]) -> System:
    """The crystal whose edge has the lowest energy."""
    found = minimize_scalar(lambda edge: potential.energy(at(edge)), bounds=edges, method="bounded")
    return at(float(found.x))


def monitor() -> md.Monitor:
    """Nothing is bonded, atoms of the ideal gas pass through each other, and the volume of few of them may double."""
    return md.Monitor(max_bond_deviation=None, min_distance=None, max_volume_factor=None, max_shape_factor=None)
