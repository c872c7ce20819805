"""Tables of functions of distance: as fine as they promise, and energies that are the integral of forces."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.models import CONFIGS, random_model

from so3krates import InputError
from so3krates.nn.cutoff import CUTOFF_FUNCTIONS
from so3krates.nn.radial import RADIAL_BASES
from so3krates.nn.radial_table import SHORTEST, RadialTable, tabulate

CUTOFF = 4.0


def sampled(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two functions, one of them as sharp as a radial basis at short distances."""
    y = np.exp(-r)
    bump = np.exp(-200.0 * (y - 0.4) ** 2)
    values, slopes = (np.sin(r), bump), (np.cos(r), 400.0 * (y - 0.4) * y * bump)
    return np.stack(values, 1), np.stack(slopes, 1)


def table(tolerance: float) -> RadialTable:
    knots, values = tabulate(sampled, [slice(None)], CUTOFF, tolerance)
    return RadialTable(jnp.asarray(knots), jnp.asarray(values))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-7, 1e-8])
def test_slopes_keep_to_the_tolerance_between_all_points_of_the_grid(tolerance: float) -> None:
    made = table(tolerance)
    r = np.random.default_rng(0).uniform(SHORTEST, CUTOFF, 20_000)
    values, slopes = jax.jvp(made, (jnp.asarray(r),), (jnp.ones(len(r)),))
    error = np.sqrt(np.mean((np.asarray(slopes) - sampled(r)[1]) ** 2, axis=1)).max()
    assert error <= 1.1 * tolerance, made.intervals
    assert np.abs(np.asarray(values) - sampled(r)[0]).max() <= tolerance


def test_a_finer_tolerance_takes_more_intervals_and_not_more_than_it_needs() -> None:
    sizes = [table(tolerance).intervals for tolerance in (1e-4, 1e-6, 1e-8)]
    # Slopes of a cubic are off by the third power of the interval: a hundredth of the error at 4.6 times as many.
    for few, many in pairwise(sizes):
        assert 3.0 < many / few < 8.0


def test_a_tolerance_that_no_table_reaches_is_refused() -> None:
    def kinked(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.abs(r - np.sqrt(2.0))[:, None], np.sign(r - np.sqrt(2.0))[:, None]

    with pytest.raises(InputError, match="use exact filters"):
        tabulate(kinked, [slice(None)], CUTOFF, 1e-3)


def test_knots_are_where_they_are_needed() -> None:
    """The bump at 0.9 Å asks for more than the sine; as many knots everywhere would be several times as many."""
    made = table(1e-5)
    spaces = np.diff(np.asarray(made.knots))
    assert CUTOFF / spaces.min() > 4 * made.intervals
    assert np.all(spaces > 0.0) and made.knots[0] == 0.0 and made.knots[-1] == CUTOFF


def test_every_group_keeps_to_the_tolerance_by_itself() -> None:
    """A sharp function among many blunt ones is not averaged away if it is a group of its own."""

    def many(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, slopes = sampled(r)
        return np.repeat(values, [100, 1], axis=1), np.repeat(slopes, [100, 1], axis=1)

    r = np.linspace(SHORTEST, CUTOFF, 20_001)
    worst = []
    for groups in ([slice(None)], [slice(0, 100), slice(100, 101)]):
        knots, values = tabulate(many, groups, CUTOFF, 1e-4)
        made = RadialTable(jnp.asarray(knots), jnp.asarray(values[:, :, -1:]))
        found = jax.jvp(made, (jnp.asarray(r),), (jnp.ones(len(r)),))[1]
        worst.append(np.abs(np.asarray(found)[:, 0] - sampled(r)[1][:, 1]).max())
    assert worst[0] > 5e-4 and worst[1] <= 1.1e-4


def test_a_cutoff_shorter_than_any_bond_has_tables_too() -> None:
    knots, _ = tabulate(sampled, [slice(None)], 0.4, 1e-4)
    assert knots[0] == 0.0 and knots[-1] == 0.4


def test_values_are_the_integral_of_slopes() -> None:
    made = table(1e-1)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    edges = np.asarray(made.knots)
    low, high = edges[:-1, None], edges[1:, None]
    r = (0.5 * (low + high) + 0.5 * (high - low) * nodes).reshape(-1)
    slopes = np.asarray(jax.jvp(made, (jnp.asarray(r),), (jnp.ones(len(r)),))[1])
    total = ((0.5 * (high - low) * weights).reshape(-1)[:, None] * slopes).sum(axis=0)
    ends = np.asarray(made(jnp.asarray([0.0, CUTOFF])))
    np.testing.assert_allclose(total, ends[1] - ends[0], atol=1e-9)


def test_slopes_are_continuous_at_knots_and_nothing_happens_beyond_the_cutoff() -> None:
    made = table(1e-1)
    inside = np.asarray(made.knots)[1:-1]
    left, right = (
        np.asarray(jax.jvp(made, (jnp.asarray(inside + step),), (jnp.ones(len(inside)),))[1]) for step in (-1e-9, 1e-9)
    )
    np.testing.assert_allclose(left, right, atol=1e-5)
    beyond = made(jnp.asarray([CUTOFF, CUTOFF + 1.0, 100.0]))
    np.testing.assert_array_equal(beyond, jnp.broadcast_to(beyond[0], beyond.shape))


@pytest.mark.parametrize("name", CONFIGS)
def test_tables_of_a_network_hold_its_filters_and_cutoff(name: str) -> None:
    config = CONFIGS[name]
    exact = random_model(config)
    model = exact.tabulated(1e-5, None)
    r = jnp.asarray(np.random.default_rng(1).uniform(SHORTEST, config.cutoff, 500))
    basis = RADIAL_BASES[config.radial_basis](r, config.radial_functions, config.cutoff)
    for number, (layer, own) in enumerate(zip(model.layers, exact.layers, strict=True)):
        starts_at_zero = number == 0 and config.euclidean_start == "zero"
        found = layer.attention.table(r)
        np.testing.assert_allclose(found[:, 0], CUTOFF_FUNCTIONS[config.cutoff_function](r, config.cutoff), atol=1e-5)
        columns = []
        for each in (own.attention.filter_f, own.attention.filter_x):
            zeros = jnp.zeros((len(r), len(config.degrees)))
            bias = each.spherical.layers[1].bias
            columns.append(each.radial(basis) + (each.spherical(zeros) if starts_at_zero else bias))
        np.testing.assert_allclose(found[:, 1:], jnp.concatenate(columns, axis=1), atol=1e-5)
