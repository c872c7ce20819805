"""NVE: constant energy by velocity Verlet."""

from dataclasses import replace

from pydantic import Field

from so3krates._typing import Array, Float
from so3krates.config import Config
from so3krates.md.ensembles.operators import drift, kick, kinetic_energy, refresh
from so3krates.md.ensembles.velocities import center_rests, degrees_of_freedom, without_center, without_rotation
from so3krates.md.state import Forces, Snapshot, State


class NVE(Config):
    """Velocity Verlet (B A B): symplectic, time-reversible, second order.

    The centre of mass rests, so the kinetic energy is shared by 3N − 3 degrees of freedom; 3N − 6 with `fix_rotation`,
    which removes the angular momentum at the start. Both are conserved. With `fix_center=False` they are 3N if the
    centre moves at the start, as it does with drawn velocities.
    """

    fix_center: bool = Field(default=True, description="remove the motion of the centre of mass at the start")
    fix_rotation: bool = Field(
        default=False, description="remove the angular momentum at the start; isolated molecules only"
    )

    @property
    def moves_cell(self) -> bool:
        return False

    @property
    def start_temperature_K(self) -> None:
        return None

    @property
    def exchangeable(self) -> bool:
        return False

    def degrees_of_freedom(self, start: Snapshot) -> int:
        rests = self.fix_center or (start.velocities is not None and center_rests(start.system, start.velocities))
        return degrees_of_freedom(start.system, start.fixed, fix_center=rests, fix_rotation=self.fix_rotation)

    def prepare(self, snapshot: Snapshot) -> Snapshot:
        system, velocities = snapshot.system, snapshot.velocities
        if velocities is not None and self.fix_center and not snapshot.fixed:
            velocities = without_center(system, velocities)
        if velocities is not None and self.fix_rotation:
            velocities = without_rotation(system, velocities)
        return replace(snapshot, velocities=velocities)

    def init(self, state: State, timestep_fs: float) -> State:
        del timestep_fs
        return state

    def step(self, state: State, forces: Forces) -> State:
        state = kick(state, 0.5)
        state = drift(state, 1.0)
        state = refresh(state, forces)
        return kick(state, 0.5)

    def conserved(self, state: State) -> Float[Array, ""]:
        """Total energy."""
        return state.energy + kinetic_energy(state)
