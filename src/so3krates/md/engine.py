"""The engine behind `simulate`: begin, chunk after chunk, commit, stop."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._interrupts import Interrupts
from so3krates._typing import Float
from so3krates.evaluation import Topology
from so3krates.io.trajectory import OBSERVABLES, WIDE, Frames
from so3krates.md.checkpoint import Checkpoint
from so3krates.md.langevin import Langevin
from so3krates.md.loop import Outcome, Problem, advance, first_forces, first_frame
from so3krates.md.monitor import Status, make_watch, sentence
from so3krates.md.nve import NVE
from so3krates.md.output import MemoryOutput, Output
from so3krates.md.progress import Pace, Report
from so3krates.md.run import Run, RunStopped
from so3krates.md.settings import Settings
from so3krates.md.state import Snapshot, State, make_state, origin_of, snapshot_of
from so3krates.md.summary import summarize
from so3krates.md.velocities import kinetic_energy, maxwell_boltzmann
from so3krates.neighbors.lists import Neighbors
from so3krates.potential import Potential
from so3krates.rollout import run_chunk
from so3krates.system import System
from so3krates.units import BOLTZMANN, FEMTOSECOND

CHUNK_SECONDS = 2.0
"""Aimed duration of a chunk: frames are written and interrupts heard this often."""
RECORD_BYTES = 8 * 2**20
"""Upper limit for the frames a chunk holds on the device."""
THERMALISE_FRICTION_PER_PS = 5.0
THERMALISE_FRAMES = 400


@dataclass(frozen=True, eq=False)
class Engine:
    """One run: what stays fixed, and the moves from chunk to chunk."""

    problem: Problem
    settings: Settings
    system: System
    origin: Float[np.ndarray, " 3"]
    neighbors: Neighbors
    interrupts: Interrupts
    report: Callable[[Report], None] | None

    @classmethod
    def of(
        cls,
        potential: Potential,
        system: System,
        settings: Settings,
        neighbors: Neighbors | None,
        interrupts: Interrupts,
        report: Callable[[Report], None] | None,
    ) -> "Engine":
        watch = make_watch(settings.monitor, system, potential.dtype)
        topology = Topology.of(system, potential.dtype)
        problem = Problem(potential.fast, topology, settings.integrator, watch, settings.save_forces)
        neighbors = neighbors or potential.allocate(system)
        return cls(problem, settings, system, origin_of(system), neighbors, interrupts, report)

    def template(self, snapshot: Snapshot) -> State:
        """A state of the right structure, shapes and types."""
        integrator = self.settings.integrator
        freedom = integrator.degrees_of_freedom(self.system)
        state = make_state(
            snapshot, self.origin, self.settings.timestep_fs, self.settings.seed, freedom, self.settings.dtype
        )
        return integrator.init(state, self.settings.timestep_fs)

    def begin(self, snapshot: Snapshot, output: Output) -> Checkpoint:
        """Velocities, thermalisation, first forces, first frame, first checkpoint."""
        temperature = self.settings.initial_temperature_K
        integrator = self.settings.integrator
        if temperature is not None:
            fixed = integrator.fix_center
            drawn = maxwell_boltzmann(self.system, temperature, self.settings.seed, fix_center=fixed)
            snapshot = Snapshot(snapshot.system, drawn)
            if self.settings.thermalise_steps:
                snapshot = self._thermalised(snapshot, temperature)
        state, neighbors, retries = self._with_forces(self.template(integrator.prepare(snapshot)))
        first = first_frame(self.problem, state)
        checkpoint = Checkpoint(state, neighbors, self.origin, 1, retries)
        output.add(self._frames(first))
        if int(first.status):
            raise self._stopped(first, checkpoint, output, 0.0)
        output.checkpoint(checkpoint)
        return checkpoint

    def run(self, checkpoint: Checkpoint, output: Output) -> tuple[Snapshot, Run]:
        """Chunk after chunk to the end."""
        pace = Pace(CHUNK_SECONDS, (self._capacity - 1) * self.settings.save_every)
        step = int(checkpoint.state.step)
        if step < self.settings.steps:
            # No step: this compiles, so that the chunks show what a step takes.
            self._chunk(checkpoint, 0)
        while step < self.settings.steps:
            count = pace.next(self.settings.steps - step)
            outcome, checkpoint = self._chunk(checkpoint, count)
            pace.computed(count)
            output.add(self._frames(outcome))
            if int(outcome.status):
                raise self._stopped(outcome, checkpoint, output, pace.steps_per_second)
            output.checkpoint(checkpoint)
            step = int(checkpoint.state.step)
            pace.written(count)
            self._tell(checkpoint.state, pace)
            if self.interrupts.requested and step < self.settings.steps:
                raise KeyboardInterrupt(f"after step {step} of {self.settings.steps}; resume goes on from there.")
        final = snapshot_of(checkpoint.state, self.system, checkpoint.origin)
        return final, self._result(checkpoint, output, pace.steps_per_second)

    def _chunk(self, checkpoint: Checkpoint, count: int) -> tuple[Outcome, Checkpoint]:
        every = jnp.asarray(self.settings.save_every, jnp.int32)

        def compiled(state: State, neighbors: Neighbors) -> tuple:
            return advance(self.problem, state, neighbors, jnp.asarray(count, jnp.int32), every, self._capacity)

        done = run_chunk(compiled, checkpoint.state, checkpoint.neighbors, self._enlarged)
        outcome = jax.device_get(done.record)
        frames = checkpoint.frames + int(outcome.frames)
        retries = checkpoint.retries + done.retries
        return outcome, Checkpoint(done.state, done.neighbors, self.origin, frames, retries)

    def _with_forces(self, state: State) -> tuple[State, Neighbors, int]:
        def compiled(state: State, neighbors: Neighbors) -> tuple:
            fresh = first_forces(self.problem, state, neighbors)
            return fresh, None, fresh.overflow

        done = run_chunk(compiled, state, self.neighbors, self._enlarged)
        return done.state, done.neighbors, done.retries

    def _enlarged(self, state: State, neighbors: Neighbors, overflow: int) -> Neighbors:
        return neighbors.larger(snapshot_of(state, self.system, self.origin).system, overflow)

    def _thermalised(self, snapshot: Snapshot, temperature: float) -> Snapshot:
        """A state from the end of a Langevin run in memory, watched by the same monitor.

        The energy a microcanonical run begins with decides its temperature for good, and that of few atoms fluctuates
        widely: such a run begins with the frame whose energy, once it is prepared, is nearest to the mean.
        """
        settings = self.settings
        bath = Langevin(
            temperature_K=temperature,
            friction_per_ps=THERMALISE_FRICTION_PER_PS,
            fix_center=settings.integrator.fix_center,
        )
        noise = int(np.random.SeedSequence([settings.seed, 1]).generate_state(1)[0])
        steps = settings.thermalise_steps
        inner = replace(
            settings,
            integrator=bath,
            seed=noise,
            steps=steps,
            save_every=max(1, steps // THERMALISE_FRAMES),
            initial_temperature_K=None,
            thermalise_steps=0,
        )
        engine = replace(self, problem=self.problem._replace(integrator=bath), settings=inner)
        memory = MemoryOutput()
        try:
            final, _ = engine.run(engine.begin(snapshot, memory), memory)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("while thermalising; begin again, since nothing was recorded yet.") from interrupt
        except RunStopped as error:
            raise RunStopped(f"while thermalising, {error}", error.reason, error.step, error.time_fs, None) from error
        if isinstance(settings.integrator, NVE):
            return _of_mean_energy(memory.frames(), self.system, settings.integrator, temperature)
        return final

    @property
    def _capacity(self) -> int:
        row = 3 * len(self.system) * (3 if self.settings.save_forces else 2) + 8
        return int(np.clip(RECORD_BYTES // (row * np.dtype(self.settings.dtype).itemsize), 8, 16384))

    def _frames(self, outcome: Outcome, *, failed: bool = False) -> Frames:
        """Rows of a record on the host, in outside units."""
        record = jax.device_get(outcome.record)
        count = int(outcome.frames)
        rows = slice(count, count + 1) if failed else slice(0, count)
        far = float(np.abs(self.system.positions).max()) > WIDE
        positions = np.asarray(record.positions[rows], np.float64) + self.origin
        step = np.asarray(record.step[rows], np.int64)
        return Frames(
            step=step,
            time_fs=step * self.settings.timestep_fs,
            positions=positions.astype(np.float64 if far else self.settings.dtype),
            velocities=record.velocities[rows] * record.velocities.dtype.type(FEMTOSECOND),
            forces=None if record.forces is None else record.forces[rows],
            **{name: np.asarray(getattr(record, name)[rows], np.float64) for name in OBSERVABLES},
        )

    def _tell(self, state: State, pace: Pace) -> None:
        if self.report is None:
            return
        kinetic = 0.5 * float(np.sum(np.asarray(state.masses, np.float64) * np.asarray(state.velocities) ** 2))
        speed = pace.steps_per_second
        self.report(
            Report(
                step=int(state.step),
                steps=self.settings.steps,
                temperature_K=2.0 * kinetic / (float(state.freedom) * BOLTZMANN),
                total_energy_eV=kinetic + float(state.energy) + self.settings.reference_energy,
                steps_per_second=speed,
                ns_per_day=speed * self.settings.timestep_fs * 0.0864,
            )
        )

    def _result(self, checkpoint: Checkpoint, output: Output, speed: float) -> Run:
        summary = summarize(
            output.series(),
            steps=int(checkpoint.state.step),
            atoms=len(self.system),
            degrees_of_freedom=int(checkpoint.state.freedom),
            steps_per_second=speed,
            timestep_fs=self.settings.timestep_fs,
            retries=checkpoint.retries,
        )
        return Run(summary, output.path, output.frames())

    def _stopped(self, outcome: Outcome, checkpoint: Checkpoint, output: Output, speed: float) -> RunStopped:
        """Dump the frame that failed and say what happened."""
        status, step = Status(int(outcome.status)), int(checkpoint.state.step)
        what = sentence(status, self.problem.watch, checkpoint.state, self.system)
        dumped = output.dump(self._frames(outcome, failed=True))
        where = "" if dumped is None else f"; the last good frames and this one are in '{dumped}'"
        time_fs = step * self.settings.timestep_fs
        run = self._result(checkpoint, output, speed) if len(output.series()["step"]) else None
        return RunStopped(
            f"{self.system.formula} at step {step} ({time_fs * 1e-3:.4f} ps): {what}{where}.",
            status.reason,
            step,
            time_fs,
            run,
        )


def _of_mean_energy(frames: Frames, system: System, integrator: NVE, temperature: float) -> Snapshot:
    """Of the second half of the frames, the one whose energy is nearest to ⟨U⟩ + N_f k_BT/2.

    Its kinetic energy is that after `prepare`, since what is removed there takes a share along.
    """
    late = frames[slice(len(frames) // 2, None)]
    snapshots = [
        integrator.prepare(Snapshot(replace(system, positions=np.asarray(positions, np.float64)), velocities))
        for positions, velocities in zip(late.positions, late.velocities, strict=True)
    ]
    energy = late.potential_energy + np.array([_kinetic(snapshot) for snapshot in snapshots])
    mean = late.potential_energy.mean() + 0.5 * integrator.degrees_of_freedom(system) * BOLTZMANN * temperature
    return snapshots[int(np.argmin(np.abs(energy - mean)))]


def _kinetic(snapshot: Snapshot) -> float:
    assert snapshot.velocities is not None
    return kinetic_energy(snapshot.system, snapshot.velocities)
