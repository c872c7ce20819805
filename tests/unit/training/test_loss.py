from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from springs import TINY, samples

from so3krates.data.batching import Batch, BatchSource
from so3krates.graph import Sizes
from so3krates.model import SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.term import Term
from so3krates.training import loss as loss_module
from so3krates.training.config import LossConfig
from so3krates.training.loss import LossSums, weighted_loss
from so3krates.training.metrics import measure


@eqx.filter_jit
def loss_sums(model: Term, batch: Batch, config: LossConfig) -> LossSums:
    return loss_module.loss_sums(loss_module.batch_errors(model, batch), batch, config)


ELEMENTS = ElementTable(numbers=(1, 8), energies=(-10.0, -1980.0))


@pytest.fixture(scope="module")
def potential() -> Potential:
    return Potential(SO3krates(TINY, key=jax.random.key(1), dtype="float64"), ELEMENTS)


def source(data) -> BatchSource:
    return BatchSource(data, Potential(SO3krates(TINY, key=jax.random.key(1), dtype="float64"), ELEMENTS))


def differences(potential: Potential, data) -> tuple[np.ndarray, np.ndarray]:
    predictions = potential.predict([sample.system for sample in data])
    energy = np.array([p.energy - s.energy for p, s in zip(predictions, data, strict=True)])
    forces = np.stack([p.forces - s.forces for p, s in zip(predictions, data, strict=True)])
    return energy, forces


def huber(x: np.ndarray, delta: float) -> np.ndarray:
    return np.where(abs(x) <= delta, x**2, delta * (2 * abs(x) - delta))


@pytest.mark.parametrize("per_atom", [False, True])
@pytest.mark.parametrize("function", ["mse", "huber"])
def test_loss_is_the_weighted_mean_of_the_penalties(potential: Potential, function: str, per_atom: bool) -> None:
    data = samples(5)
    config = LossConfig.parse(
        {"energy": 0.3, "forces": 0.7, "function": function, "huber_delta": 0.02, "energy_per_atom": per_atom}
    )
    energy, forces = differences(potential, data)
    energy = energy / 3 if per_atom else energy
    penalty = (lambda x: huber(x, 0.02)) if function == "huber" else np.square
    expected = 0.3 * penalty(energy).mean() + 0.7 * penalty(forces).mean()
    loss = weighted_loss(loss_sums(potential.model, source(data).batch(range(5)), config), config)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_padding_and_missing_labels_do_not_count(potential: Potential) -> None:
    data = samples(4)
    data[1] = replace(data[1], energy=None)
    data[2] = replace(data[2], forces=None)
    config = LossConfig()
    exact = loss_sums(potential.model, source(data).batch(range(4)), config)
    padded = loss_sums(potential.model, source(data).batch(range(4), Sizes(6, 40, 64)), config)
    assert exact.counts.tolist() == padded.counts.tolist() == [3.0, 27.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(padded.sums, exact.sums, rtol=1e-12)
    np.testing.assert_allclose(padded.absolute, exact.absolute, rtol=1e-12)


def test_parts_of_a_batch_add_up(potential: Potential) -> None:
    """What data-parallel training rests on."""
    data, config = samples(6), LossConfig()
    parts = [loss_sums(potential.model, source(data).batch(part), config) for part in ([0, 1, 2], [3, 4, 5])]
    joint = LossSums(*(first + second for first, second in zip(*parts, strict=True)))
    whole = loss_sums(potential.model, source(data).batch(range(6)), config)
    assert float(weighted_loss(joint, config)) == pytest.approx(float(weighted_loss(whole, config)), rel=1e-12)


def test_metrics_over_uneven_batches_equal_those_of_all_structures(potential: Potential) -> None:
    data = samples(5)
    batches = [source(data).batch(part) for part in ([0, 1, 2], [3, 4])]
    metrics = measure(potential.model, batches, LossConfig())
    energy, forces = differences(potential, data)
    per_atom = LossConfig(energy_per_atom=True)
    absolute = sum(np.asarray(loss_sums(potential.model, batch, per_atom).absolute) for batch in batches)
    np.testing.assert_allclose(absolute, [abs(energy).sum(), abs(forces).sum(), 0.0, 0.0, 0.0], rtol=1e-10)
    assert metrics.energy_mae == pytest.approx(abs(energy).mean(), rel=1e-10)
    assert metrics.energy_per_atom_mae == pytest.approx(abs(energy).mean() / 3, rel=1e-10)
    assert metrics.forces_mae == pytest.approx(abs(forces).mean(), rel=1e-10)
    assert metrics.forces_rmse == pytest.approx(np.sqrt((forces**2).mean()), rel=1e-10)
    assert "stress_mae" not in metrics.finite()
