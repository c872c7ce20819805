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
from so3krates.md.committee import Committee
from so3krates.md.findings import Findings
from so3krates.md.inspection import Inspector, Stop
from so3krates.md.langevin import Langevin
from so3krates.md.loop import Outcome, Problem, advance, first_forces, first_frame
from so3krates.md.monitor import Status
from so3krates.md.nve import NVE
from so3krates.md.output import MemoryOutput, Output
from so3krates.md.progress import Pace, Report
from so3krates.md.reports import sentence
from so3krates.md.run import Run, RunStopped
from so3krates.md.settings import Settings
from so3krates.md.state import Snapshot, State, make_state, origin_of, snapshot_of
from so3krates.md.summary import summarize
from so3krates.md.velocities import kinetic_energy, maxwell_boltzmann
from so3krates.md.watch import make_watch
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
    inspector: Inspector

    @classmethod
    def of(
        cls,
        potential: Potential,
        system: System,
        settings: Settings,
        neighbors: Neighbors | None,
        interrupts: Interrupts,
        report: Callable[[Report], None] | None,
        committee: Committee | None = None,
    ) -> "Engine":
        watch = make_watch(settings.monitor, system, potential.dtype)
        topology = Topology.of(system, potential.dtype)
        keep_forces = settings.save_forces or committee is not None
        unknown = jnp.asarray(jnp.nan, potential.dtype)
        problem = Problem(potential.fast, topology, settings.integrator, watch, keep_forces, unknown)
        neighbors = neighbors or potential.allocate(system)
        inspector = Inspector(settings.monitor, system, settings.frame_fs, committee)
        return cls(problem, settings, system, origin_of(system), neighbors, interrupts, report, inspector)

    def template(self, snapshot: Snapshot) -> State:
        """A state of the right structure, shapes and types."""
        integrator = self.settings.integrator
        freedom = integrator.degrees_of_freedom(snapshot)
        state = make_state(
            snapshot, self.origin, self.settings.timestep_fs, self.settings.seed, freedom, self.settings.dtype
        )
        return integrator.init(state, self.settings.timestep_fs)

    def begin(self, snapshot: Snapshot, output: Output) -> Checkpoint:
        """Velocities, thermalisation, first forces, first frame, first checkpoint."""
        temperature = self.settings.initial_temperature_K
        integrator = self.settings.integrator
        if temperature is not None:
            drawn = maxwell_boltzmann(
                self.system, temperature, self.settings.seed, fix_center=integrator.fix_center, fixed=snapshot.fixed
            )
            snapshot = replace(snapshot, velocities=drawn)
            if self.settings.thermalise_steps:
                snapshot = self._thermalised(snapshot, temperature)
        state, neighbors, retries = self._with_forces(self.template(integrator.prepare(snapshot)))
        first = first_frame(self.problem, state)
        reference = float(jax.device_get(first.record.conserved[0]))
        checkpoint = Checkpoint(state, neighbors, self.origin, 1, retries, reference, Findings.none())
        self._commit(first, checkpoint, output, 0.0)
        return checkpoint._replace(findings=self.inspector.findings)

    def run(self, checkpoint: Checkpoint, output: Output) -> tuple[Snapshot, Run]:
        """Chunk after chunk to the end."""
        pace = Pace(CHUNK_SECONDS, (self._capacity - 1) * self.settings.save_every)
        self.inspector.remember(checkpoint.findings)
        step = int(checkpoint.state.step)
        if step < self.settings.steps:
            # No step: this compiles, so that the chunks show what a step takes.
            self._chunk(checkpoint, 0)
        while step < self.settings.steps:
            count = pace.next(self.settings.steps - step)
            outcome, checkpoint = self._chunk(checkpoint, count)
            pace.computed(count)
            self._commit(outcome, checkpoint, output, pace.steps_per_second)
            step = int(checkpoint.state.step)
            pace.written(count)
            self._tell(checkpoint.state, pace)
            if self.interrupts.requested and step < self.settings.steps:
                raise KeyboardInterrupt(f"after step {step} of {self.settings.steps}; resume goes on from there.")
        final = snapshot_of(checkpoint.state, self.system, checkpoint.origin)
        return final, self._result(step, checkpoint, output, pace.steps_per_second)

    def _commit(self, outcome: Outcome, checkpoint: Checkpoint, output: Output, speed: float) -> None:
        """Look at the frames and keep them, then the state behind them.

        A frame that ends the run is none to go on from, nor are those behind it: they are not kept.
        """
        frames = self._frames(outcome)
        stop = self.inspector.look(frames)
        kept = frames if self.settings.save_forces else replace(frames, forces=None)
        output.add(kept if stop is None else kept[: stop.row])
        if stop is not None:
            raise self._ended(stop, frames, checkpoint, output, speed)
        if int(outcome.status):
            raise self._stopped(outcome, checkpoint, output, speed)
        output.checkpoint(checkpoint._replace(findings=self.inspector.findings))

    def _chunk(self, checkpoint: Checkpoint, count: int) -> tuple[Outcome, Checkpoint]:
        every = jnp.asarray(self.settings.save_every, jnp.int32)

        problem = self.problem._replace(reference=jnp.asarray(checkpoint.reference, self.settings.dtype))

        def compiled(state: State, neighbors: Neighbors) -> tuple:
            return advance(problem, state, neighbors, jnp.asarray(count, jnp.int32), every, self._capacity)

        done = run_chunk(compiled, checkpoint.state, checkpoint.neighbors, self._enlarged)
        outcome = jax.device_get(done.record)
        frames = checkpoint.frames + int(outcome.frames)
        retries = checkpoint.retries + done.retries
        return outcome, checkpoint._replace(state=done.state, neighbors=done.neighbors, frames=frames, retries=retries)

    def _with_forces(self, state: State) -> tuple[State, Neighbors, int]:
        def compiled(state: State, neighbors: Neighbors) -> tuple:
            fresh = first_forces(self.problem, state, neighbors)
            return fresh, None, fresh.overflow

        done = run_chunk(compiled, state, self.neighbors, self._enlarged)
        return done.state, done.neighbors, done.retries

    def _enlarged(self, state: State, neighbors: Neighbors) -> Neighbors:
        return neighbors.larger(snapshot_of(state, self.system, self.origin).system)

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
        problem = self.problem._replace(integrator=bath)
        engine = replace(self, problem=problem, settings=inner, inspector=self.inspector.fresh(inner.frame_fs))
        memory = MemoryOutput()
        try:
            final, _ = engine.run(engine.begin(snapshot, memory), memory)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("while thermalising; begin again, since nothing was recorded yet.") from interrupt
        except RunStopped as error:
            raise RunStopped(f"while thermalising, {error}", error.reason, error.step, error.time_fs, None) from error
        if isinstance(settings.integrator, NVE):
            return _of_mean_energy(memory.frames(), snapshot, settings.integrator, temperature)
        return final

    @property
    def _capacity(self) -> int:
        row = 3 * len(self.system) * (3 if self.problem.keep_forces else 2) + 8
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
                events=self.inspector.news(),
            )
        )

    def _result(self, step: int, checkpoint: Checkpoint, output: Output, speed: float) -> Run:
        summary = summarize(
            output.series(),
            steps=step,
            atoms=len(self.system),
            degrees_of_freedom=int(checkpoint.state.freedom),
            steps_per_second=speed,
            timestep_fs=self.settings.timestep_fs,
            retries=checkpoint.retries,
        )
        return Run(summary, output.path, output.frames(), self.inspector.findings)

    def _stopped(self, outcome: Outcome, checkpoint: Checkpoint, output: Output, speed: float) -> RunStopped:
        """A check in every step failed."""
        status, state = Status(int(outcome.status)), checkpoint.state
        failed = self._frames(outcome, failed=True)
        conserved = float(failed.conserved[0])
        what = sentence(status, self.problem.watch, state, conserved, checkpoint.reference, self.system)
        return self._stop(status.reason, what, int(state.step), failed, checkpoint, output, speed)

    def _ended(self, stop: Stop, frames: Frames, checkpoint: Checkpoint, output: Output, speed: float) -> RunStopped:
        """A saved frame shows what ends the run."""
        failed = frames[slice(stop.row, stop.row + 1)]
        what = f"{stop.event.sentence}, seen at a saved frame"
        return self._stop(stop.event.kind, what, stop.event.step, failed, checkpoint, output, speed)

    def _stop(
        self, reason: str, what: str, step: int, failed: Frames, checkpoint: Checkpoint, output: Output, speed: float
    ) -> RunStopped:
        """Dump the frame that failed and say what happened."""
        dumped = output.dump(failed)
        where = "" if dumped is None else f"; the last good frames and this one are in '{dumped}'"
        time_fs = step * self.settings.timestep_fs
        run = self._result(step, checkpoint, output, speed) if len(output.series()["step"]) else None
        return RunStopped(
            f"{self.system.formula} at step {step} ({time_fs * 1e-3:.4f} ps): {what}{where}.",
            reason,
            step,
            time_fs,
            run,
        )


def _of_mean_energy(frames: Frames, start: Snapshot, integrator: NVE, temperature: float) -> Snapshot:
    """Of the second half of the frames, the one whose energy is nearest to ⟨U⟩ + N_f k_BT/2.

    Its kinetic energy is that after `prepare`, since what is removed there takes a share along.
    """
    late = frames[slice(len(frames) // 2, None)]
    assert late.velocities is not None  # frames in memory have them
    snapshots = [
        integrator.prepare(replace(start, system=start.system.moved(positions), velocities=velocities))
        for positions, velocities in zip(late.positions, late.velocities, strict=True)
    ]
    energy = late.potential_energy + np.array([_kinetic(snapshot) for snapshot in snapshots])
    mean = late.potential_energy.mean() + 0.5 * integrator.degrees_of_freedom(start) * BOLTZMANN * temperature
    return snapshots[int(np.argmin(np.abs(energy - mean)))]


def _kinetic(snapshot: Snapshot) -> float:
    assert snapshot.velocities is not None
    return kinetic_energy(snapshot.system, snapshot.velocities)
