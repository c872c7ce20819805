"""Barostats against distributions in closed form: the ideal gas, a cell with springs of its own."""

from dataclasses import replace
from pathlib import Path

import ase
import ase.build
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.dynamics import box_of, elastic, ideal_gas, mean_error, sampled, started
from scipy import integrate

from so3krates import md
from so3krates._errors import InputError
from so3krates.md.ensembles.operators import pressure, volume
from so3krates.md.records.settings import make_settings
from so3krates.md.state import Integrator
from so3krates.physics.lennard_jones import LennardJones
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.units import BOLTZMANN, GPA

ATOMS, TEMPERATURE_K, PRESSURE_GPA = 60, 300.0, 0.05
THERMAL = BOLTZMANN * TEMPERATURE_K
MEAN_VOLUME = (ATOMS + 1) * THERMAL / (PRESSURE_GPA * GPA)
"""Of dV·V^N·e^(−pV/k_BT)."""
# The compressibility of an ideal gas is 1/p.
FAST = {"compressibility_per_GPa": 1 / PRESSURE_GPA, "barostat_time_fs": 60.0, "thermostat_time_fs": 20.0}
COUPLINGS = ("isotropic", "anisotropic", "triclinic")


def rescaling(coupling: str) -> md.StochasticCellRescaling:
    return md.StochasticCellRescaling(temperature_K=TEMPERATURE_K, pressure_GPa=PRESSURE_GPA, coupling=coupling, **FAST)


BAROSTATS: dict[str, Integrator] = {coupling: rescaling(coupling) for coupling in COUPLINGS}
CALM = {
    coupling: md.StochasticCellRescaling(
        temperature_K=TEMPERATURE_K,
        pressure_GPa=PRESSURE_GPA,
        coupling=coupling,
        compressibility_per_GPa=3.0,
        barostat_time_fs=300.0,
    )
    for coupling in COUPLINGS
}
BAROSTATS["mtk"] = CALM["mtk"] = md.MTK(
    temperature_K=TEMPERATURE_K,
    pressure_GPa=PRESSURE_GPA,
    compressibility_per_GPa=1 / PRESSURE_GPA,
    thermostat_period_fs=200.0,
    barostat_period_fs=600.0,
)


def begun(integrator: Integrator, seed: int = 3, dtype: str = "float64", timestep: float = 2.0) -> md.State:
    system = box_of(ATOMS, float(MEAN_VOLUME) ** (1 / 3))
    start = md.Snapshot(system, md.maxwell_boltzmann(system, TEMPERATURE_K, seed=seed))
    return started(integrator, start, timestep, seed, dtype)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in COUPLINGS[1:])) for name in BAROSTATS]
)
def test_volume_of_an_ideal_gas(name: str) -> None:
    """⟨V⟩ = (N + 1)k_BT/p within 2 % and three standard errors; var V = ⟨V⟩k_BT/p."""
    integrator = BAROSTATS[name]
    found = np.asarray(sampled(integrator, ideal_gas, begun(integrator), 8_000, 25, _volume))[500:]
    error = mean_error(found)
    assert error < 0.015 * MEAN_VOLUME
    assert abs(found.mean() - MEAN_VOLUME) < min(3 * error, 0.02 * MEAN_VOLUME)
    spread = mean_error((found - MEAN_VOLUME) ** 2)
    assert abs(np.mean((found - MEAN_VOLUME) ** 2) - MEAN_VOLUME**2 / (ATOMS + 1)) < 3 * spread


@pytest.mark.slow
@pytest.mark.parametrize("name", BAROSTATS)
def test_a_cell_with_springs(name: str) -> None:
    """U = κ/2 (ln V/V₀)²: ⟨ln V⟩ as by quadrature."""
    stiffness, at = 1.0, MEAN_VOLUME / 2
    integrator = BAROSTATS[name]

    def energy(cell: jax.Array) -> jax.Array:
        return 0.5 * stiffness * jnp.log(jnp.abs(jnp.linalg.det(cell)) / at) ** 2

    def density(log: float, power: int) -> float:
        v = np.exp(log)
        exponent = (ATOMS + 1) * log - (0.5 * stiffness * (log - np.log(at)) ** 2 + PRESSURE_GPA * GPA * v) / THERMAL
        return log**power * np.exp(exponent - shift)

    grid = np.linspace(np.log(at) - 3, np.log(at) + 3, 4001)
    shift = 0.0
    shift = max(np.log(density(each, 0)) for each in grid)
    moments = [integrate.quad(density, grid[0], grid[-1], args=(power,), limit=500)[0] for power in (0, 1, 2)]
    mean = moments[1] / moments[0]
    variance = moments[2] / moments[0] - mean**2
    state = begun(integrator)
    found = np.log(np.asarray(sampled(integrator, elastic(energy), state, 12_000, 25, _volume)))[1000:]
    assert mean_error(found) < 0.01
    assert abs(found.mean() - mean) < 3 * mean_error(found)
    assert abs(np.mean((found - mean) ** 2) - variance) < 3 * mean_error((found - mean) ** 2)


@pytest.mark.parametrize("stiffness", [100.0, 10_000.0])
def test_the_cell_of_mtk_oscillates_with_its_period(stiffness: float) -> None:
    """However stiff it is: U = κ/2 (ln V/V₀)² has the compressibility V₀/κ. Its chain slows it by a seventh."""
    period, timestep, stride, samples = 400.0, 1.0, 4, 8_000
    integrator = md.MTK(
        temperature_K=TEMPERATURE_K,
        pressure_GPa=1e-4,
        compressibility_per_GPa=MEAN_VOLUME * GPA / stiffness,
        thermostat_period_fs=1e6,
        barostat_period_fs=period,
    )

    def energy(cell: jax.Array) -> jax.Array:
        return 0.5 * stiffness * jnp.log(jnp.abs(jnp.linalg.det(cell)) / MEAN_VOLUME) ** 2

    state = begun(integrator, timestep=timestep)
    found = np.log(np.asarray(sampled(integrator, elastic(energy), state, samples, stride, _volume)))
    power = np.abs(np.fft.rfft((found - found.mean()) * np.hanning(samples))) ** 2
    frequency = np.fft.rfftfreq(samples, stride * timestep)
    assert np.sum(power * frequency) / np.sum(power) == pytest.approx(1.0 / period, rel=0.2)


def test_strains_of_a_stiff_cell_are_equipartitioned() -> None:
    """U = k/8 |C − 1|², C = A·Aᵀ, A = H₀⁻¹H, which is k/2 |η|² for small strains: each of six has ⟨η²⟩ = k_BT/k."""
    stiffness, length = 40.0, float(MEAN_VOLUME) ** (1 / 3)
    integrator = md.StochasticCellRescaling(
        temperature_K=TEMPERATURE_K,
        pressure_GPa=PRESSURE_GPA,
        coupling="triclinic",
        compressibility_per_GPa=1.0,
        barostat_time_fs=100.0,
    )

    def green(cell: jax.Array) -> jax.Array:
        return 0.5 * (cell @ cell.T / length**2 - jnp.eye(3))

    def energy(cell: jax.Array) -> jax.Array:
        return 0.5 * stiffness * jnp.sum(green(cell) ** 2)

    strains = np.asarray(sampled(integrator, elastic(energy), begun(integrator), 12_000, 10, lambda s: green(s.cell)))[
        500:
    ]
    off = strains[:, [0, 0, 1], [1, 2, 2]]
    diagonal = strains[:, [0, 1, 2], [0, 1, 2]]
    for values, expected in ((off, 0.5 * THERMAL / stiffness), (diagonal, THERMAL / stiffness)):
        square = ((values - values.mean(axis=0)) ** 2).mean(axis=1)
        assert mean_error(square) < 0.03 * expected
        # Of second order in the strain itself, whose spread is 2.5 %.
        assert abs(square.mean() - expected) < 3 * mean_error(square) + 0.01 * expected


@pytest.mark.parametrize("name", ["mtk", *(pytest.param(each, marks=pytest.mark.slow) for each in COUPLINGS)])
def test_what_is_conserved(name: str) -> None:
    """Fluctuates little while enthalpy and volume fluctuate much; less for a smaller step."""
    integrator = CALM[name]
    length = float(MEAN_VOLUME) ** (1 / 3)

    def energy(cell: jax.Array) -> jax.Array:
        return 4.0 * jnp.log(jnp.abs(jnp.linalg.det(cell)) / length**3) ** 2

    def seen(state: md.State) -> tuple[jax.Array, jax.Array]:
        return volume(state.cell), integrator.conserved(state)

    spread = []
    for timestep in (4.0, 1.0):
        squares = []
        for seed in range(4):
            state = begun(integrator, seed, timestep=timestep)
            v, conserved = sampled(integrator, elastic(energy), state, 150, round(16 / timestep), seen)
            squares.append(np.var(conserved))
            assert np.std(PRESSURE_GPA * GPA * np.asarray(v)) > 30 * np.std(conserved)
        spread.append(np.sqrt(np.mean(squares)))
    assert spread[0] / spread[1] > 2.5


def test_couplings_keep_what_they_promise() -> None:
    for coupling in COUPLINGS:
        integrator = rescaling(coupling)
        cell = np.asarray(sampled(integrator, ideal_gas, begun(integrator), 5, 20, lambda s: s.cell))[-1]
        lengths, off = np.diag(cell), cell[~np.eye(3, dtype=bool)]
        assert (np.ptp(lengths) < 1e-9) == (coupling == "isotropic")
        assert (np.abs(off).max() < 1e-12) == (coupling != "triclinic")


def test_a_ramp_of_pressure_compresses() -> None:
    ramp = md.Ramp(time_ps=(0.0, 20.0), value=(PRESSURE_GPA, 4 * PRESSURE_GPA))
    integrator = md.StochasticCellRescaling(temperature_K=TEMPERATURE_K, pressure_GPa=ramp, **FAST)
    found = np.asarray(
        sampled(integrator, ideal_gas, begun(integrator), 400, 100, lambda s: (volume(s.cell), pressure(s)))
    )
    late = found[1][-300:].mean() / GPA
    assert late == pytest.approx(4 * PRESSURE_GPA, rel=0.05)
    assert found[0][-300:].mean() == pytest.approx(MEAN_VOLUME / 4, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", BAROSTATS)
def test_float32_samples_the_same(name: str) -> None:
    integrator = BAROSTATS[name]
    found = np.asarray(
        sampled(integrator, ideal_gas, begun(integrator, dtype="float32"), 6000, 25, _volume), np.float64
    )[1000:]
    assert abs(found.mean() - MEAN_VOLUME) < min(3 * mean_error(found), 0.03 * MEAN_VOLUME)


def test_pressures_that_are_none() -> None:
    with pytest.raises(ValueError, match="^MTK: 'pressure_GPa': Input should be a finite number"):
        md.MTK(temperature_K=300.0, pressure_GPa=float("inf"))
    for each in (md.MTK, md.StochasticCellRescaling):
        with pytest.raises(ValueError, match="temperatures must be positive"):
            each(temperature_K=0.0)


@pytest.mark.parametrize("name", BAROSTATS)
def test_a_molecule_has_no_pressure(name: str, cluster, argon) -> None:
    with pytest.raises(InputError, match=r"Ar13 has no periodic cell; constant pressure needs three periodic axes"):
        md.simulate(argon("float64"), cluster, BAROSTATS[name], timestep_fs=1.0, steps=1)


def in_box(name: str, length: float, *centers: tuple[float, float, float]) -> System:
    """Copies of a molecule in a cubic cell."""
    atoms = ase.Atoms(cell=[length] * 3, pbc=True)
    for center in centers:
        copy = ase.build.molecule(name)
        copy.positions += np.array(center) - copy.positions.mean(axis=0)
        atoms += copy
    return System.from_ase(atoms)


def refused(system: System, integrator: Integrator, potential: Potential) -> str | None:
    """Why a run does not begin."""
    asked = {"timestep_fs": 0.5, "steps": 1, "recording": md.Recording(), "seed": 0}
    start = md.Snapshot(system)
    try:
        make_settings(
            potential, start, integrator, md.Monitor(), initial_temperature_K=None, thermalise_ps=0.0, **asked
        )
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["isotropic", "mtk"])
@pytest.mark.parametrize("place", [(15.0, 15.0, 15.0), (0.0, 0.0, 29.5)])
def test_a_single_molecule_far_from_its_images_has_no_pressure(name: str, place: tuple, argon) -> None:
    """In the middle of the cell, and in pieces at its faces; at constant volume it may be there."""
    system = in_box("CH3CH2OH", 30.0, place)
    wrapped = replace(system, positions=system.positions % 30.0)
    for each in (system, wrapped):
        assert refused(each, BAROSTATS[name], argon("float64")) == (
            "C2H6O is a single molecule in a cell of 30 × 30 × 30 Å, farther from its images than the cutoff of 9 Å, "
            "and has no pressure; use an ensemble at constant volume, or a cell that is filled."
        )
        assert refused(each, md.CSVR(temperature_K=300.0), argon("float64")) is None


POLYETHYLENE = System(
    np.array([[0.0, 0, 0], [1.27, 0.84, 0], [0, -0.6, 0.9], [0, -0.6, -0.9], [1.27, 1.44, 0.9], [1.27, 1.44, -0.9]]),
    np.array([6, 6, 1, 1, 1, 1]),
    np.diag([2.54, 30.0, 30.0]),
    (True,) * 3,
)
FILLED = {
    "argon": System.from_ase(ase.build.bulk("Ar", cubic=True, a=5.4)),
    "diamond": System.from_ase(ase.build.bulk("C", "diamond", a=3.57)),
    "salt": System.from_ase(ase.build.bulk("NaCl", "rocksalt", a=5.64)),
    "a chain without ends": POLYETHYLENE,
    "one molecule near its images": in_box("CH3CH2OH", 11.0, (5.0, 5.0, 5.0)),
    "two molecules far apart": in_box("H2O", 30.0, (5.0, 5.0, 5.0), (20.0, 20.0, 20.0)),
    "eight waters": in_box("H2O", 6.2, *(tuple(3.1 * np.array(place)) for place in np.ndindex(2, 2, 2))),
}


@pytest.mark.parametrize("name", FILLED)
def test_boxes_that_have_a_pressure(name: str, argon) -> None:
    for integrator in (BAROSTATS["triclinic"], BAROSTATS["mtk"]):
        assert refused(FILLED[name], integrator, argon("float64")) is None


def test_a_box_of_water_has_a_pressure(shared_dir: Path, argon) -> None:
    system = System.from_ase(ase.io.read(shared_dir / "structures" / "water_64.xyz"))
    assert refused(system, BAROSTATS["isotropic"], argon("float64")) is None


def _volume(state: md.State) -> jax.Array:
    return volume(state.cell)


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["isotropic", "anisotropic"])
def test_a_fluid_keeps_its_cell_only_with_isotropic_coupling(coupling: str) -> None:
    """Nothing in it brings a shape back, so the monitor has to."""
    fluid = System.from_ase(ase.build.bulk("Ar", "fcc", a=5.8, cubic=True).repeat(2))
    argon = Potential(LennardJones(0.0104, 3.4, 7.0))
    barostat = md.StochasticCellRescaling(
        temperature_K=175.0, pressure_GPa=0.1, compressibility_per_GPa=2.0, coupling=coupling
    )

    def run() -> None:
        md.simulate(argon, fluid, barostat, timestep_fs=4.0, steps=75_000, save_every_fs=4000.0, seed=1)

    if coupling == "isotropic":
        run()
        return
    with pytest.raises(md.RunStopped, match="changed its shape by a factor beyond 1.6; a liquid does not") as caught:
        run()
    assert caught.value.reason == "shape_changed"
