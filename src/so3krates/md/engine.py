"""The engine behind `simulate`: begin, chunk after chunk, commit, stop."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import FileError
from so3krates._interrupts import Interrupts
from so3krates._precision import precision_scope
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
from so3krates.md.run import Run, RunStopped, RunUnfinished
from so3krates.md.run_file import write_summary
from so3krates.md.settings import Settings
from so3krates.md.state import Snapshot, State, make_state, origin_of, snapshot_of
from so3krates.md.summary import summarize
from so3krates.md.velocities import kinetic_energy, maxwell_boltzmann
from so3krates.md.wall_time import Deadline
from so3krates.md.watch import make_watch
from so3krates.md.writer import Writer
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
REASONS = MappingProxyType({"wall_time": "the wall time is over", "terminated": "told to terminate"})
"""Of a run that is unfinished, in words."""


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
    deadline: Deadline
    thermalising: bool = False

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
        deadline: Deadline | None = None,
    ) -> "Engine":
        watch = make_watch(settings.monitor, system, potential.dtype)
        topology = Topology.of(system, potential.dtype)
        keep_forces = settings.save_forces or committee is not None
        unknown = jnp.asarray(jnp.nan, potential.dtype)
        problem = Problem(potential.fast, topology, settings.integrator, watch, keep_forces, unknown)
        neighbors = neighbors or potential.allocate(system)
        inspector = Inspector(settings.monitor, system, settings.frame_fs, committee)
        origin, deadline = origin_of(system), deadline or Deadline()
        return cls(problem, settings, system, origin, neighbors, interrupts, report, inspector, deadline)

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
        try:
            self._commit(first, checkpoint, output)
        except SeenInFrame as seen:
            raise self._ended(seen, output, 0.0, 0) from None
        if int(first.status):
            raise self._stopped(first, checkpoint, output, 0.0, 0)
        return checkpoint._replace(findings=self.inspector.findings)

    def run(self, checkpoint: Checkpoint, output: Output) -> tuple[Snapshot, Run]:
        """Chunk after chunk to the end; each is written while the next is computed."""
        pace = Pace(CHUNK_SECONDS, (self.capacity - 1) * self.settings.save_every)
        self.inspector.remember(checkpoint.findings)
        begin = step = int(checkpoint.state.step)
        outcome = None
        if step < self.settings.steps:
            # No step: this compiles, so that the chunks show what a step takes.
            self._chunk(checkpoint, 0)
        pace.start()
        try:
            with Writer[tuple[Outcome, Checkpoint]](lambda chunk: self._commit(*chunk, output)) as writer:
                while step < self.settings.steps and not self.interrupts.requested:
                    count = pace.next(self.settings.steps - step, self.deadline.room(writer.slowest_s))
                    if not count:
                        break
                    retries = checkpoint.retries
                    # It begins with the state of the last chunk only once that is known to be valid.
                    outcome, checkpoint = self._chunk(checkpoint, count)
                    pace.computed(count)
                    writer.put((outcome, checkpoint))
                    if int(outcome.status):
                        break
                    self._tell(checkpoint, pace, step if checkpoint.retries > retries else None)
                    step = int(checkpoint.state.step)
        except SeenInFrame as seen:
            raise self._ended(seen, output, pace.steps_per_second, seen.stop.event.step - begin) from None
        made = int(checkpoint.state.step) - begin
        if outcome is not None and int(outcome.status):
            raise self._stopped(outcome, checkpoint, output, pace.steps_per_second, made)
        if self.inspector.untold:
            # Frames are looked at behind the computation, so what the last ones show comes after the last report.
            self._tell(checkpoint, pace, None)
        result = self._result(step, checkpoint, output, pace.steps_per_second, made)
        final = snapshot_of(checkpoint.state, self.system, checkpoint.origin)
        ended = self._unfinished(final, result) if step < self.settings.steps else None
        if made or ended is not None:
            write_summary(result, self.system, self.settings, ended)
        if ended is not None:
            raise ended
        return final, result

    def _commit(self, outcome: Outcome, checkpoint: Checkpoint, output: Output) -> None:
        """Look at the frames and keep them, then the state behind them; in the thread of the writer.

        A frame that ends the run is none to go on from, nor are those behind it: they are not kept.
        """
        with precision_scope(self.settings.dtype):  # which belongs to a thread
            frames = self._frames(outcome)
            stop = self.inspector.look(frames)
            kept = frames if self.settings.save_forces else replace(frames, forces=None)
            output.add(kept if stop is None else kept[: stop.row])
            if stop is not None:
                raise SeenInFrame(stop, frames, checkpoint)
            if not int(outcome.status):
                output.checkpoint(checkpoint._replace(findings=self.inspector.findings))

    def _chunk(self, checkpoint: Checkpoint, count: int) -> tuple[Outcome, Checkpoint]:
        every = jnp.asarray(self.settings.save_every, jnp.int32)

        problem = self.problem._replace(reference=jnp.asarray(checkpoint.reference, self.settings.dtype))

        def compiled(state: State, neighbors: Neighbors) -> tuple:
            return advance(problem, state, neighbors, jnp.asarray(count, jnp.int32), every, self.capacity)

        done = run_chunk(compiled, checkpoint.state, checkpoint.neighbors, self._enlarged)
        frames = checkpoint.frames + int(done.record.frames)
        retries = checkpoint.retries + done.retries
        return done.record, checkpoint._replace(
            state=done.state, neighbors=done.neighbors, frames=frames, retries=retries
        )

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
        engine = replace(
            self, problem=problem, settings=inner, inspector=self.inspector.fresh(inner.frame_fs), thermalising=True
        )
        memory = MemoryOutput()
        try:
            final, _ = engine.run(engine.begin(snapshot, memory), memory)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("while thermalising; begin again, since nothing was recorded yet.") from interrupt
        except RunUnfinished as error:
            raise RunUnfinished(
                f"{REASONS[error.reason]} while thermalising, after step {error.step} of {steps}; begin again, since "
                "nothing was recorded yet, and allow more time than thermalising takes.",
                error.reason,
                error.step,
                None,
                None,
            ) from error
        except RunStopped as error:
            raise RunStopped(f"while thermalising, {error}", error.reason, error.step, error.time_fs, None) from error
        if isinstance(settings.integrator, NVE):
            return _of_mean_energy(memory.frames(), snapshot, settings.integrator, temperature)
        return final

    @property
    def capacity(self) -> int:
        """Frames that the record of a chunk has room for."""
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

    def _tell(self, checkpoint: Checkpoint, pace: Pace, enlarged: int | None) -> None:
        if self.report is None:
            return
        state = checkpoint.state
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
                thermalising=self.thermalising,
                remark=None
                if enlarged is None
                else f"neighbour list enlarged after step {enlarged}, chunk run again from there",
                events=self.inspector.news(),
            )
        )

    def _result(self, step: int, checkpoint: Checkpoint, output: Output, speed: float, made: int) -> Run:
        summary = summarize(
            output.series(),
            steps=step,
            atoms=len(self.system),
            degrees_of_freedom=int(checkpoint.state.freedom),
            steps_per_second=speed,
            timestep_fs=self.settings.timestep_fs,
            retries=checkpoint.retries,
            mass=float(self.system.masses.sum()),
        )
        return Run(summary, output.path, output.frames(), made, self.inspector.findings)

    def _unfinished(self, final: Snapshot, run: Run) -> KeyboardInterrupt | RunUnfinished:
        """What ends a run before its last step, and how it goes on."""
        step = run.summary.steps
        kept = "its frames are in memory only" if run.path is None else "all is written, and resume goes on from there"
        where = f"after step {step} of {self.settings.steps} ({run.summary.time_ps:.4f} ps): {kept}."
        if self.interrupts.requested and not self.interrupts.terminated:
            return KeyboardInterrupt(where)
        reason = "terminated" if self.interrupts.requested else "wall_time"
        return RunUnfinished(f"{REASONS[reason]} {where}", reason, step, final, run)

    def _stopped(self, outcome: Outcome, checkpoint: Checkpoint, output: Output, speed: float, made: int) -> RunStopped:
        """A check in every step failed."""
        status, state = Status(int(outcome.status)), checkpoint.state
        failed = self._frames(outcome, failed=True)
        conserved = float(failed.conserved[0])
        what = sentence(status, self.problem.watch, state, conserved, checkpoint.reference, self.system)
        return self._stop(status.reason, what, int(state.step), failed, checkpoint, output, speed, made)

    def _ended(self, seen: "SeenInFrame", output: Output, speed: float, made: int) -> RunStopped:
        """A saved frame shows what ends the run."""
        stop = seen.stop
        failed = seen.frames[slice(stop.row, stop.row + 1)]
        what = f"{stop.event.sentence}, seen at a saved frame"
        return self._stop(stop.event.kind, what, stop.event.step, failed, seen.checkpoint, output, speed, made)

    def _stop(
        self,
        reason: str,
        what: str,
        step: int,
        failed: Frames,
        checkpoint: Checkpoint,
        output: Output,
        speed: float,
        made: int,
    ) -> RunStopped:
        """Dump the frame that failed and say what happened."""
        dumped = output.dump(failed)
        where = "" if dumped is None else f"; the last good frames and this one are in '{dumped}'"
        time_fs = step * self.settings.timestep_fs
        run = self._result(step, checkpoint, output, speed, made) if len(output.series()["step"]) else None
        stopped = RunStopped(
            f"{self.system.formula} at step {step} ({time_fs * 1e-3:.4f} ps): {what}{where}.",
            reason,
            step,
            time_fs,
            run,
        )
        if run is not None:
            with suppress(FileError):  # why the run stopped must be said all the same
                write_summary(run, self.system, self.settings, stopped)
        return stopped


class SeenInFrame(Exception):
    """A saved frame shows what ends the run; carries it from the thread of the writer to that of the run."""

    def __init__(self, stop: Stop, frames: Frames, checkpoint: Checkpoint) -> None:
        super().__init__(stop.event.sentence)
        self.stop, self.frames, self.checkpoint = stop, frames, checkpoint


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
