"""Candidates kept between steps: along paths of small steps, whose cell moves too, the pairs are those of brute force,
and candidates are searched for only where an atom has gone too far."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.pairs import canonical, within

from so3krates.neighbors import cell_list, dense, verlet
from so3krates.neighbors.choice import described, enlarged, recorded, restored, with_skin
from so3krates.neighbors.lists import Neighbors
from so3krates.neighbors.overflow import ROOM, THIN
from so3krates.neighbors.verlet import VerletNeighbors
from so3krates.neighbors.verlet_state import VerletState
from so3krates.system import System

CUTOFF, SKIN = 2.0, 0.4
PBC = {"box": (True, True, True), "slab": (True, True, False), "molecule": (False, False, False)}


def start(kind: str, atoms: int = 80, edge: float = 7.5) -> System:
    rng = np.random.default_rng(4)
    cell = edge * np.array([[1.0, 0.1, 0.0], [-0.2, 1.0, 0.1], [0.1, 0.0, 1.0]])
    positions = rng.uniform(-1.0, 2.0, (atoms, 3)) @ cell if kind == "box" else rng.uniform(size=(atoms, 3)) @ cell
    pbc = PBC[kind]
    return System(positions, np.ones(atoms, int), cell if any(pbc) else None, pbc)


def listed(system: System, compressed: bool = True) -> VerletNeighbors:
    found = verlet.allocate(system, CUTOFF, SKIN, compressed=compressed)
    assert found is not None
    return found


def path_from(system: System, dtype: str, points: int, speed: float, strain: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cells: every atom flies straight on, and the cell is strained the same way all the time."""
    rng = np.random.default_rng(5)
    velocities = speed * rng.normal(size=system.positions.shape)
    rate = strain * rng.uniform(-1.0, 1.0, (3, 3))
    cell = np.zeros((3, 3)) if system.cell is None else system.cell
    positions, places, cells = system.positions, [], []
    for _ in range(points):
        places.append(positions)
        cells.append(cell)
        positions, cell = (positions + velocities) @ (np.eye(3) + rate), cell @ (np.eye(3) + rate)
    return np.asarray(places, dtype), np.asarray(cells, dtype)


@eqx.filter_jit
def along(neighbors: Neighbors, held: VerletState, positions: jax.Array, cells: jax.Array | None):
    """At every point, with candidates of earlier points, and whether they were searched for."""

    def step(held: VerletState, point: tuple) -> tuple[VerletState, tuple]:
        found = neighbors.update(*point, held)
        assert found.verlet is not None
        new = jnp.any(found.verlet.positions != held.positions) | ~held.candidates.known
        return found.verlet, (found.near, found.overflow, new)

    return jax.lax.scan(step, held, (positions, cells))


def followed(neighbors: Neighbors, positions: np.ndarray, cells: np.ndarray | None):
    box = None if cells is None else jnp.asarray(cells)
    begin = VerletState(jnp.asarray(positions[0]), None if box is None else box[0]).with_room(neighbors.verlet_lists)
    _, found = along(neighbors, begin, jnp.asarray(positions), box)
    return jax.device_get(found)


def fault(system: System, near, margin: float, cutoff: float = CUTOFF) -> str:
    mask = near.mask
    centers, others = near.centers[mask], near.others[mask]
    rest = near.vectors[mask].astype(np.float64) - (system.positions[others] - system.positions[centers])
    inverse = np.zeros((3, 3)) if system.cell is None else np.linalg.inv(system.cell)
    found = [canonical(i, j, s) for i, j, s in zip(centers, others, np.round(rest @ inverse), strict=True)]
    distances = within(system, cutoff + margin)
    missing = [pair for pair, r in distances.items() if r < cutoff - margin and pair not in set(found)]
    extra, repeated = set(found) - set(distances), len(found) - len(set(found))
    return f"{missing=} {extra=} {repeated=}" if missing or extra or repeated else ""


@pytest.mark.parametrize(
    ("kind", "compressed", "dtype"),
    [
        ("box", False, "float32"),
        ("slab", True, "float32"),
        ("molecule", False, "float64"),
        pytest.param("box", True, "float64", marks=pytest.mark.slow),
        pytest.param("box", True, "float32", marks=pytest.mark.slow),
        pytest.param("box", False, "float64", marks=pytest.mark.slow),
        pytest.param("molecule", True, "float32", marks=pytest.mark.slow),
    ],
)
def test_pairs_along_a_path_are_those_of_brute_force(kind: str, compressed: bool, dtype: str) -> None:
    system = start(kind)
    positions, cells = path_from(system, dtype, points=40, speed=0.015, strain=0.002 if kind == "box" else 0.0)
    box = cells if any(system.pbc) else None
    neighbors = Neighbors(listed(system, compressed)).larger(system, ROOM).larger(system, ROOM | THIN)
    near, overflow, new = followed(neighbors, positions, box)
    assert not overflow.any()
    assert new[0] and 4 < new.sum() < 20
    for n in range(len(positions)):
        cell = None if box is None else box[n].astype(float)
        there = System(positions[n].astype(float), system.numbers, cell, system.pbc)
        pairs = jax.tree.map(lambda leaf, n=n: leaf[n], near)
        assert not (report := fault(there, pairs, 1e-5 if dtype == "float32" else 1e-9)), (n, report)


@pytest.mark.slow
def test_two_lists_have_their_own_candidates() -> None:
    """Near pairs in a list, far ones in their places, as long-range terms have them."""
    system = start("box")
    far = verlet.allocate(system, 1.2 * CUTOFF, SKIN, compressed=False)
    neighbors = Neighbors(listed(system), far).larger(system)
    positions, cells = path_from(system, "float64", points=12, speed=0.015, strain=0.0)
    begin = VerletState(jnp.asarray(positions[0]), jnp.asarray(cells[0])).with_room(neighbors.verlet_lists)

    def step(held: VerletState, point: tuple) -> tuple[VerletState, tuple]:
        found = neighbors.update(*point, held)
        assert found.verlet is not None and found.far is not None
        return found.verlet, (found.near, found.far, found.overflow)

    _, (near, far_pairs, overflow) = jax.jit(lambda: jax.lax.scan(step, begin, (positions, cells)))()
    assert not overflow.any()
    for n in range(len(positions)):
        there = System(positions[n], system.numbers, cells[n], system.pbc)
        for pairs, cutoff in ((near, CUTOFF), (far_pairs, 1.2 * CUTOFF)):
            one = jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), pairs)
            assert not (report := fault(there, one, 1e-9, cutoff)), (n, cutoff, report)


def test_candidates_are_carried_on_where_they_fit() -> None:
    system = start("box")
    lists = Neighbors(listed(system)).verlet_lists
    held = VerletState(jnp.asarray(system.positions), jnp.asarray(system.cell)).with_room(lists)
    assert held.with_room(lists) is held
    assert held.reference().candidates is None and held.with_room(()).candidates is None
    larger = held.with_room([enlarged(lists[0], system, ROOM)])  # type: ignore[list-item]
    assert larger.candidates is not None and not bool(larger.candidates.known)


def test_near_pairs_chosen_from_all_far_ones_have_no_candidates() -> None:
    """Also where a barostat has made the cell too thin for far pairs in cells."""
    system = start("box")
    assert Neighbors(listed(system), dense.allocate(system, 3.0)).verlet_lists == ()


@pytest.mark.parametrize("share", [0.49, 0.51])
def test_candidates_hold_until_two_atoms_have_gone_half_of_the_skin(share: float) -> None:
    """They come from where they were no candidates, against each other, as fast as can be."""
    system = start("box")
    positions = np.stack([system.positions, system.positions])
    distances = within(system, 3.5)
    i, j, _ = min(distances, key=lambda pair: abs(distances[pair] - CUTOFF - SKIN - 1e-3))
    for atom, sign in ((i, 1.0), (j, -1.0)):
        positions[1, atom] += sign * share * SKIN * np.array([1.0, 0.0, 0.0])
    *_, new = followed(Neighbors(listed(system)), positions, np.stack([system.cell] * 2))  # type: ignore[list-item]
    assert new.tolist() == [True, share > 0.5]


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_candidates_hold_until_the_cell_has_shrunk_by_the_skin(share: float) -> None:
    """Atoms follow the cell: pairs come nearer although none moves in it."""
    system = start("box")
    # ‖F⁻¹‖ is bounded by a sum of squares, √3 times too much for a cell that shrinks evenly.
    factor = 1.0 / (1.0 + share * SKIN / CUTOFF / np.sqrt(3.0))
    positions = np.stack([system.positions, factor * system.positions])
    *_, new = followed(Neighbors(listed(system)), positions, np.stack([system.cell, factor * system.cell]))  # type: ignore[operator]
    assert new.tolist() == [True, share > 1.0]


def test_a_position_that_is_no_number_is_no_reason_to_trust_candidates() -> None:
    system = start("box")
    positions = np.stack([system.positions] * 3)
    positions[1, 3] = np.nan
    *_, new = followed(Neighbors(listed(system)), positions, np.stack([system.cell] * 3))  # type: ignore[list-item]
    assert new.tolist() == [True, True, True]


def test_candidates_follow_from_the_reference() -> None:
    """As in a run that is read back: the same pairs in the same order, although the atoms have moved since."""
    system = start("box")
    neighbors = Neighbors(listed(system)).larger(system)
    positions, cells = (jnp.asarray(each) for each in path_from(system, "float32", 6, 0.01, 1e-4))
    held, whole = along(
        neighbors, VerletState(positions[0], cells[0]).with_room(neighbors.verlet_lists), positions, cells
    )
    assert not np.array_equal(held.positions, positions[-1])
    again = VerletState(held.positions, held.cell).with_room(neighbors.verlet_lists)
    _, last = along(neighbors, again, positions[-1:], cells[-1:])
    for one, other in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(last[0]), strict=True):
        np.testing.assert_array_equal(one[-1], other[-1])


@pytest.mark.parametrize("short", ["pairs", "candidates"])
def test_what_is_short_is_enlarged_and_the_order_stays(short: str) -> None:
    system = start("box")
    enough = listed(system)
    small = replace(enough, capacity=8)
    if short == "candidates":
        small = replace(enough, search=replace(enough.search, capacity=enough.capacity + 8))
    assert int(jax.jit(small.update)(system.positions, system.cell).overflow) == ROOM
    larger = enlarged(small, system, ROOM)
    assert isinstance(larger, VerletNeighbors)
    assert (larger.capacity > 8, larger.search.capacity > 8) == (True, True)
    if short == "pairs":
        assert larger.search == small.search
    else:
        assert larger.capacity == small.capacity
    found, expected = (jax.jit(each.update)(system.positions, system.cell) for each in (larger, enough))
    assert not int(found.overflow)
    count = int(expected.mask.sum())
    np.testing.assert_array_equal(found.others[:count], expected.others[:count])


def test_a_cell_too_thin_for_the_skin_is_searched_without() -> None:
    system = start("box", edge=CUTOFF + SKIN + 0.3)
    enough = verlet.allocate(system, CUTOFF, SKIN)
    assert enough is not None
    thinner = System(0.85 * system.positions, system.numbers, 0.85 * system.cell, system.pbc)  # type: ignore[operator]
    found = jax.jit(enough.update)(jnp.asarray(thinner.positions), jnp.asarray(thinner.cell))
    assert int(found.overflow) & THIN
    assert isinstance(enlarged(enough, thinner, THIN), cell_list.CellNeighbors)
    tiny = System(0.6 * system.positions, system.numbers, 0.6 * system.cell, system.pbc)  # type: ignore[operator]
    assert isinstance(enlarged(enough, tiny, THIN), dense.DenseNeighbors)


def test_only_searches_in_cells_get_a_skin() -> None:
    system = start("box")
    cells = cell_list.allocate(system, CUTOFF)
    assert cells is not None
    assert isinstance(with_skin(cells, system, SKIN, compressed=True), VerletNeighbors)
    assert with_skin(cells, system, 10.0, compressed=True) == cells
    table = dense.allocate(system, CUTOFF)
    assert with_skin(table, system, SKIN, compressed=True) == table
    # Near pairs that are chosen from all far ones need no candidates.
    assert Neighbors(cells, dense.allocate(system, 3.0)).with_skin(system, SKIN).verlet_lists == ()


def test_what_a_checkpoint_holds_of_a_list_with_a_skin() -> None:
    system = start("box")
    enough = listed(system)
    other = dense.allocate(system, CUTOFF)
    assert restored(other, recorded(enough)) == enough
    assert restored(enough, recorded(other)) == other
    assert described(enough).endswith(f"within 0.4 Å more, and for {enough.capacity} pairs")


def test_a_structure_without_any_pair_has_room_for_some() -> None:
    places = np.mgrid[:6, :6, :6].reshape(3, -1).T * 6.0
    system = System(places, np.ones(len(places), int), 36.0 * np.eye(3), (True, True, True))
    neighbors = Neighbors(listed(system))
    found = jax.jit(neighbors.update)(system.positions, system.cell)
    assert neighbors.near.capacity > 0 and not found.near.mask.any()
    assert float(neighbors.closest(found)) == CUTOFF
