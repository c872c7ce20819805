"""Each check in every step at its edge, on states made for it, and what is said when it fails."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates import md
from so3krates._errors import ConfigError
from so3krates.md.ensembles.operators import pressure, shape
from so3krates.md.monitoring.monitor import Status
from so3krates.md.monitoring.sentences import sentence
from so3krates.md.monitoring.watch import Watch, make_watch
from so3krates.md.state import State, make_state
from so3krates.system import System, heights
from so3krates.units import BOLTZMANN, GPA

CELL = np.array([[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [0.0, -1.0, 6.0]])
VOLUME = 120.0
LEFT_HANDED = CELL[[1, 0, 2]]


def state_of(system: System, virial: np.ndarray | None = None, velocities: np.ndarray | None = None) -> State:
    state = make_state(md.Snapshot(system, velocities), np.zeros(3), 1.0, 0, 3 * len(system) - 3, "float64")
    virial = None if virial is None else jnp.asarray(virial)  # type: ignore[assignment]
    return replace(state, virial=virial, closest=jnp.asarray(1.0))


@pytest.fixture
def crystal() -> System:
    return System(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]), np.array([11, 17]), CELL, (True, True, True))


def verdict(watch: Watch, state: State, conserved: float = 0.0, reference: float = 0.0) -> Status:
    return Status(int(watch.status(state, jnp.asarray(conserved), jnp.asarray(reference))))


def said(watch: Watch, state: State, system: System, conserved: float = 0.0, reference: float = 0.0) -> str:
    return sentence(verdict(watch, state, conserved, reference), watch, state, conserved, reference, system)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_pressure_of_either_sign(crystal: System, sign: float) -> None:
    """P = −tr W/3V for atoms at rest."""
    watch = make_watch(md.Monitor(max_pressure_GPa=20.0), crystal, "float64")

    def at(gigapascal: float) -> State:
        return state_of(crystal, -gigapascal * GPA * VOLUME * np.eye(3))

    assert verdict(watch, at(sign * 19.99)) is Status.RUNNING
    assert verdict(watch, at(sign * 20.01)) is Status.EXTREME_PRESSURE
    assert f"the pressure of {sign * 20.01:.1f} GPa exceeds 20 GPa" in said(watch, at(sign * 20.01), crystal)
    off = make_watch(md.Monitor(max_pressure_GPa=None), crystal, "float64")
    assert verdict(off, at(sign * 1e9)) is Status.RUNNING
    assert verdict(off, state_of(crystal, np.full((3, 3), np.inf))) is Status.NOT_FINITE


def test_the_pressure_of_an_ideal_gas(crystal: System) -> None:
    """P V = N k_BT, with T of the degrees of freedom that there are."""
    rng = np.random.default_rng(1)
    velocities = rng.standard_normal((2, 3))
    state = state_of(crystal, np.zeros((3, 3)), velocities)
    kinetic = 0.5 * float(jnp.sum(state.masses * state.velocities**2))
    thermal = 2.0 * kinetic / float(state.freedom)
    assert float(pressure(state)) == pytest.approx(2 * thermal / VOLUME)


def test_fixed_atoms_add_nothing_to_the_pressure(crystal: System) -> None:
    """They follow the cell with it, and their kinetic energy is none: P V = 2K/3 of the others."""
    state = state_of(crystal, np.zeros((3, 3)), np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    state = replace(state, mobile=jnp.asarray([[False], [True]]), freedom=jnp.asarray(3.0, state.freedom.dtype))
    kinetic = 0.5 * float(jnp.sum(state.masses * state.velocities**2))
    assert float(pressure(state)) == pytest.approx(2.0 * kinetic / (3.0 * VOLUME))


def test_a_structure_without_a_virial_has_no_pressure_to_exceed() -> None:
    system = System(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), np.array([1, 1]))
    watch = make_watch(md.Monitor(max_pressure_GPa=1e-9, max_volume_factor=1.001), system, "float64")
    assert verdict(watch, state_of(system)) is Status.RUNNING


@pytest.mark.parametrize("cell", [CELL, LEFT_HANDED], ids=["right", "left"])
@pytest.mark.parametrize(("factor", "fails"), [(1.99, False), (2.01, True), (0.51, False), (0.49, True)])
def test_a_cell_that_grows_or_shrinks(crystal: System, cell: np.ndarray, factor: float, fails: bool) -> None:
    crystal = replace(crystal, cell=cell)
    moved = state_of(replace(crystal, cell=factor ** (1 / 3) * cell))
    watch = make_watch(md.Monitor(), crystal, "float64")
    assert verdict(watch, moved) is (Status.VOLUME_CHANGED if fails else Status.RUNNING)
    if fails:
        assert f"{factor:.3g} times the volume of the start, 120.0 Å³ (limits 0.5 and 2)" in said(watch, moved, crystal)
    assert verdict(make_watch(md.Monitor(max_volume_factor=None), crystal, "float64"), moved) is Status.RUNNING


@pytest.mark.parametrize(("long", "fails"), [(1.59, False), (1.61, True)])
@pytest.mark.parametrize("axis", range(3))
def test_a_cell_that_becomes_a_needle(crystal: System, axis: int, long: float, fails: bool) -> None:
    """Its volume stays: one height grows by the factor, the others shrink by its root."""
    stretch = np.full(3, long**-0.5)
    stretch[axis] = long
    moved = state_of(replace(crystal, cell=CELL * stretch[:, None]))
    watch = make_watch(md.Monitor(), crystal, "float64")
    assert verdict(watch, moved) is (Status.SHAPE_CHANGED if fails else Status.RUNNING)
    if fails:
        assert f"across {'abc'[axis]}, where it was" in (text := said(watch, moved, crystal))
        assert "changed its shape by a factor beyond 1.6; a liquid" in text
    assert verdict(make_watch(md.Monitor(max_shape_factor=None), crystal, "float64"), moved) is Status.RUNNING


@pytest.mark.parametrize("cell", [CELL, LEFT_HANDED], ids=["right", "left"])
def test_a_sheared_cell_is_thinner(crystal: System, cell: np.ndarray) -> None:
    """Heights are what atoms and their images are apart, and change without lengths of edges alone."""
    sheared = cell + np.outer([0.0, 3.0, 0.0], cell[0])
    np.testing.assert_allclose(
        np.asarray(shape(jnp.asarray(sheared))), heights(sheared) / abs(np.linalg.det(sheared)) ** (1 / 3), rtol=1e-12
    )
    watch = make_watch(md.Monitor(), replace(crystal, cell=cell), "float64")
    assert verdict(watch, state_of(replace(crystal, cell=sheared))) is Status.SHAPE_CHANGED
    assert verdict(watch, state_of(replace(crystal, cell=1.2 * cell))) is Status.RUNNING


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_drift_of_the_conserved_quantity(crystal: System, sign: float) -> None:
    """30 meV per atom are 60 meV for two."""
    watch = make_watch(md.Monitor(max_drift_meV_per_atom=30.0), crystal, "float64")
    state = state_of(crystal)
    assert verdict(watch, state, 7.0 + sign * 0.0599, 7.0) is Status.RUNNING
    assert verdict(watch, state, 7.0 + sign * 0.0601, 7.0) is Status.ENERGY_DRIFT
    text = said(watch, state, crystal, 7.0 + sign * 0.0622, 7.0)
    assert f"{sign * 31.1:+.1f} meV per atom away from that of the start (limit 30)" in text
    assert verdict(watch, state, 1e6, np.nan) is Status.RUNNING, "nothing to compare with yet"
    assert verdict(watch, state, np.nan, 7.0) is Status.NOT_FINITE
    off = make_watch(md.Monitor(max_drift_meV_per_atom=None), crystal, "float64")
    assert verdict(off, state, 1e6, 7.0) is Status.RUNNING


def test_the_hottest_atom_is_named() -> None:
    system = System(np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), np.array([8, 1]))
    watch = make_watch(md.Monitor(max_temperature_K=1000.0), system, "float64")
    state = state_of(system, velocities=np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]))
    energy = float(0.5 * state.masses[1, 0] * state.velocities[1, 0] ** 2)
    assert f"most kinetic energy has H1, {energy:.2f} eV" in said(watch, state, system)
    assert f"temperature of {2 * energy / 3 / BOLTZMANN:.0f} K exceeds 1000 K" in said(watch, state, system)


def test_atoms_that_are_too_close_across_the_cell_are_named(crystal: System) -> None:
    near = crystal.moved(np.array([[0.1, 0.0, 0.0], [3.9, 0.0, 0.0]]))
    state = replace(state_of(near), closest=jnp.asarray(0.2))
    assert "Na0 and Cl1 are only 0.200 Å apart (limit 0.5 Å)" in said(
        make_watch(md.Monitor(), crystal, "float64"), state, crystal
    )


def test_atoms_that_are_not_finite_are_named() -> None:
    count = 7
    system = System(np.arange(3.0 * count).reshape(-1, 3), np.full(count, 6))
    watch = make_watch(md.Monitor(), system, "float64")
    state = state_of(system)
    bad = replace(state, velocities=state.velocities.at[2:].set(jnp.nan), forces=state.forces.at[3].set(jnp.inf))
    assert said(watch, bad, system) == "the force of C3 is not finite"
    bad = replace(bad, forces=state.forces)
    assert said(watch, bad, system) == "the velocity of C2, C3, C4, C5 and 1 more is not finite"
    assert "the energy, the temperature" in said(watch, replace(state, energy=jnp.asarray(jnp.nan)), system)


def test_the_first_of_several_reasons_is_given(crystal: System) -> None:
    state = replace(state_of(crystal, -1e3 * np.eye(3)), closest=jnp.asarray(0.1))
    watch = make_watch(md.Monitor(), crystal, "float64")
    assert verdict(watch, state, 1e3, 0.0) is Status.TOO_CLOSE
    assert verdict(watch, replace(state, closest=jnp.asarray(1.0)), 1e3, 0.0) is Status.EXTREME_PRESSURE


def test_one_watch_serves_a_batch_of_replicas(crystal: System) -> None:
    watch = make_watch(md.Monitor(max_drift_meV_per_atom=30.0), crystal, "float64")
    states = [state_of(crystal), state_of(replace(crystal, cell=2.0 * CELL)), state_of(crystal), state_of(crystal)]
    states[3] = replace(states[3], closest=jnp.asarray(0.1))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    conserved, reference = jnp.array([1.0, 1.0, 1.0, 1.0]), jnp.array([1.0, 1.0, 2.0, 1.0])
    found = jax.jit(jax.vmap(watch.status))(batch, conserved, reference)
    assert found.tolist() == [Status.RUNNING, Status.VOLUME_CHANGED, Status.ENERGY_DRIFT, Status.TOO_CLOSE]


@pytest.mark.parametrize(
    "name",
    [
        "max_temperature_K",
        "min_distance",
        "max_bond_deviation",
        "max_pressure_GPa",
        "max_volume_factor",
        "max_shape_factor",
        "max_drift_meV_per_atom",
        "max_force_disagreement",
        "bond_factor",
        "broken_factor",
        "formed_factor",
        "max_gap",
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        md.Monitor.parse({name: value}, "monitor")
