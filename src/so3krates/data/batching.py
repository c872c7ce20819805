"""Batches: padded graphs with labels and masks, from samples whose pairs are found once."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np

from so3krates._errors import InputError
from so3krates._typing import AnyArray, Bool, Float
from so3krates.data.labels import check_labels
from so3krates.data.sample import Dataset, Sample
from so3krates.graph import MOST_KINDS, Graph, PairLists, Sizes, bucket, make_graph
from so3krates.potential import Potential


class Batch(eqx.Module):
    """A graph with its labels. Missing labels hold zeros and are False in their mask, as are those of quantities that
    the model does not predict."""

    graph: Graph
    energy: Float[AnyArray, " structures"]
    """Total energy less the reference energies of the elements, eV."""
    energy_mask: Bool[AnyArray, " structures"]
    forces: Float[AnyArray, "atoms 3"]
    forces_mask: Bool[AnyArray, " atoms"]
    stress: Float[AnyArray, "structures 3 3"]
    stress_mask: Bool[AnyArray, " structures"]
    dipole: Float[AnyArray, "structures 3"]
    """From the centre of mass, e·Å."""
    dipole_mask: Bool[AnyArray, " structures"]
    hirshfeld_ratios: Float[AnyArray, " atoms"]
    hirshfeld_mask: Bool[AnyArray, " atoms"]
    arms: Float[AnyArray, "atoms 3"]
    """Positions from the centre of mass, for the dipole, Å."""
    atoms_per_structure: Float[AnyArray, " structures"]
    """1 for padded structures."""
    volume: Float[AnyArray, " structures"]
    """Å³; 1 where there is no cell."""

    @property
    def masks(self) -> tuple[Bool[AnyArray, " entries"], ...]:
        """Of every label, in the order of `LABELS`."""
        return self.energy_mask, self.forces_mask, self.stress_mask, self.dipole_mask, self.hirshfeld_mask


class Prepared(NamedTuple):
    """A sample with its pairs: what is kept in memory between epochs."""

    sample: Sample
    pairs: PairLists


CACHE_BYTES = 1_000_000_000
"""Pairs found once are kept up to this much memory; beyond it they are found again in every epoch."""


class BatchSource:
    """Makes batches of given samples of a data set, finding pairs once where memory allows.

    The data set is read frame by frame, so it may be larger than memory.
    """

    def __init__(self, dataset: Dataset, potential: Potential, cache_bytes: int = CACHE_BYTES) -> None:
        """`potential` says which pairs are needed, the reference energies and the precision; not its parameters."""
        self._dataset = dataset
        self._potential = potential
        self._room = cache_bytes
        self._cache: dict[int, Prepared] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def dtype(self) -> object:
        """Of energies, forces and geometry."""
        return self._potential.dtype

    def prepared(self, index: int) -> Prepared:
        """Sample and pairs number `index`.

        Raises:
            InputError: for labels that are partly NaN, and for a structure that the potential cannot take.
        """
        if index in self._cache:
            return self._cache[index]
        sample = self._dataset[index]
        check_labels(sample)
        try:
            pairs = self._potential.pair_lists(sample.system)
        except InputError as error:
            raise InputError(f"{sample.origin}: {error}") from error
        item = Prepared(sample, pairs)
        size = item.pairs.nbytes + 64 * len(sample.system)
        if size <= self._room:
            self._room -= size
            self._cache[index] = item
        return item

    def batch(self, indices: Sequence[int], sizes: Sizes | None = None) -> Batch:
        """The given samples as one batch, padded to `sizes` or to the smallest bucket that fits."""
        items = [self.prepared(int(index)) for index in indices]
        return make_batch(items, self._potential, sizes)

    def sizes(self, indices: Sequence[int]) -> Sizes:
        """The bucket the given samples fit into."""
        items = [self.prepared(int(index)) for index in indices]
        systems = [item.sample.system for item in items]
        atoms = {len(system) for system in systems}
        # Molecules of one size leave nothing empty; others are rounded up, so that few programs serve all.
        largest = max(atoms) if len(atoms) == 1 else bucket(max(atoms))
        # Room for all elements there are in any batch, so that no batch asks for another program.
        known = self._potential.elements
        kinds = 0 if known is None or len(known.numbers) > MOST_KINDS else len(known.numbers)
        return Sizes.of(systems, [item.pairs for item in items])._replace(largest=largest, kinds=kinds)


def make_batch(items: Sequence[Prepared], potential: Potential, sizes: Sizes | None = None) -> Batch:
    """Concatenate samples and their labels, padded; `potential` as in `BatchSource`."""
    dtype = potential.dtype
    samples = [item.sample for item in items]
    systems = [sample.system for sample in samples]
    lists = [item.pairs for item in items]
    sizes = sizes or Sizes.of(systems, lists)
    graph = make_graph(systems, lists, dtype, sizes)
    count, atoms = sizes.structures, sizes.atoms

    energy, energy_mask = np.zeros(count), np.zeros(count, bool)
    forces, forces_mask = np.zeros((atoms, 3)), np.zeros(atoms, bool)
    stress, stress_mask = np.zeros((count, 3, 3)), np.zeros(count, bool)
    dipole, dipole_mask = np.zeros((count, 3)), np.zeros(count, bool)
    ratios, ratios_mask, arms = np.zeros(atoms), np.zeros(atoms, bool), np.zeros((atoms, 3))
    per_structure, volume = np.ones(count), np.ones(count)
    start = 0
    for n, sample in enumerate(samples):
        system = sample.system
        stop = start + len(system)
        per_structure[n] = len(system)
        if sample.energy is not None:
            # Subtracted in float64: total energies leave float32 no digits for differences.
            energy[n], energy_mask[n] = sample.energy - potential.reference_energy(system.numbers), True
        if sample.forces is not None:
            forces[start:stop], forces_mask[start:stop] = sample.forces, True
        if len(system) and potential.predicts_charges:
            arms[start:stop] = system.positions - system.center_of_mass
        if sample.dipole is not None and potential.predicts_charges:
            dipole[n], dipole_mask[n] = sample.dipole, True
        if sample.hirshfeld_ratios is not None and potential.predicts_ratios:
            ratios[start:stop], ratios_mask[start:stop] = sample.hirshfeld_ratios, True
        if system.cell is not None:
            volume[n] = abs(np.linalg.det(system.cell))
            if sample.stress is not None:
                stress[n], stress_mask[n] = sample.stress, True
        start = stop
    return Batch(
        graph=graph,
        energy=energy.astype(dtype),
        energy_mask=energy_mask,
        forces=forces.astype(dtype),
        forces_mask=forces_mask,
        stress=stress.astype(dtype),
        stress_mask=stress_mask,
        dipole=dipole.astype(dtype),
        dipole_mask=dipole_mask,
        hirshfeld_ratios=ratios.astype(dtype),
        hirshfeld_mask=ratios_mask,
        arms=arms.astype(dtype),
        atoms_per_structure=per_structure.astype(dtype),
        volume=volume.astype(dtype),
    )


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffled batches of one epoch; a function of seed and epoch alone, so that a resumed run sees the same.

    What is left after the last full batch is dropped; it differs from epoch to epoch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    full = max(count // batch_size, 1)
    return [order[n * batch_size : (n + 1) * batch_size].tolist() for n in range(full)]
