"""Dispersion against the formula written out in NumPy with powers and divisions as they are printed."""

from pathlib import Path

import numpy as np
import pytest

from so3krates import testing
from so3krates._errors import InputError
from so3krates.physics.dispersion import Dispersion
from so3krates.physics.fixed_ratios import FixedRatios
from so3krates.physics.free_atoms import C6_COEFFICIENTS, POLARIZABILITIES
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum

BOHR, HARTREE = 0.5291772105638411, 27.211386024367243


RATIOS = np.linspace(0.6, 1.1, 119)
RATIO_TERM = FixedRatios({z: RATIOS[z] for z in range(1, 119)}, dtype="float64")
MOLECULE = System(
    np.array([[0.0, 0.1, 0.0], [1.2, 0.0, 0.3], [-0.3, 1.4, 0.2], [0.4, 0.3, -4.6]]), np.array([6, 1, 8, 16])
)
CRYSTAL = System(
    np.array([[0.1, 0.0, 0.2], [1.9, 2.0, 1.8]]),
    np.array([14, 6]),
    np.array([[3.6, 0.2, 0.1], [0.3, 3.9, 0.2], [0.1, -0.4, 4.2]]),
    (True, True, True),
)


def model(cutoff: float | None = None) -> Potential:
    return Potential(Sum((RATIO_TERM, Dispersion())), long_range_cutoff=cutoff)


def textbook(r_angstrom: float, z: tuple[int, int]) -> float:
    h = RATIOS[list(z)]
    alpha_i, alpha_j = np.array(POLARIZABILITIES)[np.array(z) - 1] * h
    c6_i, c6_j = np.array(C6_COEFFICIENTS)[np.array(z) - 1] * h**2
    r, alpha = r_angstrom / BOHR, (alpha_i + alpha_j) / 2
    c6 = 2 * c6_i * c6_j * alpha_i * alpha_j / (alpha_i**2 * c6_j + alpha_j**2 * c6_i)
    radius = 0.0072973525693 ** (-4 / 21) * alpha ** (1 / 7)
    s = -0.00078893 * radius**3 + 0.04125273 * radius**2 + 0.24428889 * radius - 0.00433008
    gamma = 1 / (2 * s**2)
    p = 1.2 * 2 * 2.54 * alpha ** (1 / 7)
    terms = ((6, c6), (8, 5 * c6 / gamma), (10, 245 * c6 / (8 * gamma**2)))
    return -HARTREE * sum(c / (r**n + p**n) for n, c in terms)


@pytest.mark.parametrize("z", [(1, 1), (6, 8), (16, 1), (17, 35)])
@pytest.mark.parametrize("r", [0.8, 2.0, 5.0, 40.0])
def test_of_a_pair(z: tuple[int, int], r: float) -> None:
    pair = System(np.array([[0.0, 0.0, 0.0], [0.0, r, 0.0]]), np.array(z))
    assert model().energy(pair) == pytest.approx(textbook(r, z), rel=1e-12)


@pytest.mark.parametrize(("r", "share"), [(7.99, 1.0), (9.0, 0.5), (10.0, 0.0)])
def test_is_switched_off_over_the_last_two_angstrom(r: float, share: float) -> None:
    pair = System(np.array([[0.0, 0.0, 0.0], [0.0, r, 0.0]]), np.array([6, 6]))
    assert model(10.0).energy(pair) == pytest.approx(share * textbook(r, (6, 6)), rel=1e-12, abs=1e-300)


def test_forces_stress_and_invariances() -> None:
    testing.assert_potential_is_physical(model(7.0), [MOLECULE, CRYSTAL])


def test_far_pairs_stay_finite_in_float32() -> None:
    """r¹⁰ of pairs 5 µm apart is beyond float32."""
    far = System(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [5e4, 0.0, 0.0]]), np.array([6, 6, 6]))
    energy, forces = model().astype("float32").energy_and_forces(far)
    assert energy == pytest.approx(textbook(1.0, (6, 6)), rel=1e-5)
    assert np.isfinite(forces).all() and np.abs(forces[2]).max() == 0.0


def test_without_ratios_of_their_own_elements_are_free_atoms() -> None:
    def energy(ratios: dict[int, float]) -> float:
        return Potential(Sum((FixedRatios(ratios, dtype="float64"), Dispersion()))).energy(MOLECULE)

    elements = sorted(set(MOLECULE.numbers.tolist()))
    assert energy({}) == energy(dict.fromkeys(elements, 1.0)) != energy({6: 0.9})


@pytest.mark.parametrize(
    ("ratios", "message"), [({119: 1.0}, "known are 1 to 118"), ({6: 0.0}, "must be positive"), ({6: np.inf}, "finite")]
)
def test_impossible_ratios_are_refused(ratios: dict[int, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FixedRatios(ratios)


def test_without_ratios_it_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="needs long-range pairs and Hirshfeld ratios"):
        Potential(Dispersion()).energy(MOLECULE)


def test_free_atoms_are_those_of_the_published_table(shared_dir: Path) -> None:
    rows = np.genfromtxt(shared_dir / "reference" / "free_atom_dispersion.csv", delimiter=",", names=True)
    columns = [name for name in rows.dtype.names if rows[name].dtype.kind == "f"]
    table = np.stack([rows[name] for name in columns], axis=1)
    for values in (POLARIZABILITIES, C6_COEFFICIENTS):
        assert any(np.allclose(table[: len(values), n], values, rtol=1e-12) for n in range(table.shape[1]))


def test_elements_beyond_the_table_are_refused() -> None:
    pair = System(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), np.array([102, 103]))
    with pytest.raises(InputError, match="holds element 103, .* they end at 102"):
        model(10.0).energy(pair)
