"""The loss of a batch, as sums and counts so that parts of a batch on several devices add up exactly."""

from typing import NamedTuple

import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float
from so3krates.data.batching import Batch
from so3krates.potential import Term, energies_and_forces
from so3krates.training.config import LossConfig


class Errors(NamedTuple):
    """Prediction minus label; zeros where a label is missing."""

    energy: Float[Array, " structures"]
    forces: Float[Array, "atoms 3"]
    stress: Float[Array, "structures 3 3"]


class LossSums(NamedTuple):
    """Σ ℓ and Σ |error| over the labelled entries, and their number, for energy, forces and stress."""

    sums: Float[Array, " 3"]
    absolute: Float[Array, " 3"]
    """Of energies per structure, whatever the loss divides them by."""
    counts: Float[Array, " 3"]


def batch_errors(model: Term, batch: Batch) -> Errors:
    """Differences to the labels."""
    result = energies_and_forces(model, batch.graph)
    energy = batch.graph.sum_structures(result.energies) - batch.energy
    forces = result.forces - batch.forces
    stress = result.virial / batch.volume[:, None, None] - batch.stress
    return Errors(
        jnp.where(batch.energy_mask, energy, jnp.zeros_like(energy)),
        jnp.where(batch.forces_mask[:, None], forces, jnp.zeros_like(forces)),
        jnp.where(batch.stress_mask[:, None, None], stress, jnp.zeros_like(stress)),
    )


def loss_sums(errors: Errors, batch: Batch, config: LossConfig) -> LossSums:
    """The sums and counts of each quantity; masked entries contribute ℓ(0) = 0."""
    energy = errors.energy / batch.atoms_per_structure if config.energy_per_atom else errors.energy
    parts = (
        (energy, batch.energy_mask, 1),
        (errors.forces, batch.forces_mask, 3),
        (errors.stress, batch.stress_mask, 9),
    )
    sums = [jnp.sum(penalty(error, config)) for error, _, _ in parts]
    counts = [_count(mask, energy.dtype) * size for _, mask, size in parts]
    absolute = [jnp.sum(jnp.abs(error)) for error in errors]
    return LossSums(jnp.stack(sums), jnp.stack(absolute), jnp.stack(counts))


def weighted_loss(total: LossSums, config: LossConfig) -> Float[Array, ""]:
    """Σ_q w_q · (mean of ℓ over the labelled entries of q)."""
    weights = jnp.asarray([config.energy, config.forces, config.stress], total.sums.dtype)
    return jnp.sum(weights * total.sums / jnp.maximum(total.counts, 1.0))


def penalty(error: Float[Array, "*shape"], config: LossConfig) -> Float[Array, "*shape"]:
    """Squared error, or Huber's function: x² within δ, δ(2|x| − δ) beyond."""
    squared = error * error
    if config.function == "mse":
        return squared
    size = jnp.abs(error)
    delta = config.huber_delta
    return jnp.where(size <= delta, squared, delta * (2.0 * size - delta))


def _count(mask: Bool[Array, "..."], dtype: object) -> Float[Array, ""]:
    return jnp.sum(mask.astype(dtype))  # type: ignore[arg-type]
