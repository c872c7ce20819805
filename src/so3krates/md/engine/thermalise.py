"""Thermalisation before a run: Langevin dynamics in memory, and which of its states the run begins with."""

from dataclasses import replace

import numpy as np

from so3krates.io.trajectory import Frames
from so3krates.md.ensembles.langevin import Langevin
from so3krates.md.ensembles.nve import NVE
from so3krates.md.ensembles.velocities import kinetic_energy
from so3krates.md.records.recording import Recording
from so3krates.md.records.run import RunStopped
from so3krates.md.records.settings import Settings
from so3krates.md.state import Snapshot
from so3krates.units import BOLTZMANN

FRICTION_PER_PS = 5.0
FRAMES = 400


def settings_for(settings: Settings) -> Settings:
    """The run that thermalises for another one, at the temperature that its velocities are drawn with."""
    assert settings.initial_temperature_K is not None
    bath = Langevin(
        temperature_K=settings.initial_temperature_K,
        friction_per_ps=FRICTION_PER_PS,
        fix_center=settings.integrator.fix_center,
    )
    every = max(1, settings.thermalise_steps // FRAMES)
    return replace(
        settings,
        integrator=bath,
        seed=int(np.random.SeedSequence([settings.seed, 1]).generate_state(1)[0]),
        steps=settings.thermalise_steps,
        recording=Recording(),
        save_every=every,
        scalars_every=every,
        initial_temperature_K=None,
        thermalise_steps=0,
    )


def chosen(final: Snapshot, frames: Frames, start: Snapshot, settings: Settings) -> Snapshot:
    """The state that a run begins with.

    The energy a microcanonical run begins with decides its temperature for good, and that of few atoms fluctuates
    widely: such a run begins with the frame of the second half whose energy, once it is prepared, is nearest to the
    mean ⟨U⟩ + N_f k_BT/2. Others begin with the last state.

    Args:
        final: the last state.
        frames: of the thermalisation.
        start: what was thermalised.
        settings: of the run.
    """
    integrator, temperature = settings.integrator, settings.initial_temperature_K
    if not isinstance(integrator, NVE):
        return final
    assert temperature is not None
    late = frames[slice(len(frames) // 2, None)]
    assert late.velocities is not None
    # Energies are those after `prepare`, since what is removed there takes a share along.
    snapshots = [
        integrator.prepare(replace(start, system=start.system.moved(positions), velocities=velocities))
        for positions, velocities in zip(late.positions, late.velocities, strict=True)
    ]
    energy = late.potential_energy + np.array([_kinetic(snapshot) for snapshot in snapshots])
    mean = late.potential_energy.mean() + 0.5 * integrator.degrees_of_freedom(start) * BOLTZMANN * temperature
    return snapshots[int(np.argmin(np.abs(energy - mean)))]


def stopped(error: RunStopped) -> RunStopped:
    """What ended a thermalisation, as what ends the run."""
    return RunStopped(f"while thermalising, {error}", error.reason, error.step, error.time_fs, None)


def _kinetic(snapshot: Snapshot) -> float:
    assert snapshot.velocities is not None
    return kinetic_energy(snapshot.system, snapshot.velocities)
