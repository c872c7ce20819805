"""Potential: energies, derivatives, composition, elements, precision; and the compiled path through the dense list."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import network
from oracles.long_range import long_range_potential
from oracles.models import CONFIGS, random_model

from so3krates._errors import InputError
from so3krates.evaluation import Topology, evaluate
from so3krates.io.model_file import inspect, save
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.system import System
from so3krates.term import Sum

KRYPTON = LennardJones(0.0141, 3.0, 6.0, dtype="float64")


def cluster() -> System:
    return System(
        np.array([[0.0, 0.0, 0.0], [3.3, 0.1, 0.0], [0.2, 3.5, 0.3], [1.7, 1.6, 2.9]]), np.array([36, 36, 18, 36])
    )


def crystal(scale: float = 1.0) -> System:
    """Left-handed and triclinic, shorter than the cutoff."""
    cell = scale * np.array([[3.9, 0.2, 0.1], [0.3, 0.4, 4.2], [0.1, 4.1, 0.5]])
    return System(scale * np.array([[0.1, 0.0, 0.2], [2.0, 2.3, 1.9]]), np.array([36, 18]), cell, (True, True, True))


@pytest.fixture(scope="module")
def potential() -> Potential:
    return Potential(KRYPTON)


@pytest.fixture(scope="module")
def net() -> Potential:
    return Potential(random_model(CONFIGS["article"]))


def test_energy_is_the_sum_of_atomic_energies_and_references() -> None:
    table = ElementTable(numbers=(18, 36), energies=(-10.0, -20.5))
    system = cluster()
    bare = Potential(KRYPTON).predict([system])[0]
    shifted = Potential(KRYPTON, table).predict([system])[0]
    assert shifted.energy - bare.energy == pytest.approx(-10.0 - 3 * 20.5, abs=1e-12)
    np.testing.assert_allclose(shifted.energies - bare.energies, [-20.5, -20.5, -10.0, -20.5], atol=1e-12)
    np.testing.assert_array_equal(shifted.forces, bare.forces)
    assert shifted.energies.sum() == pytest.approx(shifted.energy, abs=1e-12)


def test_large_references_cost_no_precision_in_float32() -> None:
    """Differences of 0.1 meV on top of 10⁵ eV, which float32 cannot hold."""
    table = ElementTable(numbers=(18, 36), energies=(-14_000.0, -75_000.0))
    single = Potential(KRYPTON, table).astype("float32")
    exact = Potential(KRYPTON)
    moved = cluster().moved(1.001 * cluster().positions)
    difference = single.energy(moved) - single.energy(cluster())
    assert difference == pytest.approx(exact.energy(moved) - exact.energy(cluster()), abs=1e-7)


def test_unknown_elements_are_named() -> None:
    known = Potential(KRYPTON, ElementTable(numbers=(36,), energies=(0.0,)))
    for call in (known.energy, known.hessian, known.energy_and_forces):
        with pytest.raises(InputError, match="Ar.*knows only Kr"):
            call(cluster())
    with pytest.raises(InputError, match="Ar"):
        known.hvp(cluster(), np.zeros((4, 3)))


def test_atoms_on_top_of_each_other_are_named(potential: Potential) -> None:
    system = cluster()
    system = system.moved(np.concatenate([system.positions[:3], system.positions[1:2]]))
    for call in (potential.energy, potential.hessian):
        with pytest.raises(InputError, match="atoms 1 and 3"):
            call(system)


def test_nothing_in_nothing_out(potential: Potential) -> None:
    assert potential.predict([]) == []


def test_single_atom_has_no_forces(net: Potential) -> None:
    energy, forces = net.energy_and_forces(System(np.zeros((1, 3)), np.array([6])))
    assert np.isfinite(energy)
    assert forces.tolist() == [[0.0, 0.0, 0.0]]


def test_network_on_structures_equals_the_loops(net: Potential) -> None:
    for system in (cluster(), crystal(0.8)):
        assert net.energy(system) == pytest.approx(network.energies(net.model, system).sum(), rel=1e-11)


def test_results_are_float64_numpy_and_arithmetic_is_the_models() -> None:
    single = Potential(KRYPTON).astype("float32")
    assert (single.dtype, Potential(KRYPTON).dtype) == (np.float32, np.float64)
    prediction = single.predict([crystal()])[0]
    assert isinstance(prediction.energy, float)
    for values in (prediction.energies, prediction.forces, prediction.stress):
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.float64
    np.testing.assert_array_equal(prediction.forces, prediction.forces.astype(np.float32))
    back = single.astype("float64")
    assert back.dtype == np.float64
    assert back.energy(crystal()) == pytest.approx(Potential(KRYPTON).energy(crystal()), rel=1e-6)


def test_stress_needs_a_cell(potential: Potential) -> None:
    assert potential.predict([cluster()])[0].stress is None
    with pytest.raises(InputError, match="no periodic cell"):
        potential.stress(cluster())


def test_isotropic_stress_is_minus_the_pressure(potential: Potential) -> None:
    """tr σ/3 = dE/dV, positive where the crystal wants to shrink; in a left-handed cell."""
    for scale in (0.85, 1.0, 1.1):
        step = 1e-5
        volumes = [abs(np.linalg.det(crystal(s).cell)) for s in (scale - step, scale + step)]
        energies = [potential.energy(crystal(s)) for s in (scale - step, scale + step)]
        slope = (energies[1] - energies[0]) / (volumes[1] - volumes[0])
        assert np.trace(potential.stress(crystal(scale))) / 3.0 == pytest.approx(slope, rel=1e-6)
    assert np.trace(potential.stress(crystal(0.85))) < 0.0 < np.trace(potential.stress(crystal(1.1)))


@pytest.mark.parametrize("system", [cluster(), crystal()], ids=["cluster", "crystal"])
def test_hessian_is_the_derivative_of_the_forces(potential: Potential, system: System) -> None:
    hessian = potential.hessian(system)
    n = len(system)
    assert hessian.shape == (n, 3, n, 3)
    flat = hessian.reshape(3 * n, 3 * n)
    np.testing.assert_allclose(flat, flat.T, atol=1e-12)
    np.testing.assert_allclose(hessian.sum(axis=2), 0.0, atol=1e-12)
    step = 1e-5
    for column in range(3 * n):
        move = np.zeros(3 * n)
        move[column] = step
        moved = [system.moved(system.positions + sign * move.reshape(-1, 3)) for sign in (1, -1)]
        ends = [potential.energy_and_forces(each)[1] for each in moved]
        np.testing.assert_allclose(flat[:, column], -(ends[0] - ends[1]).reshape(-1) / (2 * step), atol=1e-7)


def test_hvp_is_the_hessian_times_the_vector(net: Potential, rng: np.random.Generator) -> None:
    system = System(np.array([[0.0, 0.0, 0.0], [1.1, 0.1, 0.0], [-0.2, 1.3, 0.3]]), np.array([8, 1, 1]))
    hessian = net.hessian(system)
    vector = rng.normal(size=(3, 3))
    expected = np.einsum("iajb,jb->ia", hessian, vector)
    np.testing.assert_allclose(net.hvp(system, vector), expected, atol=1e-10 * np.abs(hessian).max())
    np.testing.assert_allclose(hessian, hessian.transpose(2, 3, 0, 1), atol=1e-10 * np.abs(hessian).max())


@pytest.mark.usefixtures("unchecked")
def test_hvp_refuses_a_vector_of_another_shape(potential: Potential) -> None:
    with pytest.raises(InputError, match=r"\(3, 3\); expected \(4, 3\)"):
        potential.hvp(cluster(), np.zeros((3, 3)))


def test_sum_adds_terms_of_different_cutoffs() -> None:
    short = LennardJones(0.02, 2.0, 4.0, dtype="float64")
    both = Potential(Sum((short, KRYPTON)))
    assert both.cutoff == 6.0
    for system in (cluster(), crystal()):
        parts = [Potential(term).predict([system])[0] for term in (short, KRYPTON)]
        whole = both.predict([system])[0]
        assert whole.energy == pytest.approx(parts[0].energy + parts[1].energy, rel=1e-12)
        np.testing.assert_allclose(whole.forces, parts[0].forces + parts[1].forces, atol=1e-12)


@pytest.mark.parametrize("term", ["lennard-jones", "article", "so3lr", "neighbors"])
@pytest.mark.parametrize("name", ["cluster", "crystal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_evaluation_equals_prediction(name: str, dtype: str, term: str) -> None:
    """Dense list, energy and forces in one compiled function against the host list; an ion with unpaired electrons."""
    system = replace({"cluster": cluster(), "crystal": crystal()}[name], charge=-1.0, unpaired=1.0)
    model = KRYPTON if term == "lennard-jones" else random_model(CONFIGS[term])
    single = Potential(model).astype(dtype)
    neighbors = single.allocate(system)
    cell = None if system.cell is None else jnp.asarray(system.cell, dtype)
    compiled = jax.jit(lambda x: evaluate(single.model, Topology.of(system, dtype), neighbors, x, cell))
    result = compiled(jnp.asarray(system.positions, dtype))
    expected = single.predict([system])[0]
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    assert not bool(result.overflow)
    assert result.forces.dtype == dtype
    assert float(result.energy) == pytest.approx(expected.energy, rel=tolerance)
    scale = np.abs(expected.forces).max()
    np.testing.assert_allclose(result.forces, expected.forces, atol=tolerance * scale)
    if system.cell is not None:
        stress = np.asarray(result.virial) / abs(np.linalg.det(system.cell))
        np.testing.assert_allclose(stress, expected.stress, atol=tolerance * np.abs(expected.stress).max())
    differences = system.positions[:, None] - system.positions[None]
    if name == "cluster":
        distances = np.linalg.norm(differences, axis=-1)[np.triu_indices(len(system), 1)]
        assert float(result.closest) == pytest.approx(distances.min(), rel=1e-5)


def test_compiled_evaluation_far_from_the_origin_in_float32() -> None:
    """500 Å away float32 holds positions to 3e-5 Å; nothing more than that may be lost."""
    system = cluster()
    far = jnp.asarray(system.positions + 500.0, jnp.float32)
    single = Potential(KRYPTON).astype("float32")
    result = evaluate(single.model, Topology.of(system, "float32"), single.allocate(system), far, None)
    expected = single.predict([system.moved(np.asarray(far, np.float64))])[0]
    np.testing.assert_allclose(result.forces, expected.forces, atol=1e-4 * np.abs(expected.forces).max())


def test_ase_atoms_are_pointed_to_from_ase(potential: Potential, unchecked: None) -> None:
    with pytest.raises(InputError, match=r"expected a System, received Atoms; use System\.from_ase\(atoms\)"):
        potential.energy_and_forces(cluster().to_ase())  # type: ignore[arg-type]


def test_repr_fits_on_a_line(tmp_path: Path) -> None:
    potential = long_range_potential()
    shown = repr(potential)
    save(potential, tmp_path / "model.safetensors")
    assert shown.startswith("Potential(network + zbl + electrostatics + dispersion; H C O Na Si Cl; cutoff ")
    assert shown.endswith(f"; float64; {inspect(tmp_path / 'model.safetensors').parameters:,} parameters; exact)")
    assert len(shown) < 200
    assert repr(Potential(KRYPTON)) == "Potential(lennard_jones; any element; cutoff 6 Å; float64; 2 parameters; exact)"
