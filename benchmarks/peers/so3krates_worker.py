"""This package: a step of dynamics in compiled code, a call through its ASE calculator, or training steps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ase_step import ase_job, atoms_of
from serving import Job, serve, timed, versions_of

from so3krates._version import __version__
from so3krates.inference import TOLERANCE
from so3krates.io.model_file import load
from so3krates.md import NVE
from so3krates.md.engine.beginning import begin
from so3krates.md.engine.engine import Engine
from so3krates.md.engine.loop import Outcome, Room, advance
from so3krates.md.engine.track import Track
from so3krates.md.monitoring.inspection import Inspector
from so3krates.md.monitoring.monitor import Monitor
from so3krates.md.records.output import MemoryOutput
from so3krates.md.records.recording import Recording
from so3krates.md.records.settings import make_settings
from so3krates.md.state import Snapshot, State
from so3krates.model import ModelConfig, SO3krates
from so3krates.neighbors.lists import Neighbors
from so3krates.potential import Potential
from so3krates.rollout import run_chunk
from so3krates.system import System
from so3krates.training.batches import BatchStream
from so3krates.training.config import BudgetConfig, DataConfig, TrainConfig
from so3krates.training.loop import CHUNK
from so3krates.training.setup import prepare as prepare_training
from so3krates.training.step import initial_state, make_steps

LARGEST_FORCE = 0.01
"""eV/Å; random parameters are scaled to it, so that the structure stays what it was while it is measured."""
TEMPERATURE_K = 10.0
TIMESTEP_FS = 0.5
SAVE_EVERY = 20
"""Steps from frame to frame: the default of `simulate` at this time step."""
MOST_STEPS = 200
SAMPLE_SECONDS = 0.2
VALIDATION_FRAMES = 8


def prepare(mode: str, task: dict[str, Any]) -> Job:
    if mode == "train":
        return _training(task)
    system = System.from_ase(atoms_of(task))
    if "model" in task:
        potential = load(task["model"], long_range_cutoff=task["long_range_cutoff"])
    else:
        potential = gentle_potential(system)
    if mode == "ase":
        return ase_job(atoms_of(task), potential.ase(), _count(potential.model))
    return Dynamics(potential, system).job()


class Dynamics:
    """NVE from the same start in every sample, by the chunk that `simulate` runs: list, monitor, frames and all."""

    def __init__(self, potential: Potential, system: System) -> None:
        settings = make_settings(
            potential,
            Snapshot(system),
            NVE(),
            Monitor(),
            timestep_fs=TIMESTEP_FS,
            steps=MOST_STEPS,
            recording=Recording(every_fs=SAVE_EVERY * TIMESTEP_FS),
            seed=0,
            initial_temperature_K=TEMPERATURE_K,
            thermalise_ps=0.0,
        )
        self.potential, self.system = potential, system
        inspector = Inspector(settings.monitor, system, settings.frame_fs, None)
        track = Track(settings, Snapshot(system), inspector, MemoryOutput())
        # A list that searches in every step: samples from one start would hardly ever look for new candidates.
        self.engine = Engine.of(potential, [track], neighbors=potential.allocate(system))
        begun = begin(self.engine)
        self.start, self.neighbors = begun.state, begun.neighbors
        self.steps = 4

    def job(self) -> Job:
        self.chunk()
        self.steps = int(np.clip(round(SAMPLE_SECONDS * self.steps / timed(self.chunk)), 4, MOST_STEPS))
        facts = {"energy_eV": float(self.start.energy), "parameters": _count(self.potential.model)}
        return Job(facts, lambda: 1e3 * timed(self.chunk) / self.steps)

    def chunk(self) -> None:
        """`steps` steps from the start."""

        def compiled(state: State, neighbors: Neighbors) -> tuple[State, Outcome, jax.Array]:
            count, every = jnp.asarray(self.steps, jnp.int32), jnp.asarray(SAVE_EVERY, jnp.int32)
            room = Room(MOST_STEPS // SAVE_EVERY + 1, MOST_STEPS // SAVE_EVERY + 1)
            return advance(self.engine.problem, state, neighbors, count, every, every, room)

        done = run_chunk(compiled, self.start, self.neighbors, lambda _, old, short: old.larger(self.system, short))
        self.neighbors = done.neighbors
        outcome = jax.device_get(done.record)
        if int(outcome.status) or int(done.state.step) != self.steps:
            raise ValueError(f"stopped at step {int(done.state.step)} of {self.steps}: status {int(outcome.status)}.")


def gentle_potential(system: System) -> Potential:
    """The article's model with random parameters, its energies scaled down."""
    model = SO3krates(ModelConfig(), key=jax.random.key(0))
    largest = np.abs(Potential(model).predict([system])[0].forces).max()
    scaled = eqx.tree_at(lambda m: m.energy.scale, model, model.energy.scale * np.float32(LARGEST_FORCE / largest))
    return Potential(scaled, tolerance=TOLERANCE)


def _training(task: dict[str, Any]) -> Job:
    """Steps as the training loop takes them: batches made ahead in a thread, chunks of compiled steps."""
    config = TrainConfig(
        data=DataConfig(data=task["frames"], n_train=task["count"] - VALIDATION_FRAMES, n_valid=VALIDATION_FRAMES),
        batch_size=task["batch_size"],
        budget=BudgetConfig(steps=1),
    )
    setup = prepare_training(config, lambda _: None)
    stream = BatchStream(setup.train, task["batch_size"], config.seed, devices=1, sizes=None)
    steps = make_steps(config.loss, config.optimizer, devices=1)
    rates = jnp.full((CHUNK,), task["learning_rate"], jnp.float32)
    state, step = initial_state(setup.start.potential.model, config.optimizer), 0

    def chunk() -> None:
        nonlocal state, step
        batches = stream.stacked(step, CHUNK)
        state, record = steps(state, batches, rates)
        step += CHUNK
        stream.begin(step, CHUNK)
        if not bool(record.finite):
            raise ValueError(f"the loss is not finite at step {step}.")

    chunk()
    facts = {"parameters": _count(setup.start.potential.model)}
    return Job(facts, lambda: CHUNK * task["batch_size"] / timed(chunk))


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)))


if __name__ == "__main__":
    serve(prepare, {"so3krates": __version__, **versions_of("jax", "jaxlib", "equinox", "numpy", "ase")})
