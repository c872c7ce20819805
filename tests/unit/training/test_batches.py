import jax
import numpy as np
from springs import TINY, samples

from so3krates._precision import precision_scope
from so3krates.data.batching import Batch, BatchSource
from so3krates.graph import MOST_KINDS, Kinds
from so3krates.model import SO3krates
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.training.batches import BatchStream

ELEMENTS = ElementTable(numbers=(1, 8), energies=(-10.0, -1980.0))
POTENTIAL = Potential(SO3krates(TINY, key=jax.random.key(0)), ELEMENTS)


def stream(count: int = 11, potential: Potential = POTENTIAL) -> BatchStream:
    source = BatchSource(samples(count), potential)
    return BatchStream(source, batch_size=3, seed=5, devices=1, sizes=None)


def equal(a: Batch, b: Batch) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


def test_a_step_sees_the_same_batch_however_the_run_got_there() -> None:
    """In one go across an epoch, in other portions, and in a new process that starts in the middle."""
    whole = stream().stacked(0, 8)
    pieces, start = stream(), 0
    for count, following in ((2, 1), (1, 5), (5, 0)):
        part = pieces.stacked(start, count)
        pieces.begin(start + count, following)
        assert equal(part, jax.tree.map(lambda leaf: leaf[start : start + count], whole))  # noqa: B023
        start += count
    assert equal(stream().stacked(5, 3), jax.tree.map(lambda leaf: leaf[5:], whole))


def test_double_precision_is_kept_in_batches_made_ahead() -> None:
    with precision_scope("float64"):
        potential = Potential(SO3krates(TINY, key=jax.random.key(0), dtype="float64"), ELEMENTS)
        ahead = stream(potential=potential)
        ahead.begin(0, 2)
        batch = ahead.stacked(0, 2)
        assert batch.energy.dtype == batch.graph.vectors.dtype == np.float64
        assert equal(batch, stream(potential=potential).stacked(0, 2))


def test_steps_that_were_begun_and_not_asked_for_change_nothing() -> None:
    other = stream()
    other.begin(7, 2)
    assert equal(other.stacked(0, 3), stream().stacked(0, 3))


def test_batches_say_which_atoms_are_alike_unless_there_are_too_many_elements() -> None:
    def kinds(elements: ElementTable | None) -> Kinds | None:
        source = BatchSource(samples(3), Potential(POTENTIAL.model, elements))
        return source.batch([0, 1], source.sizes([0, 1])).graph.kinds

    many = ElementTable(numbers=tuple(range(1, MOST_KINDS + 2)), energies=(0.0,) * (MOST_KINDS + 1))
    assert kinds(None) is None and kinds(many) is None
    source = BatchSource(samples(3), POTENTIAL)
    graph = source.batch([0, 1], source.sizes([0, 1])).graph
    assert graph.kinds is not None and len(graph.kinds.examples) == len(ELEMENTS.numbers)
    alike = graph.numbers[graph.kinds.examples][graph.kinds.of_atoms]
    np.testing.assert_array_equal(alike[graph.atom_mask], graph.numbers[graph.atom_mask])


def test_an_epoch_visits_no_structure_twice_and_epochs_differ() -> None:
    energies = np.asarray(stream(9).stacked(0, 6).energy)
    first, second = energies[:3].ravel(), energies[3:].ravel()
    assert len(set(first.tolist())) == 9
    assert set(first.tolist()) == set(second.tolist())
    assert not np.array_equal(first, second)


def test_pairs_are_found_once_where_memory_allows_and_again_where_not() -> None:
    data = samples(4)
    kept = BatchSource(data, POTENTIAL)
    assert kept.prepared(2) is kept.prepared(2)
    frugal = BatchSource(data, POTENTIAL, cache_bytes=0)
    assert frugal.prepared(2) is not frugal.prepared(2)
    assert equal(kept.batch([0, 3]), frugal.batch([0, 3]))
