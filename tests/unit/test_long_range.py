"""A potential with two neighbour lists: what reaches the user, and which structures count as isolated."""

from dataclasses import replace
from pathlib import Path

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.long_range import CONFIG, long_range_model, long_range_potential
from oracles.models import random_model

from so3krates import md
from so3krates._errors import FileError, InputError
from so3krates.evaluation import Topology, evaluate
from so3krates.graph import Sizes
from so3krates.io.model_file import load, save
from so3krates.io.trajectory import Trajectory
from so3krates.neighbors.dense import Pairs
from so3krates.neighbors.lists import Neighbors
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.potential import MOLECULAR_CUTOFF, PERIODIC_CUTOFF, Potential
from so3krates.system import System, in_empty_box
from so3krates.term import Sum


def methanol(charge: float = 0.0, at: float = 0.0) -> System:
    atoms = ase.build.molecule("CH3OH")
    return System(atoms.positions + at, atoms.numbers, charge=charge, unpaired=abs(charge))


def boxed(length: float) -> System:
    return replace(methanol(at=0.5 * length), cell=length * np.eye(3), pbc=(True, True, True))


def silicon() -> System:
    atoms = ase.build.bulk("Si")
    return System(
        atoms.positions + np.array([[0.0, 0.0, 0.0], [0.1, 0.0, -0.2]]), atoms.numbers, atoms.cell[:], (True,) * 3
    )


@pytest.mark.parametrize("charge", [0.0, 1.0, -2.0])
def test_charges_add_up_and_components_too(charge: float) -> None:
    potential = long_range_potential()
    found = potential.predict([methanol(), methanol(charge)])[1]
    assert found.charges is not None
    assert found.charges.sum() == pytest.approx(charge, abs=1e-12)
    assert set(found.components) == {"network", "zbl", "electrostatics", "dispersion"}
    references = potential.reference_energy(methanol().numbers)
    assert sum(found.components.values()) + references == pytest.approx(found.energy, abs=1e-9)
    assert found.hirshfeld_ratios is not None and (found.hirshfeld_ratios >= 0).all()


def test_dipole_of_an_ion_is_that_from_its_centre_of_mass() -> None:
    potential = long_range_potential()
    here, there = potential.predict([methanol(1.0), methanol(1.0, at=3.0)])
    np.testing.assert_allclose(here.dipole, there.dipole, atol=1e-10)
    center = np.average(methanol().positions, axis=0, weights=methanol().masses)
    np.testing.assert_allclose(here.dipole, here.charges @ (methanol().positions - center), atol=1e-12)


def test_dipole_of_a_neutral_molecule_has_no_origin() -> None:
    here, there = long_range_potential().predict([methanol(), methanol(at=50.0)])
    np.testing.assert_allclose(here.dipole, there.dipole, atol=1e-9)
    np.testing.assert_allclose(here.dipole, here.charges @ methanol().positions, atol=1e-12)


def liquid() -> System:
    """Large enough for the nearest images alone, and so full that the long-range pairs are the table of all."""
    places = np.array([[0.0, 0.0, 0.0], [5.0, 1.0, 2.0], [2.0, 6.0, 6.0], [8.0, 7.0, -2.0]])
    positions = np.concatenate([methanol().positions + place for place in places])
    cell = np.array([[12.5, 0.0, 0.0], [0.4, 12.6, 0.0], [-0.3, 0.2, 12.7]])
    return System(positions, np.tile(methanol().numbers, len(places)), cell, (True, True, True))


@pytest.mark.parametrize(
    ("system", "table"),
    [
        pytest.param(methanol(1.0), True, id="ion"),
        pytest.param(silicon(), False, id="crystal", marks=pytest.mark.slow),
        pytest.param(liquid(), True, id="liquid", marks=pytest.mark.slow),
    ],
)
def test_compiled_evaluation_equals_prediction(system: System, table: bool) -> None:
    potential = long_range_potential()
    cell = None if system.cell is None else jnp.asarray(system.cell)
    neighbors, topology = potential.allocate(system), Topology.of(system, "float64")
    assert neighbors.far is not None and neighbors.far.whole_table == table
    found = jax.jit(lambda x: evaluate(potential.model, topology, neighbors, x, cell))(jnp.asarray(system.positions))
    expected = potential.predict([system])[0]
    assert not bool(found.overflow)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-10)
    np.testing.assert_allclose(found.outputs.charges, expected.charges, atol=1e-12)
    for name, energies in found.outputs.components.items():
        assert float(jnp.sum(energies)) == pytest.approx(expected.components[name], abs=1e-10)
    if system.cell is not None:
        stress = np.asarray(found.virial) / abs(np.linalg.det(system.cell))
        np.testing.assert_allclose(stress, expected.stress, atol=1e-12)


@pytest.mark.slow
def test_overflow_of_either_list_is_overflow() -> None:
    potential, system = long_range_potential(), silicon()
    enough = potential.allocate(system)
    assert enough.far is not None
    x, cell = jnp.asarray(system.positions), jnp.asarray(system.cell)
    assert not bool(enough.update(x, cell).overflow)
    for name in ("near", "far"):
        small = replace(enough, **{name: replace(getattr(enough, name), capacity=2)})
        assert bool(small.update(x, cell).overflow)
        larger = small.larger(system)
        assert not bool(larger.update(x, cell).overflow)


def test_cutoff_is_chosen_by_the_structure_or_by_the_user() -> None:
    automatic = long_range_potential(None)
    assert automatic.far_cutoff(methanol()) == MOLECULAR_CUTOFF
    assert automatic.far_cutoff(silicon()) == PERIODIC_CUTOFF
    assert long_range_potential(7.5).far_cutoff(silicon()) == 7.5
    mixed = automatic.predict([methanol(), silicon()])
    for together, alone in zip(mixed, (methanol(), silicon()), strict=True):
        assert together.energy == pytest.approx(automatic.energy(alone), abs=1e-9)


def test_a_model_file_keeps_how_far_long_range_terms_reach(tmp_path: Path) -> None:
    """Not whether a structure is isolated: that is no property of a model."""
    save(replace(long_range_potential(7.5), isolated=True), tmp_path / "model.safetensors")
    kept = load(tmp_path / "model.safetensors")
    assert kept.long_range_cutoff == 7.5 and kept.isolated is None
    assert load(tmp_path / "model.safetensors", long_range_cutoff=9.0).long_range_cutoff == 9.0


def test_molecule_in_an_empty_box_is_isolated_unless_the_user_says_otherwise() -> None:
    automatic = long_range_potential(None)
    huge, usual = boxed(1000.0), boxed(30.0)
    assert in_empty_box(huge) and not in_empty_box(usual) and not in_empty_box(methanol())
    assert automatic.energy(huge) == pytest.approx(automatic.energy(methanol()), abs=1e-8)
    assert "taken as isolated" in str(automatic.remark(huge))
    assert automatic.remark(usual) is None and automatic.remark(methanol()) is None
    kept = replace(automatic, isolated=False)
    assert kept.remark(huge) is None and kept.far_cutoff(huge) == PERIODIC_CUTOFF
    assert kept.energy(huge) != pytest.approx(automatic.energy(huge), abs=1e-6)
    forced = replace(automatic, isolated=True)
    assert forced.energy(usual) == pytest.approx(automatic.energy(methanol()), abs=1e-8)
    assert automatic.predict([huge])[0].stress is not None


def test_a_molecule_across_the_faces_of_an_empty_box_is_mentioned() -> None:
    """Its atoms cannot be taken as they are given; what happens instead is said."""
    automatic = long_range_potential(None)
    atoms = boxed(1000.0).to_ase()
    atoms.positions -= atoms.positions[0]
    atoms.wrap()
    torn = System.from_ase(atoms)
    assert np.ptp(torn.positions, axis=0).max() > 900.0
    assert not in_empty_box(torn) and in_empty_box(torn, wrapped=True)
    assert "lies across the faces" in str(automatic.remark(torn)) and "of 12 Å" in str(automatic.remark(torn))
    assert automatic.energy(torn) == pytest.approx(replace(automatic, isolated=False).energy(boxed(1000.0)), abs=1e-8)


def test_a_molecule_across_the_faces_is_not_taken_apart_either() -> None:
    atoms = boxed(1000.0).to_ase()
    atoms.positions -= atoms.positions[0]
    atoms.wrap()
    with pytest.raises(InputError, match="shift it to the middle of the cell"):
        replace(long_range_potential(None), isolated=True).energy(System.from_ase(atoms))


def test_dipole_in_float32_does_not_depend_on_the_place() -> None:
    here, there = long_range_potential(dtype="float32").predict([methanol(), methanol(at=500.0)])
    np.testing.assert_allclose(here.dipole, there.dipole, atol=1e-5)


@pytest.mark.slow
def test_isolated_concerns_long_range_terms_alone() -> None:
    """The network sees bonds across the faces of the cell all the same."""
    usual, forced = long_range_potential(5.0), replace(long_range_potential(5.0), isolated=True)
    parts, without = (p.predict([silicon()])[0].components for p in (usual, forced))
    assert without["network"] == pytest.approx(parts["network"], abs=1e-10)
    assert without["zbl"] == pytest.approx(parts["zbl"], abs=1e-10)
    assert without["dispersion"] != pytest.approx(parts["dispersion"], abs=1e-6)
    neighbors, topology = forced.allocate(silicon()), Topology.of(silicon(), "float64")
    x, cell = jnp.asarray(silicon().positions), jnp.asarray(silicon().cell)
    found = jax.jit(lambda x: evaluate(forced.model, topology, neighbors, x, cell))(x)
    np.testing.assert_allclose(found.forces, forced.predict([silicon()])[0].forces, atol=1e-10)


def test_slab_in_a_tall_cell_is_not_isolated() -> None:
    slab = replace(silicon(), cell=np.array([[3.8, 0.0, 0.0], [0.0, 3.8, 0.0], [0.0, 0.0, 500.0]]))
    assert not in_empty_box(slab)


def test_far_molecules_have_the_energy_of_the_sum_where_physics_says_so() -> None:
    """Fixed charges, cutoff 12 Å: beyond it nothing is left; without cutoff two charged ones attract as 1/r."""
    ions = FixedCharges({11: 1.0, 17: -1.0}, dtype="float64")
    parts = [System(np.array([[0.0, 0.0, 0.0]]), np.array([11])), System(np.array([[30.0, 0.0, 0.0]]), np.array([17]))]
    both = System(np.concatenate([p.positions for p in parts]), np.array([11, 17]))
    for cutoff, expected in ((12.0, 0.0), (None, -14.399645351950548 * (1 / 30 - 1 / 1000))):
        potential = Potential(Sum((ions, Electrostatics())), long_range_cutoff=cutoff)
        gap = potential.energy(both) - sum(potential.energy(part) for part in parts)
        assert gap == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_a_batch_holds_long_range_pairs_of_all_or_of_none() -> None:
    from so3krates.graph import make_graph
    from so3krates.neighbors.host import find_pair_lists

    lists = [find_pair_lists(methanol(), 3.0, 6.0), find_pair_lists(methanol(), 3.0)]
    with pytest.raises(InputError, match="some have none"):
        make_graph([methanol(), methanol()], lists, "float64")


def test_padding_has_room_for_long_range_pairs() -> None:
    potential = long_range_potential()
    lists = [potential.find_pairs(silicon())]
    sizes = Sizes.of([silicon()], lists)
    assert sizes.long_range >= lists[0].counts[1] > lists[0].counts[0]
    assert long_range_model().long_range and CONFIG.charges


def test_a_sum_needs_terms() -> None:
    with pytest.raises(InputError, match="there must be at least one"):
        Sum(())


def test_dynamics_conserves_energy_restarts_exactly_and_refuses_another_cutoff(tmp_path: Path) -> None:
    """With two lists in the checkpoint, in a box that counts as vacuum."""
    potential, system = long_range_potential(None), boxed(1000.0)
    path = tmp_path / "run.h5"
    quiet = md.Monitor(max_bond_deviation=None, max_temperature_K=1e9, min_distance=0.01)

    def run(steps: int, to: Path | None, chosen: Potential = potential, resume: bool = False) -> md.Run:
        return md.simulate(
            chosen, system, md.NVE(), timestep_fs=0.05, steps=steps, to=to, initial_temperature_K=50.0, monitor=quiet,
            save_every_fs=0.5, resume=resume,
        )[1]  # fmt: skip

    whole = run(60, None)
    run(30, path)
    run(60, path, resume=True)
    assert whole.frames is not None
    np.testing.assert_array_equal(Trajectory(path).read().positions, whole.frames.positions)
    assert np.ptp(whole.frames.conserved) < 1e-3 * max(np.ptp(whole.frames.kinetic_energy), 1e-2)
    for change in ({"long_range_cutoff": 9.0}, {"isolated": False}):
        with pytest.raises(FileError, match="another model, start structure or settings"):
            run(90, path, replace(potential, **change), resume=True)


@pytest.mark.parametrize("system", [methanol(), silicon(), boxed(9.0)], ids=["molecule", "crystal", "box"])
@pytest.mark.parametrize("capacity", [3, None, 10_000])
def test_near_pairs_chosen_from_far_ones_are_those_searched(system: System, capacity: int | None) -> None:
    both = Neighbors.of(system, 2.6, 6.0)
    both = replace(both, near=replace(both.near, capacity=capacity or both.near.capacity))
    x, cell = jnp.asarray(system.positions), None if system.cell is None else jnp.asarray(system.cell)
    chosen, searched = both.update(x, cell).near, both.near.update(x, cell)
    assert bool(chosen.overflow) == bool(searched.overflow) == (capacity == 3)
    if capacity != 3:
        assert described(chosen) == described(searched) != set()


def described(pairs: Pairs) -> set[tuple[float, ...]]:
    """Indices and vectors of the real pairs."""
    rows = zip(pairs.centers, pairs.others, np.round(pairs.vectors, 9).tolist(), pairs.mask, strict=True)
    return {(int(i), int(j), *vector) for i, j, vector, real in rows if real}


def test_a_radical_without_charge_and_multiplicity_is_remarked_on() -> None:
    """By models that embed charge or spin, to which a singlet of an odd number of electrons is something."""
    atoms = ase.build.molecule("CH3")
    remarks = long_range_potential().remarks(System.from_ase(atoms))
    assert list(remarks) == ["electrons"]
    for part in ("CH3 has 9 electrons", "multiplicity of 1", "total_charge", "total_spin"):
        assert part in remarks["electrons"]
    neither = CONFIG.model_copy(update={"charge_embedding": False, "spin_embedding": False})
    plain = Potential(random_model(neither))
    assert plain.remark(System.from_ase(atoms)) is None
    atoms.info |= {"total_charge": 0, "total_spin": 2}
    assert long_range_potential().remark(System.from_ase(atoms)) is None
    ion = System(atoms.positions, atoms.numbers, charge=-1.0)
    assert long_range_potential().remark(ion) is None


def test_remarks_of_two_kinds_on_one_structure() -> None:
    huge = boxed(1000.0)
    found = long_range_potential(None).remarks(replace(huge, unpaired=1.0))
    assert list(found) == ["isolated", "electrons"]
    assert "isolated=False (--no-isolated)" in found["isolated"] and "18 electrons" in found["electrons"]
