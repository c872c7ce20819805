"""Damped, shifted Coulomb interaction: against sums written out in NumPy, and what must hold at the cutoff."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from so3krates import testing
from so3krates._errors import InputError
from so3krates.physics.electrostatics import Electrostatics, damped_coulomb, damped_coulomb_slope, shifted_coulomb
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum

K = 14.399645351950548
SALT = FixedCharges({11: 0.8, 17: -0.8}, dtype="float64")
MOLECULE = System(
    np.array([[0.0, 0.1, 0.0], [2.4, 0.0, 0.3], [-0.3, 2.6, 0.2], [0.4, 0.3, -7.6]]), np.array([11, 17, 17, 11])
)
CRYSTAL = System(
    np.array([[0.1, 0.0, 0.2], [1.4, 1.6, 1.3]]),
    np.array([11, 17]),
    np.array([[2.6, 0.2, 0.1], [0.3, 2.9, 0.2], [0.1, -0.4, 3.2]]),
    (True, True, True),
)


def model(width: float = 4.0, cutoff: float | None = None) -> Potential:
    return Potential(Sum((SALT, Electrostatics(width))), long_range_cutoff=cutoff)


def textbook(r: np.ndarray, cutoff: float, width: float) -> np.ndarray:
    """f V_s + (1 − f)(V_s − V′(R)(r − R)), with V′ as a difference."""
    c = (r / cutoff - 0.45) / 0.55
    with np.errstate(divide="ignore", over="ignore"):
        rising, falling = (np.where(x > 0, np.exp(-1.0 / x), 0.0) for x in (c, 1.0 - c))
    f = falling / (rising + falling)

    def v(x: np.ndarray | float) -> np.ndarray:
        return erf(np.asarray(x) / width) / x

    h = 1e-4 * cutoff
    slope = (8 * (v(cutoff + h) - v(cutoff - h)) - (v(cutoff + 2 * h) - v(cutoff - 2 * h))) / (12 * h)
    shifted = v(r) - v(cutoff)
    return np.where(r < cutoff, f * shifted + (1 - f) * (shifted - slope * (r - cutoff)), 0.0)


@pytest.mark.parametrize(("cutoff", "width"), [(12.0, 4.0), (6.0, 1.5), (1000.0, 4.0)])
def test_of_pairs(cutoff: float, width: float) -> None:
    r = np.linspace(0.1, 1.1, 300) * min(cutoff, 30.0)
    np.testing.assert_allclose(
        shifted_coulomb(jnp.asarray(r), cutoff, width), textbook(r, cutoff, width), rtol=0, atol=1e-12
    )


def _v(r: np.ndarray) -> np.ndarray:
    return np.asarray(damped_coulomb(jnp.asarray(r), 4.0))


def test_slope_is_the_derivative() -> None:
    r, h = np.linspace(0.5, 20.0, 50), 1e-3
    near = _v(r + h) - _v(r - h)
    far = _v(r + 2 * h) - _v(r - 2 * h)
    np.testing.assert_allclose(damped_coulomb_slope(jnp.asarray(r), 4.0), (8 * near - far) / (12 * h), rtol=1e-9)


def test_energy_and_force_vanish_at_the_cutoff() -> None:
    r = np.array([12.0 - 1e-3, 12.0 - 1e-6, 12.0])
    values = np.asarray(shifted_coulomb(jnp.asarray(r), 12.0, 4.0))
    # Like (R − r)² and smoother: a linear term would leave 1e-3 times its slope.
    assert abs(values[0]) < 1e-6 and abs(values[1]) < 1e-12 and values[2] == 0.0


def test_molecule_without_cutoff_is_coulomb_far_away() -> None:
    """What the switch from 450 Å on leaves is a shift of every pair by the same constant."""
    pair = System(np.array([[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]]), np.array([11, 17]))
    energy, forces = model().energy_and_forces(pair)
    assert energy == pytest.approx(-0.64 * K * (1 / 30.0 - 1 / 1000.0), rel=1e-12)
    assert forces[0, 0] == pytest.approx(0.64 * K / 900.0, rel=1e-10)


def test_crystal_is_the_sum_over_its_images() -> None:
    cutoff, width = 7.0, 2.0
    charges = np.array([0.8, -0.8])
    assert CRYSTAL.cell is not None
    shifts = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3, indexing="ij"), -1).reshape(-1, 3) @ CRYSTAL.cell
    vectors = CRYSTAL.positions[None, :, None] - CRYSTAL.positions[:, None, None] + shifts
    r = np.linalg.norm(vectors, axis=-1)
    v = np.where(r > 0, textbook(np.where(r > 0, r, 1.0), cutoff, width), 0.0)
    expected = 0.5 * K * np.einsum("i,j,ijs->", charges, charges, v)
    assert model(width, cutoff).energy(CRYSTAL) == pytest.approx(expected, abs=1e-10)


def test_forces_stress_and_invariances() -> None:
    potential = model(1.5, 6.0)
    testing.assert_potential_is_physical(potential, [MOLECULE, CRYSTAL])


def test_without_charges_it_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="needs long-range pairs and charges"):
        Potential(Electrostatics()).energy(MOLECULE)
