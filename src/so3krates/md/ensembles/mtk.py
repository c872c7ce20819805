"""Constant pressure by extended dynamics (Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117, 1996).

The isotropic cell has a velocity ε̇ = V̇/3V and a mass W; a Nosé–Hoover chain is coupled to the atoms, another to the
cell. Splitting: both chains, cell, velocities, positions, and back.

W is not the (N_f + 3) k_BT τ² of the paper, with which only a gas oscillates with about the period asked for: the cell
of a stiff solid would move faster than its atoms, part from them, and keep the amplitude it began with. With the
compressibility β in it, W ε̈ = −9V/β ε has the same period in a gas and in a solid.
"""

from dataclasses import replace
from math import pi

import equinox as eqx
import jax.numpy as jnp
from pydantic import Field, PositiveInt

from so3krates._typing import Array, Float
from so3krates.md.ensembles.chain import Chain, half_step, make_chain
from so3krates.md.ensembles.heat import Heat
from so3krates.md.ensembles.operators import kinetic_energy, refresh, scale, volume
from so3krates.md.ensembles.scaling import ConstantPressure
from so3krates.md.ensembles.schedule import Schedule
from so3krates.md.ensembles.slow import Slow
from so3krates.md.state import Forces, State
from so3krates.units import BOLTZMANN, FEMTOSECOND, GPA


class Cylinder(eqx.Module):
    """Variables of chains and cell."""

    chain: Chain
    """Of the atoms."""
    cell_chain: Chain
    thermal: Schedule
    """k_BT."""
    pressure: Schedule
    """p, eV/Å³."""
    rate: Float[Array, ""]
    """ε̇."""
    mass: Float[Array, ""]
    """W = 9 V₀ τ²/β, with τ = period/2π."""
    work: Heat
    """Of the pressure from outside, and of the centre of mass."""


class MTK(ConstantPressure):
    """Constant temperature and pressure without noise, for structures that are periodic along all three axes; the cell
    is scaled as a whole. The centre of mass rests, 3N − 3 degrees of freedom; its own pressure k_BT/V is added.

    The volume oscillates with about the period of the barostat where the compressibility is right, otherwise with that
    times the root of the true one over the given one. It should be longer than the periods of the atoms. The system has
    to be ergodic by itself; far from equilibrium, begin with `StochasticCellRescaling`, whose volume relaxes instead.
    """

    scaled_by = "a Nosé–Hoover chain"

    thermostat_period_fs: Slow = Field(default=100.0, description="period of the chains, fs")
    barostat_period_fs: Slow = Field(default=1000.0, description="period of the cell, fs")
    chain: PositiveInt = Field(default=3, description="number of links of each chain")

    def init(self, state: State, timestep_fs: float) -> State:
        dtype, start = state.positions.dtype, BOLTZMANN * self.start_temperature_K
        assert state.cell is not None
        tau = self.barostat_period_fs * FEMTOSECOND / (2.0 * pi)
        stiffness = 9.0 * volume(state.cell) * GPA / self.compressibility_per_GPa
        cylinder = Cylinder(
            chain=make_chain(self.chain, state.freedom, start, self.thermostat_period_fs, dtype),
            cell_chain=make_chain(self.chain, 1.0, start, self.barostat_period_fs, dtype),
            thermal=self.thermal(timestep_fs, dtype),
            pressure=self.pressure(timestep_fs, dtype),
            rate=jnp.zeros((), dtype),
            mass=stiffness * tau * tau,
            work=Heat.zero(dtype),
        )
        return replace(state, thermostat=cylinder)

    def step(self, state: State, forces: Forces) -> State:
        state = _kick(_pull(_half_chains(state)))
        state = refresh(_drift(state), forces)
        return _half_chains(_pull(_kick(state)))

    def conserved(self, state: State) -> Float[Array, ""]:
        """Energy of atoms, cell and chains less the work done from outside: at constant temperature and pressure
        U + K + pV + Wε̇²/2 + both chains − k_BT ln V."""
        own: Cylinder = state.thermostat
        cell = 0.5 * own.mass * own.rate * own.rate
        baths = own.chain.energy + own.cell_chain.energy
        return state.energy + kinetic_energy(state) + cell + baths - own.work.total


def _half_chains(state: State) -> State:
    """Both chains for half a step."""
    own: Cylinder = state.thermostat
    thermal = own.thermal.at(state.step)
    doubled = own.mass * own.rate * own.rate
    cell_chain, slowed = half_step(own.cell_chain, doubled, 1.0, thermal, state.timestep)
    chain, factor = half_step(own.chain, 2.0 * kinetic_energy(state), state.freedom, thermal, state.timestep)
    own = replace(own, chain=chain, cell_chain=cell_chain, rate=own.rate * slowed)
    return scale(replace(state, thermostat=own), factor)


def _pull(state: State) -> State:
    """Half a kick of the cell: W ε̈ = (1 + 3/N_f)·2K − tr(V·σ) − 3pV + 3k_BT; the last is due to the centre of mass."""
    own: Cylinder = state.thermostat
    assert state.virial is not None and state.cell is not None
    inside = (1.0 + 3.0 / state.freedom) * 2.0 * kinetic_energy(state) - jnp.trace(state.virial)
    outside = 3.0 * (own.pressure.at(state.step) * volume(state.cell) - own.thermal.at(state.step))
    rate = own.rate + 0.5 * state.timestep * (inside - outside) / own.mass
    return replace(state, thermostat=replace(own, rate=rate))


def _kick(state: State) -> State:
    """Half a kick of the atoms, v̇ = F/m − (1 + 3/N_f) ε̇ v solved exactly."""
    drag = (1.0 + 3.0 / state.freedom) * state.thermostat.rate * state.timestep
    push = (0.5 * state.timestep) * jnp.exp(-0.25 * drag) * _sinhc(0.25 * drag)
    velocities = jnp.exp(-0.5 * drag) * state.velocities + push * state.forces / state.masses
    return replace(state, velocities=velocities)


def _drift(state: State) -> State:
    """Atoms and cell move for a step, ẋ = v + ε̇ x solved exactly."""
    own: Cylinder = state.thermostat
    assert state.cell is not None
    turn = own.rate * state.timestep
    growth = jnp.exp(turn)
    way = state.timestep * jnp.exp(0.5 * turn) * _sinhc(0.5 * turn)
    was, cell = volume(state.cell), growth * state.cell
    now = volume(cell)
    moved = replace(state, positions=growth * state.positions + way * state.velocities, cell=cell)
    work = own.thermal.at(state.step) * 3.0 * turn - own.pressure.at(state.step) * (now - was)
    return replace(moved, thermostat=replace(own, work=own.work.plus(work)))


def _sinhc(x: Float[Array, ""]) -> Float[Array, ""]:
    """sinh(x)/x for the small arguments that occur: to the tenth order."""
    s = x * x
    return 1.0 + s / 6.0 * (1.0 + s / 20.0 * (1.0 + s / 42.0 * (1.0 + s / 72.0 * (1.0 + s / 110.0))))
