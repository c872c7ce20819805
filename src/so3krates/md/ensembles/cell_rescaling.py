"""Constant pressure by stochastic cell rescaling.

Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020), for the volume; Del Tatto, Raiteri, Bernetti and Bussi, Appl.
Sci. 12, 1139 (2022), for the shape. The cell follows a first-order stochastic equation: H ← H·M, M = exp(η) to second
order,

    η = λ·P[Σ m v ⊗ v − V·σ − (p V − 2 k_BT)·1] + √(2 λ k_BT)·P[ξ],   λ = β Δt/(3 V₀ τ),

with a matrix ξ of normal numbers, β the compressibility, τ the time constant and V₀ the volume at the start. P keeps
the trace (isotropic), the diagonal (anisotropic) or the symmetric part (triclinic). In logarithmic strain the noise is
the same everywhere, so this is exact for the distribution dV·exp(−(U + K + pV)/k_BT) in the limit of small steps; the
authors take V in place of V₀, which only changes how fast the volume moves. Of the two k_BT, one belongs to that
measure, and one is the pressure of the centre of mass, which rests here but stands anywhere in the cell.
Where the shape moves, the measure is dL_x dL_y dL_z (anisotropic), or dH/V² with the nine elements of H (triclinic):
volumes are distributed alike for all couplings, while dH alone would give an ideal gas V^(N + 2).
"""

from dataclasses import replace
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from pydantic import Field, PositiveFloat

from so3krates._typing import Array, Float
from so3krates.md.ensembles.csvr import Rescaling, make_rescaling, rescale
from so3krates.md.ensembles.heat import Heat
from so3krates.md.ensembles.noise import normal
from so3krates.md.ensembles.operators import drift, kick, kinetic_energy, kinetic_tensor, refresh, stretch, volume
from so3krates.md.ensembles.scaling import ConstantPressure
from so3krates.md.ensembles.schedule import Schedule
from so3krates.md.ensembles.slow import Slow
from so3krates.md.state import Forces, State
from so3krates.units import GPA

Coupling = Literal["isotropic", "anisotropic", "triclinic"]

NOISE_STREAM = 1
"""The thermostat has the other."""
THERMAL_SHARES = 2.0
"""How many k_BT: see above."""


class Piston(eqx.Module):
    """Variables of thermostat and barostat."""

    rescaling: Rescaling
    mobility: Float[Array, ""]
    """λ, 1/eV."""
    pressure: Schedule
    """p, eV/Å³."""
    heat: Heat
    """Energy that the barostat and the pressure from outside have delivered so far."""


class StochasticCellRescaling(ConstantPressure):
    """Constant temperature and pressure, for structures that are periodic along all three axes.

    The thermostat is that of `CSVR`; the centre of mass rests, 3N − 3 degrees of freedom. Volumes have the right
    fluctuations, unlike those of a Berendsen barostat. The compressibility decides, with the time constant, how fast
    the volume moves, and nothing else: an estimate is enough.

    Coupling: `isotropic` scales the cell (liquids); `anisotropic` changes lengths along x, y and z independently;
    `triclinic` changes angles too (solids). A liquid has no restoring force against a change of shape.
    """

    scaled_by = "velocity rescaling"

    coupling: Coupling = Field(default="isotropic", description="what of the cell may change")
    barostat_time_fs: Slow = Field(default=1000.0, description="time constant τ of the volume, fs")
    thermostat_time_fs: PositiveFloat = Field(default=100.0, description="time constant of the thermostat, fs")

    def init(self, state: State, timestep_fs: float) -> State:
        assert state.cell is not None
        dtype = state.positions.dtype
        rate = self.compressibility_per_GPa / GPA * timestep_fs / self.barostat_time_fs
        piston = Piston(
            rescaling=make_rescaling(self.thermal(timestep_fs, dtype), timestep_fs / self.thermostat_time_fs),
            mobility=jnp.asarray(rate / (3.0 * volume(state.cell)), dtype),
            pressure=self.pressure(timestep_fs, dtype),
            heat=Heat.zero(dtype),
        )
        return replace(state, thermostat=piston)

    def step(self, state: State, forces: Forces) -> State:
        state = drift(kick(state, 0.5), 0.5)
        before = self._pull(state)
        strain = self._strain(state, before)
        moved = drift(stretch(state, _near_exponential(strain)), 0.5)
        moved = refresh(moved, forces)
        moved = kick(self._settled(state, moved, strain, before), 0.5)
        moved, rescaling = rescale(moved, moved.thermostat.rescaling)
        return replace(moved, thermostat=replace(moved.thermostat, rescaling=rescaling))

    def conserved(self, state: State) -> Float[Array, ""]:
        """Total energy less what thermostat, barostat and the pressure from outside have delivered; at constant
        temperature and pressure that is the enthalpy less 2 k_BT ln V and the heat of both baths."""
        piston: Piston = state.thermostat
        return state.energy + kinetic_energy(state) - piston.heat.total - piston.rescaling.heat.total

    def _pull(self, state: State) -> Float[Array, "3 3"]:
        """Minus the derivative, with respect to η, of what the cell is distributed by."""
        piston: Piston = state.thermostat
        assert state.virial is not None and state.cell is not None
        outside = piston.pressure.at(state.step) * volume(state.cell)
        own = THERMAL_SHARES * piston.rescaling.thermal.at(state.step)
        return self._kept(kinetic_tensor(state) - state.virial - (outside - own) * jnp.eye(3, dtype=own.dtype))

    def _strain(self, state: State, pull: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
        piston: Piston = state.thermostat
        noise = self._kept(normal(state.key, state.step, (3, 3), pull.dtype, NOISE_STREAM))
        spread = jnp.sqrt(2.0 * piston.mobility * piston.rescaling.thermal.at(state.step))
        return piston.mobility * pull + spread * noise

    def _kept(self, tensor: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
        """P: orthogonal projection onto the strains that the coupling allows."""
        match self.coupling:
            case "isotropic":
                return jnp.trace(tensor) / 3.0 * jnp.eye(3, dtype=tensor.dtype)
            case "anisotropic":
                return jnp.diag(jnp.diag(tensor))
            case "triclinic":
                return 0.5 * (tensor + tensor.T)

    def _settled(self, old: State, new: State, strain: Float[Array, "3 3"], before: Float[Array, "3 3"]) -> State:
        """Count what was delivered: by the noise, from the probabilities of the move and of its reverse (Bernetti and
        Bussi, eq. 9), and by the pressure from outside, with the terms in ln V."""
        piston: Piston = new.thermostat
        after = self._pull(new)
        bath = 0.25 * piston.mobility * (jnp.sum(before * before) - jnp.sum(after * after))
        bath = bath - 0.5 * jnp.sum(strain * (before + after))
        assert old.cell is not None and new.cell is not None
        was, now = volume(old.cell), volume(new.cell)
        work = THERMAL_SHARES * piston.rescaling.thermal.at(old.step) * jnp.log(now / was)
        work = work - piston.pressure.at(old.step) * (now - was)
        return replace(new, thermostat=replace(piston, heat=piston.heat.plus(bath + work)))


def _near_exponential(strain: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """(1 − η/2)⁻¹(1 + η/2), which like exp(η) is undone by −η."""
    unit = jnp.eye(3, dtype=strain.dtype)
    return jnp.linalg.inv(unit - 0.5 * strain) @ (unit + 0.5 * strain)
