"""Electrostatics over all periodic images: against Ewald sums, of NumPy and of jax-pme, and known crystals."""

from dataclasses import replace
from pathlib import Path

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxpme import Ewald
from oracles.long_range import long_range_potential
from scipy.special import erfc

from so3krates import testing
from so3krates._errors import InputError
from so3krates.evaluation import Topology, evaluate
from so3krates.io.loading import load
from so3krates.io.model_file import save
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.physics.full_range import FullRangeElectrostatics
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum

K = 14.399645351950548
ALL = (True, True, True)
SALT = FixedCharges({11: 0.8, 17: -0.8}, dtype="float64")
SKEWED = System(
    np.array([[0.3, 0.1, 0.2], [3.1, 2.7, 1.0], [5.2, 0.4, 4.4], [1.1, 5.0, 6.3]]),
    np.array([11, 17, 17, 11]),
    np.array([[7.1, 0.2, 0.1], [1.3, 6.4, 0.2], [0.4, -0.9, 8.2]]),
    ALL,
)


def model(width: float = 4.0) -> Potential:
    return Potential(Sum((SALT, FullRangeElectrostatics(width))))


def charges(system: System) -> np.ndarray:
    return np.where(system.numbers == 11, 0.8, -0.8)


def ewald(system: System, width: float) -> tuple[float, np.ndarray]:
    """Energy and forces of Gaussian clouds, eV and eV/Å: the sum over reciprocal vectors, as in any textbook."""
    assert system.cell is not None
    q, smearing = charges(system), width / np.sqrt(2.0)
    reach = np.sqrt(2.0 * np.log(1e18)) / smearing
    most = np.ceil(reach * np.linalg.norm(system.cell, axis=1) / (2.0 * np.pi)).astype(int)
    steps = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij"), -1).reshape(-1, 3)
    vectors = 2.0 * np.pi * steps[np.any(steps != 0, axis=1)] @ np.linalg.inv(system.cell).T
    squared = np.sum(vectors**2, axis=1)
    weight = 4.0 * np.pi / abs(np.linalg.det(system.cell)) * np.exp(-0.5 * smearing**2 * squared) / squared
    phases = np.exp(1j * system.positions @ vectors.T)
    structure = q @ phases
    energy = 0.5 * K * weight @ np.abs(structure) ** 2 - K * q @ q / (smearing * np.sqrt(2.0 * np.pi))
    return float(energy), K * q[:, None] * np.imag(phases * (structure.conj() * weight)) @ vectors


@pytest.mark.parametrize("width", [4.0, 2.0])
def test_mesh_equals_the_sum_over_reciprocal_vectors(width: float) -> None:
    energy, forces = model(width).energy_and_forces(SKEWED)
    expected_energy, expected = ewald(SKEWED, width)
    assert energy == pytest.approx(expected_energy, abs=1e-5 * abs(expected_energy))
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(3))
def test_error_in_small_skewed_cells(seed: int) -> None:
    """The bound that the documentation states."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(5.0, 9.0, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    system = System(rng.uniform(size=(6, 3)) @ cell, np.array([11, 17] * 3), cell, ALL)
    forces, expected = model().energy_and_forces(system)[1], ewald(system, 4.0)[1]
    assert np.abs(forces - expected).max() < 5e-4 * np.abs(expected).max()


def test_finer_mesh_converges_to_the_sum_over_reciprocal_vectors() -> None:
    expected, forces = ewald(SKEWED, 4.0)
    potential = model()
    lists = potential.find_pairs(SKEWED)
    errors = []
    for refinement in (1, 2, 4):
        finer = lists._replace(mesh=tuple(refinement * points for points in lists.mesh))
        found = potential.predict([SKEWED], lists=[finer])[0]
        errors.append(float(np.abs(found.forces - forces).max()))
    # Forces of splines of fifth order: the fourth power of the spacing.
    assert errors[1] < errors[0] / 10.0 and errors[2] < errors[1] / 10.0
    assert found.energy == pytest.approx(expected, abs=1e-8)


def test_mesh_equals_ewald_of_the_library_whose_splitting_is_another() -> None:
    """Point charges at short range are put together from two parts there; ours are the difference of two such sums."""
    width, smearing, cutoff = 2.0, 0.6, 5.0
    atoms = SKEWED.to_ase()
    calculator = Ewald(prefactor=K)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        inputs = calculator.prepare(atoms, charges(SKEWED), cutoff, lr_wavelength=0.3, smearing=smearing)
        points = float(calculator.energy(*inputs[:-1]))
    # erfc(r/σ)/r is what damping takes away; it is short-ranged, so summed over images directly.
    shifts = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3) @ SKEWED.cell
    vectors = SKEWED.positions[None, :, None] - SKEWED.positions[:, None, None] + shifts
    r = np.linalg.norm(vectors, axis=-1)
    taken = np.where(r > 0, erfc(r / width) / np.where(r > 0, r, 1.0), 0.0)
    taken = 0.5 * K * np.einsum("i,j,ijs->", charges(SKEWED), charges(SKEWED), taken)
    assert model(width).energy(SKEWED) == pytest.approx(points - taken, rel=1e-5)


def test_madelung_constant_of_rock_salt() -> None:
    """Damping that is narrow against the nearest distance leaves point charges, whose energy is in every textbook."""
    distance = 2.82
    crystal = System.from_ase(ase.build.bulk("NaCl", "rocksalt", a=2 * distance, cubic=True))
    expected = -1.7475645946 * K * 0.64 / distance * 4
    assert model(0.7).energy(crystal) == pytest.approx(expected, rel=1e-5)


def test_forces_and_stress_are_derivatives() -> None:
    testing.assert_forces_are_gradients(model(), SKEWED)
    testing.assert_stress_is_strain_derivative(model(), SKEWED)


def test_symmetries_that_a_mesh_keeps() -> None:
    testing.assert_equivariant(model(), SKEWED)
    testing.assert_permutation_invariant(model(), SKEWED)
    testing.assert_no_cross_frame_gradient(model(), SKEWED)
    energy, forces = model().energy_and_forces(SKEWED)
    assert SKEWED.cell is not None
    moved = SKEWED.moved(SKEWED.positions + np.array([[1, 0, 0], [0, -2, 1], [0, 0, 0], [3, 3, 3]]) @ SKEWED.cell)
    assert model().energy(moved) == pytest.approx(energy, abs=1e-10)
    # Translation and the sum of forces are as good as the mesh.
    shifted = model().energy(SKEWED.moved(SKEWED.positions + 0.37))
    assert shifted == pytest.approx(energy, abs=1e-5 * abs(energy))
    assert np.abs(forces.sum(axis=0)).max() < 2e-4 * np.abs(forces).max()


def test_batches_equal_single_structures() -> None:
    other = replace(SKEWED, cell=1.3 * SKEWED.cell, positions=1.2 * SKEWED.positions)
    potential = model()
    lists = [potential.find_pairs(system) for system in (SKEWED, other)]
    mesh = tuple(np.max([each.mesh for each in lists], axis=0).tolist())
    lists = [each._replace(mesh=mesh) for each in lists]
    together = potential.predict([SKEWED, other], lists=lists)
    for system, pairs, found in zip((SKEWED, other), lists, together, strict=True):
        alone = potential.predict([system], lists=[pairs])[0]
        assert found.energy == pytest.approx(alone.energy, abs=1e-10)
        np.testing.assert_allclose(found.forces, alone.forces, atol=1e-10)
        np.testing.assert_allclose(found.stress, alone.stress, atol=1e-12)


@pytest.mark.slow
def test_compiled_evaluation_equals_prediction() -> None:
    potential = long_range_potential().full_range()
    neighbors, topology = potential.allocate(SKEWED), Topology.of(SKEWED, "float64")
    run = jax.jit(lambda x, cell: evaluate(potential.model, topology, neighbors, x, cell))
    with jax.enable_x64(True):
        found = run(jnp.asarray(SKEWED.positions), jnp.asarray(SKEWED.cell))
    expected = potential.predict([SKEWED])[0]
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-9)
    stress = np.asarray(found.virial) / abs(np.linalg.det(SKEWED.cell))
    np.testing.assert_allclose(stress, expected.stress, atol=1e-10)


def test_far_from_the_origin_float32_loses_nothing() -> None:
    assert SKEWED.cell is not None
    single = model().astype("float32")
    away = SKEWED.moved(SKEWED.positions + 500 * SKEWED.cell[0])
    np.testing.assert_allclose(
        single.energy_and_forces(away)[1], model().energy_and_forces(SKEWED)[1], rtol=0, atol=1e-5
    )


def test_hessian_is_the_derivative_of_the_forces() -> None:
    potential, step = model(2.0), 1e-4
    column = potential.hessian(SKEWED)[:, :, 1, 2]
    shift = np.zeros((4, 3))
    shift[1, 2] = step
    ends = [potential.energy_and_forces(SKEWED.moved(SKEWED.positions + sign * shift))[1] for sign in (1, -1)]
    np.testing.assert_allclose(column, -(ends[0] - ends[1]) / (2 * step), atol=1e-6)


def test_large_cells_agree_with_the_cutoff_form() -> None:
    """A neutral pair in a large cell: what the images add goes like the dipole squared over the volume."""
    pair = System(np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), np.array([11, 17]))
    alone = Potential(Sum((SALT, Electrostatics(2.0))), long_range_cutoff=1e9).energy(pair)
    dipole = 0.8 * 2.0
    for length in (24.0, 36.0):
        boxed = replace(pair, cell=length * np.eye(3), pbc=ALL)
        images = model(2.0).energy(boxed) - alone
        # Makov and Payne (1995), for a cubic cell in a conductor.
        assert images == pytest.approx(-2.0 * np.pi * K * dipole**2 / (3.0 * length**3), rel=0.015)


def test_option_replaces_the_form_with_a_cutoff(tmp_path: Path) -> None:
    potential = long_range_potential()
    path = tmp_path / "model.safetensors"
    save(potential, path)
    found = load(path, "float64", full_range=True).predict([SKEWED])[0].components
    usual = load(path, "float64", long_range_cutoff=6.0).predict([SKEWED])[0].components
    assert found["network"] == usual["network"] and found["electrostatics"] != usual["electrostatics"]
    save(potential.full_range(), tmp_path / "full.safetensors")
    again = load(tmp_path / "full.safetensors", "float64").predict([SKEWED])[0].components
    assert again["electrostatics"] == found["electrostatics"]
    with pytest.raises(InputError, match="has no electrostatics"):
        Potential(SALT).full_range()


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (replace(SKEWED, charge=1.0), "total charge of 1 e; the sum over all its periodic images is infinite"),
        (replace(SKEWED, pbc=(True, True, False)), "periodic along a, b only"),
        (SKEWED.without_cell(), "taken as isolated"),
        (replace(SKEWED, cell=np.eye(3) * 1000.0), "taken as isolated"),
    ],
)
def test_what_cannot_be_right_is_refused(system: System, message: str) -> None:
    potential = long_range_potential().full_range()
    for ask in (potential.energy, potential.allocate, potential.pair_lists):
        with pytest.raises(InputError, match=message):
            ask(system)


def test_charges_that_do_not_add_up_are_refused() -> None:
    alone = System(np.zeros((1, 3)), np.array([11]), 6.0 * np.eye(3), ALL)
    with pytest.raises(InputError, match=r"the fixed charges of Na add up to 0\.8 e"):
        model().energy(alone)


def test_without_charges_it_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="needs cells and charges"):
        Potential(FullRangeElectrostatics()).energy(SKEWED)
