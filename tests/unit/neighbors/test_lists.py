"""Near and far pairs together, the mesh of a cell that moves, and structures with hardly any pairs."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.pairs import canonical, within

from so3krates.neighbors import dense
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.mesh import COARSER, finer, points
from so3krates.neighbors.overflow import COARSE, FAR, ROOM, THIN
from so3krates.neighbors.pairs import Pairs
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.physics.full_range import SPACING, FullRangeElectrostatics
from so3krates.potential import Potential
from so3krates.rollout import MAX_ATTEMPTS
from so3krates.system import System
from so3krates.term import Sum

SPACING_A = 0.7


def box(edge: float = 12.4, atoms: int = 24, seed: int = 0) -> System:
    rng = np.random.default_rng(seed)
    cell = edge * np.array([[1.0, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.1, 0.3, 1.0]])
    return System(rng.uniform(-1.0, 2.0, (atoms, 3)) @ cell, np.ones(atoms, int), cell, (True, True, True))


def found_by(pairs: Pairs, system: System) -> list:
    mask = np.asarray(pairs.mask)
    centers, others, vectors = (np.asarray(a)[mask] for a in (pairs.centers, pairs.others, pairs.vectors))
    rest = vectors - (system.positions[others] - system.positions[centers])
    shifts = np.zeros_like(rest) if system.cell is None else rest @ np.linalg.inv(system.cell)
    return sorted(canonical(i, j, s) for i, j, s in zip(centers, others, np.round(shifts), strict=True))


def update(neighbors: Neighbors, system: System):
    cell = None if system.cell is None else jnp.asarray(system.cell)
    return jax.jit(neighbors.update)(jnp.asarray(system.positions), cell)


def held(neighbors: Neighbors, start: System, later: System) -> Neighbors:
    """Enlarged from the start, as often as a chunk is run again, until it holds what comes later."""
    for _ in range(MAX_ATTEMPTS):
        overflow = int(update(neighbors, later).overflow)
        if not overflow:
            return neighbors
        neighbors = neighbors.larger(start, overflow)
    raise AssertionError(f"still overflows: {overflow}, {neighbors}")


@pytest.mark.parametrize("shrunk", [1.0, 0.8, pytest.param(0.6, marks=pytest.mark.slow)])
def test_near_pairs_from_far_ones_that_reach_over_many_images(shrunk: float) -> None:
    """A long-range cutoff of 12 Å in a box of 12.4 Å, and in what a barostat makes of it."""
    system = box()
    neighbors = Neighbors.of(system, 4.5, 12.0)
    strain = shrunk * np.eye(3) + (1.0 - shrunk) * np.array([[0.0, 0.4, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, 0.0]])
    assert system.cell is not None
    later = System(system.positions @ strain, system.numbers, system.cell @ strain, system.pbc)
    found = update(neighbors, later)
    if int(found.overflow):
        found = update(held(neighbors, system, later), later)
    assert found.far is not None
    assert found_by(found.near, later) == sorted(within(later, 4.5))
    assert found_by(found.far, later) == sorted(within(later, 12.0))


@pytest.mark.parametrize("short", ["near", "far"])
def test_only_what_was_short_is_enlarged(short: str) -> None:
    system = box()
    enough = Neighbors.of(system, 3.0, 6.0)
    assert enough.far is not None
    short_one = replace(getattr(enough, short), capacity=3)
    small = Neighbors(short_one, enough.far) if short == "near" else Neighbors(enough.near, short_one)
    overflow = int(update(small, system).overflow)
    assert overflow == (ROOM if short == "near" else ROOM << FAR)
    larger = small.larger(system, overflow)
    assert not int(update(larger, system).overflow)
    assert (larger.near == small.near, larger.far == small.far) == (short == "far", short == "near")
    before, after = 3, getattr(larger, short).capacity
    what = small.change(larger)
    assert what.startswith(f"{short} pairs: all pairs in ") and what.count("pairs:") == 1
    assert what.count(f"room for {before} pairs → ") == 1 and what.endswith(f"room for {after} pairs")


def test_causes_of_near_and_far_lists_are_told_apart() -> None:
    system = box()
    assert system.cell is not None
    neighbors = Neighbors(dense.allocate(system, 3.0, capacity=400), dense.allocate(system, 5.0, capacity=2000))
    thin = System(system.positions * 0.78, system.numbers, system.cell * 0.78, system.pbc)
    overflow = int(update(neighbors, thin).overflow)
    assert overflow == THIN << FAR
    mended = held(neighbors, system, thin)
    assert mended.near == neighbors.near and isinstance(mended.far, dense.DenseNeighbors)
    assert any(mended.far.images) and mended.far.capacity == 2000


def test_a_mesh_is_refined_when_the_cell_has_outgrown_it() -> None:
    system = box(20.0)
    assert system.cell is not None
    lengths = np.linalg.norm(system.cell, axis=1)
    neighbors = replace(Neighbors.of(system, 4.0), mesh=points(lengths, SPACING_A), mesh_spacing=SPACING_A)
    limits = (1.0 + COARSER) * SPACING_A * np.array(neighbors.mesh) / lengths
    for growth, coarse in ((limits.min() - 1e-4, 0), (limits.min() + 1e-4, COARSE), (0.8, 0)):
        grown = System(growth * system.positions, system.numbers, growth * system.cell, system.pbc)
        assert int(update(neighbors, grown).overflow) & COARSE == coarse
    larger = neighbors.larger(system, COARSE)
    assert (larger.near, larger.far) == (neighbors.near, neighbors.far)
    # As fine as asked for where the old one failed, and by COARSER beyond.
    assert (lengths * limits.min() * (1.0 + COARSER) / np.array(larger.mesh) <= SPACING_A).all()
    assert neighbors.change(larger).startswith("mesh: ")


def test_a_mesh_follows_a_cell_that_grows_much_within_one_chunk() -> None:
    """The structure given is always that before the chunk."""
    cell, mesh = 20.0 * np.eye(3), points(np.full(3, 20.0), SPACING_A)
    for _ in range(7):
        mesh = finer(mesh, SPACING_A, cell)
    assert (1.6 * 20.0 / np.array(mesh) < SPACING_A).all()


def test_forces_of_a_cell_that_grew_are_within_the_bound_of_the_mesh() -> None:
    """A mesh made for the start of a run, in the longest cell for which it is kept; compared with one three times as
    fine."""
    rng = np.random.default_rng(4)
    system = System(rng.uniform(0.0, 11.0, (24, 3)), np.array([11, 17] * 12), 11.0 * np.eye(3), (True, True, True))
    term = FullRangeElectrostatics(4.0)
    assert term.mesh_spacing == pytest.approx(SPACING * 4.0 / np.sqrt(2.0))
    potential = Potential(Sum((FixedCharges({11: 1.0, 17: -1.0}), term))).astype("float64")
    start = potential.allocate(system)
    assert start.mesh_spacing == term.mesh_spacing and start.mesh == potential.mesh(system)
    grown = (1.0 + COARSER) * term.mesh_spacing * start.mesh[0] / 11.0
    later = System(grown * system.positions, system.numbers, 11.0 * grown * np.eye(3), system.pbc)
    lists = potential.find_pairs(later)
    forces, exact = (
        potential.predict([later], lists=[lists._replace(mesh=(n, n, n))])[0].forces
        for n in (start.mesh[0], 3 * start.mesh[0])
    )
    assert np.abs(forces - exact).max() < 5e-4 * np.abs(exact).max()


def test_lists_and_mesh_are_restored_from_a_record() -> None:
    start = replace(Neighbors.of(box(), 3.0, 6.0), mesh=(8, 9, 10), mesh_spacing=SPACING_A)
    grown = replace(start.larger(box()), mesh=(12, 12, 12))
    record = json.loads(json.dumps(grown.recorded()))
    assert start.restored(record) == grown != start


@pytest.mark.parametrize("atoms", [0, 1, 2])
def test_hardly_any_atoms(atoms: int) -> None:
    """No pair, or one that flies apart: nothing overflows, and no distance is made up."""
    for apart in (1.0, 3.0, 1e4):
        system = System(apart * np.eye(3)[:atoms], np.ones(atoms, int))
        for neighbors in (Neighbors.of(system, 4.0), Neighbors.of(system, 4.0, 1000.0)):
            found = update(neighbors, system)
            assert not int(found.overflow)
            close = atoms == 2 and np.sqrt(2.0) * apart < 4.0
            assert int(jnp.sum(found.near.mask)) == close
            assert float(neighbors.closest(found)) == pytest.approx(np.sqrt(2.0) * apart if close else 4.0)
            if found.far is not None:
                assert int(jnp.sum(found.far.mask)) == (atoms == 2 and apart < 1e3 / np.sqrt(2.0))


def test_a_gas_allocated_without_any_pair_meets_later() -> None:
    """A list made for no pairs at all overflows when there are more than its spare places, and then holds them."""
    system = System(100.0 * np.arange(30.0).reshape(10, 3), np.ones(10, int))
    neighbors = Neighbors(dense.allocate(system, 4.0))
    assert int(jnp.sum(update(neighbors, system).near.mask)) == 0
    met = system.moved(system.positions * 5e-4)
    assert int(update(neighbors, met).overflow) == ROOM
    assert int(jnp.sum(update(held(neighbors, system, met), met).near.mask)) == 45


def test_one_atom_in_a_cell_sees_its_images_come_nearer() -> None:
    system = System(np.zeros((1, 3)), np.array([1]), 5.0 * np.eye(3), (True, True, True))
    neighbors = Neighbors.of(system, 4.0)
    assert int(jnp.sum(update(neighbors, system).near.mask)) == 0
    small = replace(system, cell=2.0 * np.eye(3))
    # Closer than 4 Å in a lattice of 2 Å: 26 points round the origin, half of them.
    assert int(jnp.sum(update(held(neighbors, system, small), small).near.mask)) == 13
