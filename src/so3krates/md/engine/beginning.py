"""How a run begins: velocities, thermalisation, first forces, first frame, first checkpoint."""

from collections.abc import Sequence
from dataclasses import replace

from so3krates._errors import InputError
from so3krates.md.engine import thermalise
from so3krates.md.engine.crowding import with_room
from so3krates.md.engine.engine import REASONS, Chunk, Engine
from so3krates.md.engine.loop import first_forces, first_frame
from so3krates.md.engine.replicas import stacked
from so3krates.md.engine.sharding import placed
from so3krates.md.engine.track import Track
from so3krates.md.ensembles.exchange import begun
from so3krates.md.ensembles.velocities import maxwell_boltzmann
from so3krates.md.records.checkpoint import Checkpoint
from so3krates.md.records.output import MemoryOutput
from so3krates.md.records.run import RunStopped, RunUnfinished
from so3krates.md.state import Snapshot, State, make_state
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import combined
from so3krates.neighbors.verlet_state import VerletState
from so3krates.rollout import run_chunk

BEGIN_AGAIN = "nothing was recorded yet: the same run with resume=True (--resume) begins again."


def begin(engine: Engine) -> Checkpoint:
    """Velocities, thermalisation, first forces, first frame, first checkpoint."""
    snapshots = [_drawn(track) for track in engine.tracks]
    if engine.settings.initial_temperature_K is not None and engine.settings.thermalise_steps:
        snapshots = _thermalised(engine, snapshots)
    integrators = [track.settings.integrator for track in engine.tracks]
    ready = [integrator.prepare(each) for integrator, each in zip(integrators, snapshots, strict=True)]
    state, neighbors, retries = _with_forces(engine, template(engine, ready))
    first = first_frame(engine.problem, state)
    checkpoint = Checkpoint(state, neighbors, retries, ())
    engine.commit(Chunk(first, checkpoint, 0.0, 0))
    if all(track.ended for track in engine.tracks):
        raise next(track.stopped for track in engine.tracks if track.stopped is not None)
    return checkpoint


def template(engine: Engine, snapshots: Sequence[Snapshot] | None = None) -> State:
    """A state of the right structure, shapes and types; of the starts if nothing else is given."""
    states = []
    for number, track in enumerate(engine.tracks):
        snapshot = track.start if snapshots is None else snapshots[number]
        settings, integrator = track.settings, track.settings.integrator
        freedom = integrator.degrees_of_freedom(track.start)
        state = make_state(snapshot, track.origin, settings.timestep_fs, settings.seed, freedom, settings.dtype)
        state = integrator.init(state, settings.timestep_fs)
        if settings.isolated:
            state = replace(state, virial=None)
        if not engine.together:
            state = replace(state, verlet=VerletState(state.positions, state.cell))
        states.append(state if engine.problem.exchange_every is None else replace(state, exchanged=begun(number)))
    if not engine.together:
        return states[0]
    return placed(stacked(states), engine.devices) if engine.devices > 1 else stacked(states)


def _drawn(track: Track) -> Snapshot:
    """The start, with velocities if it came without."""
    temperature, start = track.settings.initial_temperature_K, track.start
    if temperature is None:
        return start
    center = track.settings.integrator.fix_center
    drawn = maxwell_boltzmann(start.system, temperature, track.settings.seed, fix_center=center, fixed=start.fixed)
    return replace(start, velocities=drawn)


def _thermalised(engine: Engine, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The starts behind a Langevin run in memory, watched by the same monitor."""
    baths = [thermalise.settings_for(track.settings) for track in engine.tracks]
    inner = [
        track.before(bath, each, MemoryOutput())
        for track, bath, each in zip(engine.tracks, baths, snapshots, strict=True)
    ]
    problem = engine.problem._replace(integrator=baths[0].integrator, exchange_every=None)
    inside = replace(engine, problem=problem, tracks=tuple(inner), store=None, thermalising=True)
    try:
        results = inside.run(begin(inside)).results
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"while thermalising; {BEGIN_AGAIN}") from interrupt
    except RunUnfinished as error:
        where = f"step {error.step} of {baths[0].steps} of thermalisation"
        if error.reason == "wall_time":
            raise InputError(
                f"the wall time was over after {where}, and nothing is recorded before its end; allow more."
            ) from error
        told = f"{REASONS[error.reason]} after {where}; {BEGIN_AGAIN}"
        raise RunUnfinished(told, error.reason, error.step, None, None) from error
    except RunStopped as error:
        raise thermalise.stopped(error) from error
    failed = [own.stopped for own in inner if own.stopped is not None]
    if len(failed) == len(inner):
        raise thermalise.stopped(failed[0]) from failed[0]
    ready = []
    for track, own, drawn, (final, _) in zip(engine.tracks, inner, snapshots, results, strict=True):
        if own.stopped is not None:
            # It stays at its start, where the state of all of them can hold it.
            track.end(thermalise.stopped(own.stopped))
            track.told = own.told
            ready.append(drawn)
            continue
        assert final is not None
        frames = own.output.frames()
        assert frames is not None
        ready.append(thermalise.chosen(final, frames, track.start, track.settings))
    return ready


def _with_forces(engine: Engine, state: State) -> tuple[State, Neighbors, int]:
    def compiled(state: State, neighbors: Neighbors) -> tuple:
        found = first_forces(engine.problem, with_room(state, neighbors), neighbors)
        return found, None, combined(found.overflow)

    done = run_chunk(compiled, state, engine.neighbors, engine.enlarged)
    return done.state, done.neighbors, done.retries
