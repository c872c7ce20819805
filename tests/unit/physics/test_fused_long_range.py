"""The compiled kernel for long-range pairs against the terms in JAX, SciPy and finite differences; hostile graphs."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.long_range import long_range_potential
from scipy.special import erf

from so3krates import testing
from so3krates._errors import InputError
from so3krates.derivatives import energies_and_forces
from so3krates.evaluation import Topology, evaluate
from so3krates.graph import Graph
from so3krates.inference import for_inference
from so3krates.long_range import AllPairs, LongRangePairs
from so3krates.nn.fused import Variant, variants
from so3krates.pair_table import columns, held
from so3krates.physics import far_kernel
from so3krates.physics.dispersion import Dispersion
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.fixed_charges import FixedCharges
from so3krates.physics.fixed_ratios import FixedRatios
from so3krates.physics.fused_long_range import FusedLongRange
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum, Term

pytestmark = pytest.mark.skipif(not variants(), reason="installed without a compiler, so there is no kernel")

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
TERMS = {
    "both": (Electrostatics(), Dispersion()),
    "the other way round": (Dispersion(0.7), Electrostatics(1.3)),
    "electrostatics": (Electrostatics(2.0),),
    "dispersion": (Dispersion(),),
}
COULOMB = 14.399645351950548


def graph(seed: int, atoms: int, pairs: int | None, structures: int, dtype: str, masked: float = 0.1) -> Graph:
    """Pairs without any order, of an atom with itself, repeated, beyond the cutoff, padding among them, atoms that are
    padding, and a cutoff for each structure; the table of all pairs if no number of pairs is given."""
    rng = np.random.default_rng(seed)
    cutoffs = np.linspace(7.0, 4.0, structures)
    structure = np.arange(atoms) * structures // max(atoms, 1)
    count = atoms * columns(atoms) if pairs is None else pairs
    mask = rng.random(count) >= masked
    if pairs is None:
        mask &= held(atoms).reshape(-1)
    centers = np.sort(rng.integers(0, atoms, size=count)) if seed % 2 else rng.integers(0, atoms, size=count)
    first = np.searchsorted(structure, structure[centers])
    others = first + rng.integers(0, 1_000_000, size=count) % np.bincount(structure, minlength=1)[structure[centers]]
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.where(mask, rng.uniform(0.4, 1.2 * cutoffs[0], size=count), 1.0)
    number = partial(jnp.asarray, dtype=dtype)
    index = partial(jnp.asarray, dtype="int32")
    vectors = number(directions * (lengths * mask)[:, None])
    if pairs is None:
        far = AllPairs(vectors, number(lengths), jnp.asarray(mask), number(cutoffs), atoms)
    else:
        far = LongRangePairs(
            vectors, number(lengths), index(centers * mask), index(others * mask), jnp.asarray(mask), number(cutoffs)
        )
    none = index(np.zeros(0))
    real = rng.random(atoms) < 0.9
    return Graph(
        vectors=number(np.zeros((0, 3))),
        centers=none,
        others=none,
        pair_mask=none > 0,
        numbers=index(rng.integers(1, 90, size=atoms) * real),
        atom_mask=jnp.asarray(real),
        structure=index(structure),
        charge=number(np.zeros(structures)),
        unpaired=number(np.zeros(structures)),
        long_range=far,
        charges=number(rng.normal(size=atoms)),
        hirshfeld_ratios=number(rng.uniform(0.4, 1.2, size=atoms)),
        purpose="inference",
    )


def wide(given: Graph) -> Graph:
    """The same in double precision, for the terms in JAX."""
    converted = jax.tree.map(lambda a: a.astype("float64") if jnp.issubdtype(a.dtype, jnp.floating) else a, given)
    return replace(converted, purpose="any")


@partial(jax.jit, static_argnums=0)
def with_derivatives(term: FusedLongRange, graph: Graph, weights: dict[str, jax.Array]) -> tuple:
    """Energies of both terms, and the derivatives of their weighted sum in lengths, charges and ratios."""

    def total(inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, dict[str, jax.Array]]:
        lengths, charges, ratios = inputs
        assert graph.long_range is not None
        moved = replace(graph, long_range=replace(graph.long_range, lengths=lengths))
        found = dict(term.outputs(moved.with_properties(charges, ratios)).components)
        return sum(jnp.sum(weights[name] * energies) for name, energies in found.items()), found  # type: ignore[return-value]

    assert graph.long_range is not None
    inputs = (graph.long_range.lengths, graph.charges, graph.hirshfeld_ratios)
    gradient, found = jax.grad(total, has_aux=True)(inputs)
    return found, gradient


def weights(seed: int, atoms: int, dtype: str) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=atoms), dtype) for name in ("electrostatics", "dispersion")}


def assert_close(found: tuple, expected: tuple, dtype: str) -> None:
    """Of what `with_derivatives` gives, relative to the largest number of its kind; where V − V(R) is a small
    difference of large numbers, relative to those. The kernel's switch of dispersion ends at e⁻⁸⁰, not at zero."""
    unshifted, nothing = COULOMB / 7.0, 1e-20
    floors = {"electrostatics": unshifted, "lengths": unshifted, "charges": unshifted}

    def named(given: tuple) -> dict[str, jax.Array]:
        return given[0] | dict(zip(("lengths", "charges", "ratios"), given[1], strict=True))

    assert named(found).keys() == named(expected).keys()
    for name, b in named(expected).items():
        a = named(found)[name]
        assert a.dtype == dtype and a.shape == b.shape
        scale = max(float(np.abs(np.asarray(b)).max(initial=0.0)), floors.get(name, nothing))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


def compare(given: Graph, terms: tuple, chosen: Sequence[Variant], uniform: float | None = None) -> None:
    """Kernel and JAX."""
    assert given.long_range is not None
    dtype = str(given.long_range.lengths.dtype)
    cotangents = weights(3, given.atoms, dtype)
    if uniform is not None:
        cotangents = {name: jnp.full_like(values, uniform) for name, values in cotangents.items()}
    in_double = {name: values.astype("float64") for name, values in cotangents.items()}
    expected = with_derivatives(FusedLongRange(terms, chosen[0]), wide(given), in_double)
    for variant in chosen:
        assert_close(with_derivatives(FusedLongRange(terms, variant), given, cotangents), expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pairs", [None, 900], ids=["table", "list"])
@pytest.mark.parametrize("name", TERMS)
def test_energies_and_their_derivatives_are_those_of_the_terms(name: str, pairs: int | None, dtype: str) -> None:
    structures = 1 if pairs is None else 3
    compare(graph(1, 40, pairs, structures, dtype), TERMS[name], variants())


@pytest.mark.parametrize("uniform", [1.0, -2.0])
@pytest.mark.parametrize("pairs", [None, 300], ids=["table", "list"])
def test_equal_cotangents(pairs: int | None, uniform: float) -> None:
    """Those of one are what the forward call prepares for."""
    compare(graph(2, 30, pairs, 1, "float64"), TERMS["both"], variants(), uniform)


@pytest.mark.parametrize(
    ("atoms", "pairs", "masked"),
    [(1, None, 0.0), (2, None, 0.0), (3, None, 1.0), (1, 0, 0.0), (1, 1, 0.0), (2, 1, 0.0), (3, 5, 1.0)],
)
def test_the_smallest_graphs(atoms: int, pairs: int | None, masked: float) -> None:
    compare(graph(3, atoms, pairs, 1, "float64", masked), TERMS["both"], variants())


@given(
    seed=st.integers(0, 2**31),
    atoms=st.sampled_from([2, 17]),
    pairs=st.sampled_from([None, 1, 130, 400]),
    structures=st.sampled_from([1, 2]),
    masked=st.sampled_from([0.0, 0.3, 0.9]),
)
@settings(max_examples=25, deadline=None)
def test_any_graph(seed: int, atoms: int, pairs: int | None, structures: int, masked: float) -> None:
    structures = 1 if pairs is None else structures
    compare(graph(seed, atoms, pairs, structures, "float64", masked), TERMS["both"], variants()[:1])


@pytest.mark.parametrize("pairs", [None, 30_000], ids=["table", "list"])
def test_several_parts_are_what_one_is_and_repeat_bit_for_bit(
    pairs: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = graph(4, 250, pairs, 1, "float32")
    term, cotangents = FusedLongRange(TERMS["both"], variants()[0]), weights(5, given.atoms, "float32")
    assert far_kernel.FarPairs.of(given, variants()[0]).parts > 4
    compare(given, TERMS["both"], variants()[:1])
    first = with_derivatives(term, given, cotangents)
    for _ in range(20):
        for a, b in zip(
            jax.tree.leaves(with_derivatives(term, given, cotangents)), jax.tree.leaves(first), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(far_kernel, "PAIRS_PER_PART", 10**9)
    jax.clear_caches()
    assert_close(with_derivatives(term, given, cotangents), first, "float32")
    jax.clear_caches()


def pairs_of_one(lengths: np.ndarray, numbers: np.ndarray, cutoff: float, dtype: str) -> Graph:
    """Atom 0 and as many others as there are lengths."""
    atoms = len(lengths) + 1
    template = graph(0, atoms, len(lengths), 1, dtype)
    assert template.long_range is not None
    far = replace(
        template.long_range,
        lengths=jnp.asarray(lengths, dtype),
        centers=jnp.zeros(len(lengths), "int32"),
        others=jnp.arange(1, atoms, dtype="int32"),
        mask=jnp.ones(len(lengths), bool),
        cutoff=jnp.asarray([cutoff], dtype),
    )
    ones = jnp.ones(atoms, dtype)
    return replace(
        template,
        long_range=far,
        numbers=jnp.asarray(numbers, "int32"),
        atom_mask=jnp.ones(atoms, bool),
        charges=ones,
        hirshfeld_ratios=ones,
    )


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.name)
@pytest.mark.parametrize(("dtype", "units"), [("float64", 4.0), ("float32", 4.0)])
def test_the_error_function_is_good_to_a_few_units_in_the_last_place(
    variant: Variant, dtype: str, units: float
) -> None:
    """Near to an enormous cutoff's beginning V_s is erf(r/σ)/r but for a constant that is known."""
    width, cutoff = 1.0, 1e5
    lengths = np.concatenate([np.linspace(0.02, 7.0, 4000), np.geomspace(1e-3, 100.0, 500)]).astype(dtype)
    given = pairs_of_one(lengths, np.ones(len(lengths) + 1, int), cutoff, dtype)
    found = np.asarray(FusedLongRange((Electrostatics(width),), variant)(given))[1:].astype("float64")
    r = lengths.astype("float64")
    expected = 0.5 * COULOMB * (erf(r / width) / r - 1.0 / cutoff)
    assert np.abs(found / expected - 1.0).max() < units * np.finfo(dtype).eps


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.name)
@pytest.mark.parametrize(("dtype", "units"), [("float64", 30.0), ("float32", 30.0)])
def test_dispersion_of_every_element_is_good_to_rounding(variant: Variant, dtype: str, units: float) -> None:
    """With seventh roots of polarisabilities from 1 to 400; p¹⁰ has ten times the error of p."""
    numbers = np.concatenate([[55], np.tile(np.arange(1, 103), 8)])
    lengths = np.repeat(np.geomspace(1.0, 30.0, 8), 102).astype(dtype)
    given = pairs_of_one(lengths, numbers, 60.0, dtype)
    found = FusedLongRange((Dispersion(),), variant)(given)
    expected = np.asarray(Dispersion()(wide(given)))
    assert np.abs(np.asarray(found, "float64") / expected - 1.0)[1:].max() < units * np.finfo(dtype).eps


def test_derivatives_are_those_of_finite_differences() -> None:
    given = graph(6, 12, 40, 2, "float64", masked=0.0)
    assert given.long_range is not None
    term, cotangents = FusedLongRange(TERMS["both"], variants()[0]), weights(7, given.atoms, "float64")
    _, gradient = with_derivatives(term, given, cotangents)
    rng = np.random.default_rng(8)
    step = [jnp.asarray(rng.normal(size=a.shape)) for a in gradient]

    def total(h: float) -> float:
        assert given.long_range is not None and given.charges is not None and given.hirshfeld_ratios is not None
        far = replace(given.long_range, lengths=given.long_range.lengths + h * step[0])
        moved = replace(given, long_range=far).with_properties(
            given.charges + h * step[1], given.hirshfeld_ratios + h * step[2]
        )
        found = term.outputs(moved).components
        return float(sum(jnp.sum(cotangents[name] * energies) for name, energies in found.items()))

    h = 1e-4
    slope = (8.0 * (total(h) - total(-h)) - (total(2 * h) - total(-2 * h))) / (12.0 * h)
    expected = sum(float(jnp.sum(a * b)) for a, b in zip(step, gradient, strict=True))
    assert slope == pytest.approx(expected, rel=1e-8)


def test_elements_beyond_the_table_are_no_numbers_where_they_are_near() -> None:
    given = graph(9, 20, 60, 1, "float64")
    given = replace(given, numbers=given.numbers.at[3].set(110), atom_mask=jnp.ones(20, bool))
    found = FusedLongRange((Dispersion(),), variants()[0])(given)
    expected = Dispersion()(wide(given))
    assert np.isnan(found).any() and not np.isnan(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_replicas_are_what_each_is_alone() -> None:
    term, graphs = FusedLongRange(TERMS["both"], variants()[0]), [graph(seed, 9, 30, 1, "float64") for seed in range(3)]
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *graphs)
    cotangents = weights(1, 9, "float64")
    batched = jax.vmap(lambda given: with_derivatives(term, given, cotangents))(stacked)
    for n, single in enumerate(graphs):
        alone = with_derivatives(term, single, cotangents)
        assert_close(jax.tree.map(lambda a, n=n: a[n], batched), alone, "float64")


def test_which_terms_are_taken_together() -> None:
    """Those that follow each other: between others, charges or ratios may change."""

    def kinds(*terms: Term) -> list[list[str]]:
        fast = for_inference(Sum(terms), 1e-4)
        assert isinstance(fast, Sum)
        return [[each.name for each in t.exact] if isinstance(t, FusedLongRange) else [t.name] for t in fast.terms]

    charges, ratios = FixedCharges({1: 0.1}), FixedRatios()
    both = (Electrostatics(), Dispersion())
    assert kinds(charges, ratios, *both)[2:] == [["electrostatics", "dispersion"]]
    assert kinds(charges, ratios, *both[::-1])[2:] == [["dispersion", "electrostatics"]]
    assert kinds(charges, both[0], ratios, both[1])[1:] == [["electrostatics"], ["fixed_ratios"], ["dispersion"]]
    assert kinds(charges, ratios, both[0], both[0], both[1])[2:] == [
        ["electrostatics"],
        ["electrostatics", "dispersion"],
    ]


def test_without_charges_or_ratios_it_says_what_is_missing() -> None:
    given = graph(1, 5, 10, 1, "float64")
    for name in ("charges", "hirshfeld_ratios"):
        with pytest.raises(InputError, match="needs long-range pairs and"):
            FusedLongRange(TERMS["both"], variants()[0])(replace(given, **{name: None}))


SALT = Sum(
    (
        FixedCharges({11: 0.8, 17: -0.8}, "float64"),
        FixedRatios({11: 0.9, 17: 1.1}, "float64"),
        Electrostatics(1.5),
        Dispersion(),
    )
)
MOLECULE = System(np.array([[0.0, 0.1, 0.0], [2.3, 0.0, 0.4], [-0.4, 2.9, 0.2]]), np.array([11, 17, 17]), charge=0.0)
CRYSTAL = System(
    np.array([[0.1, 0.2, 0.3], [2.6, 2.9, 2.2]]),
    np.array([11, 17]),
    np.array([[4.1, 0.2, 0.0], [0.5, 4.4, -0.3], [0.1, 0.4, 5.0]]),
    (True, True, True),
)


def liquid() -> System:
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 4.2
    cell = np.array([[12.6, 0.0, 0.0], [0.4, 12.7, 0.0], [-0.3, 0.2, 12.8]])
    return System(places + rng.normal(scale=0.3, size=places.shape), np.array([11, 17] * 13 + [11]), cell, (True,) * 3)


def test_energies_forces_and_stress_of_a_batch_are_those_without_the_kernel() -> None:
    exact = Potential(SALT, long_range_cutoff=6.0)
    fast = replace(exact, tolerance=1e-4)
    assert any(isinstance(term, FusedLongRange) for term in fast.fast.terms)  # type: ignore[attr-defined]
    assert exact.fast is exact.model
    systems = [MOLECULE, CRYSTAL, liquid()]
    for one, other in zip(fast.predict(systems), exact.predict(systems), strict=True):
        assert one.components.keys() == other.components.keys() == {"electrostatics", "dispersion"}
        for name, energy in one.components.items():
            assert energy == pytest.approx(other.components[name], rel=1e-12)
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-12)
        if other.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(fast.hessian(MOLECULE), exact.hessian(MOLECULE))


def test_the_kernel_is_physical() -> None:
    testing.assert_potential_is_physical(Potential(SALT, long_range_cutoff=6.0, tolerance=1e-4), [MOLECULE, CRYSTAL])


@pytest.mark.parametrize("system", [CRYSTAL, liquid()], ids=["list", "table"])
def test_compiled_evaluation_equals_prediction(system: System) -> None:
    potential = Potential(SALT, long_range_cutoff=6.0, tolerance=1e-4)
    neighbors, topology = potential.allocate(system), Topology.of(system, "float64")
    assert neighbors.far is not None and neighbors.far.whole_table == (system is not CRYSTAL)
    cell = jnp.asarray(system.cell)
    found = jax.jit(lambda x: evaluate(potential.fast, topology, neighbors, x, cell))(jnp.asarray(system.positions))
    expected = potential.predict([system])[0]
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-11)
    np.testing.assert_allclose(found.virial / abs(np.linalg.det(system.cell)), expected.stress, atol=1e-13)  # type: ignore[arg-type]


def test_predicted_charges_and_ratios_get_their_derivatives() -> None:
    """Forces of a whole model whose charges and ratios depend on the positions."""
    potential = long_range_potential(6.0)
    system = System(np.array([[0.0, 0.0, 0.0], [1.1, 0.3, 0.0], [-0.4, 1.2, 0.5]]), np.array([8, 1, 1]))
    pairs = potential.find_pairs(system)
    from so3krates.graph import make_graph

    given = jax.tree.map(jnp.asarray, replace(make_graph([system], [pairs], "float64"), purpose="inference"))
    assert isinstance(potential.model, Sum)
    *rest, electrostatics, dispersion = potential.model.terms
    fused = Sum((*rest, FusedLongRange((electrostatics, dispersion), variants()[0])))  # type: ignore[arg-type]
    one, other = (jax.jit(partial(energies_and_forces, term))(given) for term in (fused, potential.model))
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.energies, other.energies, rtol=0, atol=1e-12)
