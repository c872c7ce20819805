"""State of a dynamics run: everything the next step depends on, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import ase
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ase.constraints import FixAtoms, FixCartesian

from so3krates._errors import InputError
from so3krates._typing import Array, Bool, Float, Int, PRNGKeyArray
from so3krates.evaluation import Evaluation
from so3krates.neighbors.verlet_state import VerletState
from so3krates.system import System
from so3krates.units import FEMTOSECOND

Forces = Callable[[Float[Array, "atoms 3"], Float[Array, "3 3"] | None, VerletState | None], Evaluation]
"""positions, cell, `State.verlet` → energy and forces there; pure, called inside compiled code."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A structure in motion, on the host in float64: what a run ends with and another may start from.

    Attributes:
        system: the structure.
        velocities: Å/fs; None if they are to be drawn.
        fixed: indices of atoms that do not move.

    Raises:
        InputError: for velocities of the wrong shape or not finite, fixed atoms that do not exist, or that have a
            velocity.
    """

    system: System
    velocities: Float[np.ndarray, "atoms 3"] | None = None
    fixed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        fixed = tuple(sorted({int(atom) for atom in self.fixed}))
        if fixed and not 0 <= fixed[0] <= fixed[-1] < len(self.system):
            raise InputError(f"fixed atoms are numbered from 0 to {len(self.system) - 1}; received {list(fixed)}.")
        object.__setattr__(self, "fixed", fixed)
        if self.velocities is None:
            return
        velocities = np.array(self.velocities, np.float64)
        if velocities.shape != self.system.positions.shape:
            raise InputError(f"velocities have shape {velocities.shape}; expected {self.system.positions.shape}.")
        if not np.isfinite(velocities).all():
            raise InputError("the velocities hold values that are not finite.")
        if np.any(velocities[list(fixed)]):
            moving = next(atom for atom in fixed if np.any(velocities[atom]))
            raise InputError(f"atom {moving} is fixed but has a velocity; set that to zero, or do not fix the atom.")
        object.__setattr__(self, "velocities", velocities)

    @classmethod
    def from_ase(cls, atoms: ase.Atoms, *, velocities: bool = True) -> Self:
        """Structure, velocities and fixed atoms of ASE's `Atoms`.

        Args:
            atoms: as `System.from_ase` takes them. What `FixAtoms` holds is fixed, and what `FixCartesian` holds along
                all three axes, as which ASE reads `move_mask` of extended XYZ files.
            velocities: take those of the atoms, if any of them moves.

        Raises:
            InputError: as `System.from_ase`, and for constraints of any other kind.
        """
        moving = velocities and bool(np.any(atoms.get_momenta()))
        fixed = [atom for constraint in atoms.constraints for atom in _held(constraint)]
        return cls(System.from_ase(atoms), atoms.get_velocities() * FEMTOSECOND if moving else None, tuple(fixed))


def _held(constraint: Any) -> list[int]:
    """Atoms that a constraint of ASE keeps where they are."""
    name = type(constraint).__name__
    if isinstance(constraint, FixAtoms):
        return np.atleast_1d(constraint.index).tolist()
    if isinstance(constraint, FixCartesian):
        if np.all(constraint.mask):
            return np.atleast_1d(constraint.index).tolist()
        if not np.any(constraint.mask):
            return []
        name += ", which holds atoms along some axes"
    raise InputError(
        f"the structure has a constraint of kind {name}; only atoms that do not move at all (FixAtoms) are understood. "
        "Remove it."
    )


class State(eqx.Module):
    """Immutable state of one run; saved and read back, it continues bit for bit.

    Lengths in Å, masses in u, energies in eV and hence time in Å·√(u/eV). All numbers are data: one compiled program
    serves every time step, temperature and seed, and a leading axis makes it a batch of replicas.
    """

    positions: Float[Array, "atoms 3"]
    """Relative to an origin which the host keeps in float64; never wrapped into the cell."""
    velocities: Float[Array, "atoms 3"]
    masses: Float[Array, "atoms 1"]
    cell: Float[Array, "3 3"] | None
    forces: Float[Array, "atoms 3"]
    """At `positions`."""
    energy: Float[Array, ""]
    """Potential energy at `positions`."""
    virial: Float[Array, "3 3"] | None
    """Σ r ⊗ ∂E/∂r = V·σ at `positions`, eV; None unless the structure is periodic along all three axes, and more than a
    molecule in a cell that stands for vacuum."""
    closest: Float[Array, ""]
    """Smallest distance between two atoms."""
    overflow: Int[Array, ""]
    """Not zero: the neighbour list overflowed in some step so far, and this state is invalid; why, says
    `neighbors/overflow.py`."""
    timestep: Float[Array, ""]
    step: Int[Array, ""]
    key: PRNGKeyArray
    """Key of the run; the noise of a step is a function of it and of the step number."""
    freedom: Float[Array, ""]
    """Degrees of freedom among which the kinetic energy is shared."""
    mobile: Bool[Array, "atoms 1"] | None
    """Which atoms move; None: all of them."""
    thermostat: Any
    """Variables of the ensemble: its parameters, its own coordinates, the heat it has delivered."""
    exchanged: Any = None
    """What exchanges with other replicas have done; None where there are none."""
    verlet: VerletState | None = None
    """Reference and candidates of Verlet lists; None for replicas, which search in every step."""


@runtime_checkable
class Integrator(Protocol):
    """How a state advances. Immutable, hashable, holds what the user chose; the numbers it needs go into the state."""

    @property
    def start_temperature_K(self) -> float | None:
        """Temperature of velocities drawn at the start; None: the user has to say."""
        ...

    @property
    def fix_center(self) -> bool:
        """Whether the centre of mass rests."""
        ...

    @property
    def moves_cell(self) -> bool:
        """Whether the cell changes: the structure has to be periodic along three axes, and no atom may be fixed."""
        ...

    @property
    def exchangeable(self) -> bool:
        """Whether configurations may change between two temperatures at once: the thermostat holds one, and remembers
        nothing of the one before."""
        ...

    def degrees_of_freedom(self, start: Snapshot) -> int:
        """Of the ensemble sampled."""
        ...

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        """Remove from given velocities what the ensemble keeps at zero."""
        ...

    def init(self, state: State, timestep_fs: float) -> State:
        """Add the variables of the ensemble; runs on the host so that coefficients are computed in float64."""
        ...

    def step(self, state: State, forces: Forces) -> State:
        """One time step with one evaluation of the forces, by `operators.refresh`, which also keeps what belongs to the
        neighbour lists. The loop counts the step."""
        ...

    def conserved(self, state: State) -> Float[Array, ""]:
        """The quantity that stays constant along an exact trajectory, eV."""
        ...


def origin_of(system: System) -> Float[np.ndarray, " 3"]:
    """Where positions are counted from: the centre of the structure, in whole Å so that the shift is exact."""
    return np.round(system.positions.mean(axis=0))


def make_state(
    snapshot: Snapshot, origin: Float[np.ndarray, " 3"], timestep_fs: float, seed: int, freedom: int, dtype: object
) -> State:
    """State at step 0 with forces still unknown (zero).

    Args:
        snapshot: structure and velocities.
        origin: see `origin_of`.
        timestep_fs: converted to internal units in float64 and rounded once.
        seed: of the thermostat's noise.
        freedom: degrees of freedom.
        dtype: of all floating-point arrays.
    """
    system = snapshot.system
    velocities = np.zeros_like(system.positions) if snapshot.velocities is None else snapshot.velocities

    def array(values: Any) -> Array:
        return jnp.asarray(np.asarray(values, np.float64), dtype)  # type: ignore[arg-type]

    return State(
        positions=array(system.positions - origin),
        velocities=array(velocities / FEMTOSECOND),
        masses=array(system.masses[:, None]),
        cell=None if system.cell is None else array(system.cell),
        forces=array(np.zeros_like(system.positions)),
        energy=array(0.0),
        virial=array(np.zeros((3, 3))) if all(system.pbc) else None,
        closest=array(0.0),
        overflow=jnp.zeros((), jnp.int32),
        timestep=array(timestep_fs * FEMTOSECOND),
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(seed, impl="threefry2x32"),
        freedom=array(max(freedom, 1)),
        mobile=_mobile(snapshot),
        thermostat=None,
    )


def _mobile(snapshot: Snapshot) -> Array | None:
    if not snapshot.fixed:
        return None
    mobile = np.ones((len(snapshot.system), 1), bool)
    mobile[list(snapshot.fixed)] = False
    return jnp.asarray(mobile)


def snapshot_of(state: State, system: System, origin: Float[np.ndarray, " 3"]) -> Snapshot:
    """Structure and velocities of a state on the host."""
    positions, velocities, cell, mobile = jax.device_get((state.positions, state.velocities, state.cell, state.mobile))
    fixed = () if mobile is None else tuple(np.flatnonzero(~mobile[:, 0]).tolist())
    moved = replace(
        system,
        positions=np.asarray(positions, np.float64) + origin,
        cell=None if cell is None else np.asarray(cell, np.float64),
    )
    return Snapshot(moved, np.asarray(velocities, np.float64) * FEMTOSECOND, fixed)
