"""Stress of SO3LR on periodic reference systems, term by term and in total, against differences of energies."""

from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from so3krates.graph import Geometry, Graph, Sizes, make_graph
from so3krates.io.model_file import load
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Term, outputs_of

STRAIN = 2e-4
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def strained(system: System, strain: np.ndarray) -> System:
    assert system.cell is not None
    deformation = np.eye(3) + strain
    return replace(system, positions=system.positions @ deformation, cell=system.cell @ deformation)


@eqx.filter_jit
def virials(term: Term, graph: Graph) -> tuple[jax.Array, ...]:
    """Σ r ⊗ ∂E/∂r of every component: one pullback each."""

    def components(geometry: Geometry) -> jax.Array:
        found = outputs_of(term, graph.with_geometry(geometry)).components
        return jnp.stack([jnp.sum(found[name]) for name in sorted(found)])

    geometry, far = graph.geometry, graph.long_range
    assert far is not None
    values, pullback = jax.vjp(components, geometry)

    def virial(selected: jax.Array) -> jax.Array:
        gradient: Geometry = pullback(selected)[0]
        along = (gradient.far / far.lengths)[:, None] * far.vectors  # type: ignore[operator]
        parts = [(geometry.near, gradient.near), (far.vectors, along)]
        if geometry.positions is not None:
            parts += [(geometry.positions, gradient.positions), (geometry.cells[0], gradient.cells[0])]  # type: ignore[index]
        return sum(jnp.einsum("pa,pb->ab", x, g) for x, g in parts)  # type: ignore[return-value]

    return values, jax.lax.map(virial, jnp.eye(len(values), dtype=values.dtype))


def check(potential: Potential, system: System) -> None:
    assert system.cell is not None
    volume = abs(np.linalg.det(system.cell))
    lists = potential.find_pairs(system)
    # Room for the pairs of all strained boxes, so that one compilation serves all.
    sizes = Sizes.of([system], [lists])
    sizes = sizes._replace(pairs=sizes.pairs + 512, long_range=sizes.long_range + 8192)
    graph = make_graph([system], [lists], "float64", sizes)
    with jax.enable_x64(True):
        _, found = virials(potential.model, graph)
    prediction = potential.predict([system], sizes)[0]
    names = sorted(prediction.components)
    stresses = {name: np.asarray(v) / volume for name, v in zip(names, found, strict=True)}
    assert prediction.stress is not None
    total = sum(stresses.values())
    scale = max(np.abs(stress).max() for stress in stresses.values())
    np.testing.assert_allclose(0.5 * (total + total.T), prediction.stress, rtol=0, atol=1e-12 * scale)
    for a, b in VOIGT:
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5
        at = {k: potential.predict([strained(system, k * STRAIN * strain)], sizes)[0] for k in (-2, -1, 1, 2)}
        for name in names:
            e = {k: p.components[name] for k, p in at.items()}
            slope = (8.0 * (e[1] - e[-1]) - (e[2] - e[-2])) / (12.0 * STRAIN * volume)
            expected = 0.5 * (stresses[name][a, b] + stresses[name][b, a])
            assert slope == pytest.approx(expected, abs=1e-6 * scale), f"{name} {a}{b}"


def reference_system(folder: Path, name: str) -> tuple[System, float]:
    values = np.load(folder / f"so3lr_{name}.npz")
    system = System(values["positions"], values["numbers"], values["cell"], (True, True, True))
    return system, float(values["lr_cutoff"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["water64_lr6", "water512_lr12"])
def test_stress_of_every_term(name: str, reference: Path, so3lr_file: Path) -> None:
    system, cutoff = reference_system(reference, name)
    check(load(so3lr_file, "float64", long_range_cutoff=cutoff), system)


@pytest.mark.slow
def test_stress_with_all_periodic_images(reference: Path, so3lr_file: Path) -> None:
    system, cutoff = reference_system(reference, "water64_lr6")
    check(load(so3lr_file, "float64", long_range_cutoff=cutoff, full_range=True), system)
