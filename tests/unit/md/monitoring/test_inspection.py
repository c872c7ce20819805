"""What is found in saved frames: bonds broken and formed, parts that leave; on frames made for it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.data import covalent_radii

from so3krates import md
from so3krates._errors import ConfigError
from so3krates.io.trajectory import Frames
from so3krates.md.monitoring.inspection import Inspector, Stop
from so3krates.system import System

FRAME_FS = 50.0
"""New bonds are then looked for in every frame."""
CALM = md.Monitor(stop_on=())


def frames(positions: Sequence[np.ndarray], first: int = 0, cells: np.ndarray | None = None) -> Frames:
    count = len(positions)
    step = np.arange(first, first + count) * 10
    zero = np.zeros(count)
    return Frames(
        step=step,
        time_fs=step * FRAME_FS / 10,
        positions=np.array(positions, np.float32),
        velocities=np.zeros(np.shape(positions), np.float32),
        **{name: zero for name in ("potential_energy", "kinetic_energy", "temperature", "conserved", "closest")},
        cells=cells,
    )


def found(
    system: System, positions: Sequence[np.ndarray], monitor: md.Monitor = CALM, cells: np.ndarray | None = None
) -> list[tuple[int, str, tuple[int, ...]]]:
    inspector = Inspector(monitor, system, FRAME_FS, None)
    assert inspector.look(frames(positions, cells=cells)) is None
    return [(event.step, event.kind, event.atoms) for event in inspector.findings.events]


@pytest.fixture
def water() -> System:
    return System.from_ase(molecule("H2O"))


def stretched(system: System, atom: int, center: int, factor: float) -> np.ndarray:
    """With one bond longer; the other atoms stay."""
    moved = system.positions.copy()
    moved[atom] = moved[center] + factor * (moved[atom] - moved[center])
    return moved


def test_a_bond_breaks_beyond_its_factor_and_is_reported_once(water: System) -> None:
    lengths = (1.0, 1.49, 1.51, 1.0, 1.6)
    positions = [stretched(water, 2, 0, factor) for factor in lengths]
    assert found(water, positions) == [(20, "bond_broken", (0, 2))]
    assert found(water, positions, md.Monitor(broken_factor=1.55)) == [(40, "bond_broken", (0, 2))]
    assert found(water, positions, md.Monitor(broken_factor=None)) == []
    inspector = Inspector(CALM, water, FRAME_FS, None)
    inspector.look(frames(positions))
    (event,) = inspector.findings.events
    before = np.linalg.norm(water.positions[2] - water.positions[0])
    assert event.value == pytest.approx(1.51 * before, abs=1e-6) and event.time_fs == 100.0
    assert event.sentence == (
        f"the bond O0–H2 is broken: {1.51 * before:.3f} Å long, more than 1.5 times its reference of {before:.3f} Å"
    )


def test_given_bonds_are_held_against_given_lengths(water: System) -> None:
    monitor = md.Monitor(bonds=((1, 2),), bond_lengths=(1.0,))
    length = np.linalg.norm(water.positions[2] - water.positions[1])
    assert length == pytest.approx(1.527, abs=1e-3)
    assert found(water, [water.positions], monitor) == [(0, "bond_broken", (1, 2))]


@pytest.mark.parametrize(("factor", "seen"), [(1.19, True), (1.21, False)])
def test_a_bond_forms_below_its_factor(factor: float, seen: bool) -> None:
    """Two hydroxyl radicals whose oxygen atoms meet."""
    apart = np.array([[0.0, 0.0, 0.0], [-0.97, 0.0, 0.0], [5.0, 0.0, 0.0], [5.97, 0.0, 0.0]])
    system = System(apart, np.array([8, 1, 8, 1]))
    contact = factor * 2 * covalent_radii[8]
    near = apart - np.array([[0.0], [0.0], [5.0 - contact], [5.0 - contact]]) * np.array([1.0, 0.0, 0.0])
    assert found(system, [apart, near, near]) == ([(10, "bond_formed", (0, 2))] if seen else [])
    assert found(system, [near, near]) == ([(0, "bond_formed", (0, 2))] if seen else [])
    assert found(system, [apart, near], md.Monitor(formed_factor=None)) == []


def test_new_bonds_are_looked_for_every_fifty_femtoseconds() -> None:
    """In frames 0, 5, 10, … of 10 fs, whichever chunk they come in."""
    apart = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    near = np.array([[0.0, 0.0, 0.0], [0.7, 0.0, 0.0]])
    for first, step in ((5, None), (6, None), (4, 50)):
        positions = [near if (first <= n < first + 3 and n != 5) or (step and n == 5) else apart for n in range(10)]
        every = frames(positions)
        every = Frames(**every.present() | {"time_fs": every.step * 1.0})
        inspector = Inspector(CALM, System(apart, np.array([1, 1])), 10.0, None)
        for rows in (slice(0, 3), slice(3, 10)):
            inspector.look(every[rows])
        assert [event.step for event in inspector.findings.events] == ([] if step is None else [step])


def test_atoms_bonded_to_the_same_one_form_no_bond(water: System) -> None:
    """Hydrogen atoms that meet while both are bonded to oxygen."""
    folded = water.positions.copy()
    folded[2] = folded[1] + np.array([0.1, 0.3, 0.0])
    assert found(water, [folded]) == []


def test_metals_salts_and_noble_gases_have_no_bonds() -> None:
    rng = np.random.default_rng(0)
    for atoms in (bulk("Cu", cubic=True) * (2, 2, 2), bulk("NaCl", "rocksalt", a=5.64, cubic=True)):
        system = System.from_ase(atoms)
        positions = [system.positions + amplitude * rng.standard_normal((len(system), 3)) for amplitude in (0.5, 2.0)]
        without_contacts = md.Monitor(stop_on=(), formed_factor=None)
        assert found(system, positions, without_contacts) == []
    argon = System(np.array([[0.0, 0, 0], [2.0, 0, 0]]), np.array([18, 18]))
    assert found(argon, [argon.positions, 4 * argon.positions, 0.5 * argon.positions]) == []


def test_bonds_across_the_cell_while_it_moves() -> None:
    """Fractional coordinates stay, the cell grows: the bond through the face grows with it."""
    system = System(np.array([[0.2, 0.0, 0.0], [7.3, 0.0, 0.0]]), np.array([6, 8]), 8.0 * np.eye(3), (True,) * 3)
    factors = np.array([1.0, 1.49, 1.51])
    cells = factors[:, None, None] * system.cell
    positions = factors[:, None, None] * system.positions
    assert found(system, list(positions), cells=cells) == [(20, "bond_broken", (0, 1))]
    # An atom that has gone round through the cell is as near as before.
    around = system.positions + np.array([[8.0, 0, 0], [8.0, 0, 0]])
    assert found(system, [around]) == []


def ammonia_and_water(gap: float) -> System:
    water, ammonia = molecule("H2O"), molecule("NH3")
    ammonia.positions += np.array([0.0, 0.0, gap])
    return System.from_ase(water + ammonia)


def test_a_molecule_torn_apart_ends_the_run() -> None:
    ethane = System.from_ase(molecule("C2H6"))
    half = np.flatnonzero(ethane.positions[:, 2] > 0)

    def pulled(carbons: float) -> np.ndarray:
        """The carbon atoms so far apart."""
        moved = ethane.positions.copy()
        moved[half, 2] += carbons - abs(moved[1, 2] - moved[0, 2])
        return moved

    positions = [ethane.positions, pulled(9.0), pulled(11.5), pulled(12.0)]
    inspector = Inspector(md.Monitor(), ethane, FRAME_FS, None)
    stop = inspector.look(frames(positions))
    assert isinstance(stop, Stop) and stop.row == 2 and stop.event.kind == "torn_apart"
    assert set(stop.event.atoms) in (set(half.tolist()), set(range(8)) - set(half.tolist()))
    nearest = min(np.linalg.norm(pulled(11.5)[i] - pulled(11.5)[j]) for i in half for j in range(8) if j not in half)
    assert stop.event.value == pytest.approx(nearest, abs=1e-5) and nearest > 10.0
    assert "a molecule is torn apart: CH3 (C" in stop.event.sentence and "(limit 10 Å)" in stop.event.sentence
    assert found(ethane, positions, md.Monitor(max_gap=None)) == [(10, "bond_broken", (0, 1))]
    assert found(ethane, positions[:2], md.Monitor(broken_factor=None)) == []


def test_the_gap_at_its_edge() -> None:
    """H2, whose gap is its length."""
    system = System(np.array([[0.0, 0, 0], [0.74, 0, 0]]), np.array([1, 1]))
    for length, torn in ((4.99, False), (5.01, True)):
        stop = Inspector(md.Monitor(max_gap=5.0), system, FRAME_FS, None).look(
            frames([system.positions / 0.74 * length])
        )
        assert (stop is not None) is torn


def test_evaporation_is_reported_and_may_end_the_run() -> None:
    near, far = ammonia_and_water(3.0), ammonia_and_water(16.0)
    assert found(near, [near.positions, far.positions, far.positions], md.Monitor()) == [(10, "evaporated", (0, 1, 2))]
    stop = Inspector(md.Monitor(stop_on=("evaporated",)), near, FRAME_FS, None).look(
        frames([near.positions, far.positions])
    )
    assert stop is not None and stop.row == 1
    assert "a part has evaporated: H2O (O0, H1, H2) is" in stop.event.sentence
    # What begins apart does not leave.
    assert found(far, [far.positions, near.positions, far.positions], md.Monitor()) == []


def test_atoms_that_change_places_in_a_cluster_leave_nothing() -> None:
    """The chain of neighbours is another one, but still a chain."""
    line = np.zeros((6, 3))
    line[:, 0] = 4.0 * np.arange(6)
    system = System(line, np.full(6, 18))
    swapped = line[[3, 5, 0, 2, 4, 1]]
    gone = line.copy()
    gone[5, 0] = 27.0
    monitor = md.Monitor(max_gap=5.0)
    assert found(system, [line, swapped, line, swapped], monitor) == []
    assert found(system, [line, swapped, gone], monitor) == [(20, "evaporated", (5,))]


def test_two_parts_that_leave_one_after_the_other() -> None:
    line = np.zeros((6, 3))
    line[:, 0] = 4.0 * np.arange(6)
    first, second = line.copy(), line.copy()
    first[5, 0] = second[5, 0] = 60.0
    second[0, 0] = -30.0
    assert found(System(line, np.full(6, 18)), [line, first, second], md.Monitor(max_gap=5.0)) == [
        (10, "evaporated", (5,)),
        (20, "evaporated", (0,)),
    ]


def test_periodic_structures_have_no_parts_but_a_molecule_in_an_empty_box_does() -> None:
    hydrogen = np.array([[0.0, 0, 0], [0.74, 0, 0]])
    torn = np.array([[0.0, 0, 0], [14.0, 0, 0]])
    monitor = md.Monitor(broken_factor=None, stop_on=())
    cell = System(hydrogen, np.array([1, 1]), 30.0 * np.eye(3), (True,) * 3)
    box = System(hydrogen, np.array([1, 1]), 1000.0 * np.eye(3), (True,) * 3)
    assert found(cell, [torn], monitor) == []
    assert found(box, [torn], monitor) == [(0, "torn_apart", (1,))]


def test_findings_do_not_depend_on_how_frames_come_in_chunks(water: System) -> None:
    """Nor on a resume in between."""
    rng = np.random.default_rng(3)
    system = ammonia_and_water(3.0)
    steps = 0.35 * rng.standard_normal((40, len(system), 3))
    positions = system.positions + np.cumsum(steps, axis=0)
    positions[25, 1] = positions[25, 3] + np.array([0.0, 0.0, 1.0])
    every = frames(list(positions))
    whole = Inspector(CALM, system, FRAME_FS, None)
    whole.look(every)
    assert {event.kind for event in whole.findings.events} >= {"bond_broken", "bond_formed"}
    for cuts in ((7, 8, 30), (1, 20)):
        parts = Inspector(CALM, system, FRAME_FS, None)
        for start, end in zip((0, *cuts), (*cuts, 40), strict=True):
            parts.look(every[start:end])
            resumed = Inspector(CALM, system, FRAME_FS, None)
            resumed.remember(parts.findings)
            parts = resumed
        assert parts.findings.events == whole.findings.events


def test_nothing_is_found_behind_the_frame_that_ends_the_run(water: System) -> None:
    positions = [water.positions, stretched(water, 1, 0, 1.6), stretched(water, 2, 0, 1.6)]
    inspector = Inspector(md.Monitor(stop_on=("bond_broken",)), water, FRAME_FS, None)
    stop = inspector.look(frames(positions, first=5))
    assert stop is not None and stop.row == 1 and stop.event.step == 60
    assert [event.atoms for event in inspector.findings.events] == [(0, 1)]


def test_news_are_told_once(water: System) -> None:
    inspector = Inspector(CALM, water, FRAME_FS, None)
    inspector.look(frames([stretched(water, 1, 0, 1.6)]))
    assert [event.atoms for event in inspector.news()] == [(0, 1)]
    inspector.look(frames([stretched(water, 2, 0, 1.6)], first=1))
    assert [event.atoms for event in inspector.news()] == [(0, 2)]
    assert inspector.news() == ()


def test_it_goes_back_to_where_it_had_found_less(water: System) -> None:
    """The frames behind may be others when they come again; what was told stays told."""
    inspector = Inspector(CALM, water, FRAME_FS, None)
    inspector.look(frames([stretched(water, 1, 0, 1.6)]))
    before, untold = inspector.findings, inspector.back_at(inspector.findings)
    inspector.look(frames([stretched(water, 2, 0, 1.6)], first=1))
    earlier = inspector.back_at(before)
    assert earlier.findings.events == before.events and untold.untold and earlier.untold
    earlier.look(frames([water.positions, stretched(water, 2, 0, 1.6)], first=1))
    assert [(event.step, event.atoms) for event in earlier.findings.events] == [(0, (0, 1)), (20, (0, 2))]
    assert len(earlier.news()) == 2 and not earlier.back_at(earlier.findings).untold


def test_whether_a_frame_can_end_the_run(water: System) -> None:
    box = replace(water, cell=20.0 * np.eye(3), pbc=(True,) * 3)
    for system, monitor, ends in (
        (water, md.Monitor(), True),
        (water, CALM, False),
        (water, md.Monitor(max_gap=None), False),
        (box, md.Monitor(), False),
        (box, md.Monitor(stop_on=("bond_broken",)), True),
    ):
        assert Inspector(monitor, system, FRAME_FS, None).may_end is ends


def test_what_was_as_near_at_the_start_is_no_new_bond() -> None:
    """Hydrogen atoms 1.5 Å apart, with a factor that would call this a bond."""
    system = System(np.array([[0.0, 0, 0], [1.5, 0, 0], [9.0, 0, 0]]), np.array([1, 1, 1]))
    near = np.array([[0.0, 0, 0], [1.4, 0, 0], [3.2, 0, 0]])
    monitor = md.Monitor(formed_factor=3.0, stop_on=())
    assert found(system, [system.positions, near], monitor) == [(10, "bond_formed", (1, 2))]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stop_on": ["bond_broken"], "broken_factor": None}, "bond_broken, which is not looked for: `broken_factor`"),
        ({"stop_on": ["evaporated"], "max_gap": None}, "`max_gap` is None"),
        ({"stop_on": ["anything"]}, "stop_on.0"),
        ({"broken_factor": 1.0}, "broken_factor.*greater than 1"),
        ({"max_volume_factor": 1.0}, "max_volume_factor.*greater than 1"),
    ],
)
def test_impossible_choices_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        md.Monitor.parse(values, "monitor")
