"""The loss of a batch, as sums and counts so that parts of a batch on several devices add up exactly."""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp

from so3krates._typing import Array, Bool, Float
from so3krates.data.batching import Batch
from so3krates.data.sample import LABELS
from so3krates.derivatives import GraphResult, energies_and_forces
from so3krates.term import Term
from so3krates.training.config import LossConfig


class Errors(NamedTuple):
    """Prediction minus label, in the order of `LABELS`; zeros where a label is missing."""

    energy: Float[Array, " structures"]
    forces: Float[Array, "atoms 3"]
    stress: Float[Array, "structures 3 3"]
    dipole: Float[Array, "structures 3"]
    hirshfeld_ratios: Float[Array, " atoms"]


class LossSums(NamedTuple):
    """Σ ℓ and Σ |error| over the labelled entries, and their number, in the order of `LABELS`."""

    sums: Float[Array, " quantities"]
    absolute: Float[Array, " quantities"]
    """Of energies per structure, whatever the loss divides them by."""
    counts: Float[Array, " quantities"]


def batch_errors(model: Term, batch: Batch) -> Errors:
    """Differences to the labels."""
    result = energies_and_forces(model, replace(batch.graph, purpose="training"))
    found = Errors(
        batch.graph.sum_structures(result.energies) - batch.energy,
        result.forces - batch.forces,
        result.virial / batch.volume[:, None, None] - batch.stress,
        _dipole(result, batch) - batch.dipole,
        _ratios(result, batch) - batch.hirshfeld_ratios,
    )
    return Errors(*(_where(mask, error) for error, mask in zip(found, batch.masks, strict=True)))


def loss_sums(errors: Errors, batch: Batch, config: LossConfig) -> LossSums:
    """The sums and counts of each quantity; masked entries contribute ℓ(0) = 0."""
    penalised = errors
    if config.energy_per_atom:
        penalised = errors._replace(energy=errors.energy / batch.atoms_per_structure)
    sums = [jnp.sum(penalty(error, config)) for error in penalised]
    dtype = errors.energy.dtype
    counts = [
        jnp.sum(mask.astype(dtype)) * (error.size // max(error.shape[0], 1))
        for error, mask in zip(errors, batch.masks, strict=True)
    ]
    absolute = [jnp.sum(jnp.abs(error)) for error in errors]
    return LossSums(jnp.stack(sums), jnp.stack(absolute), jnp.stack(counts))


def weighted_loss(total: LossSums, config: LossConfig) -> Float[Array, ""]:
    """Σ_q w_q · (mean of ℓ over the labelled entries of q)."""
    weights = jnp.asarray([getattr(config, name) for name in LABELS], total.sums.dtype)
    return jnp.sum(weights * total.sums / jnp.maximum(total.counts, 1.0))


def penalty(error: Float[Array, "*shape"], config: LossConfig) -> Float[Array, "*shape"]:
    """Squared error, or Huber's function: x² within δ, δ(2|x| − δ) beyond."""
    squared = error * error
    if config.function == "mse":
        return squared
    size = jnp.abs(error)
    delta = config.huber_delta
    return jnp.where(size <= delta, squared, delta * (2.0 * size - delta))


def _dipole(result: GraphResult, batch: Batch) -> Float[Array, "structures 3"]:
    """Σ q_i r_i from the centre of mass, which differs from any other origin only for ions."""
    charges = result.outputs.charges
    if charges is None:
        return jnp.zeros_like(batch.dipole)
    return batch.graph.sum_structures(charges[:, None] * batch.arms)


def _ratios(result: GraphResult, batch: Batch) -> Float[Array, " atoms"]:
    ratios = result.outputs.hirshfeld_ratios
    return jnp.zeros_like(batch.hirshfeld_ratios) if ratios is None else ratios


def _where(mask: Bool[Array, " entries"], error: Float[Array, "entries *rest"]) -> Float[Array, "entries *rest"]:
    return jnp.where(mask.reshape(mask.shape + (1,) * (error.ndim - 1)), error, jnp.zeros_like(error))
