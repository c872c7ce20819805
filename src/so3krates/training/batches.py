"""The stream of training batches: which samples, in what order, padded how; made one call ahead in a thread."""

from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from so3krates._precision import precision_scope
from so3krates.data.batching import Batch, BatchSource, epoch_order
from so3krates.graph import Sizes
from so3krates.training.step import DATA_AXIS, data_mesh


class BatchStream:
    """Stacked batches for several steps at a time.

    Which samples a step sees depends on the seed and the step number alone, and the padded sizes only ever grow, so a
    run that is resumed at a step with the sizes it had there continues exactly.
    """

    def __init__(self, source: BatchSource, batch_size: int, seed: int, devices: int, sizes: Sizes | None) -> None:
        """`batch_size` counts structures over all devices; `sizes` are those of one device's part."""
        self._source = source
        self._per_device = batch_size // devices
        self._batch_size = batch_size
        self._seed = seed
        self._devices = devices
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._ahead: tuple[tuple[int, int], Future[tuple[Batch, Sizes]]] | None = None
        self._orders: dict[int, list[list[int]]] = {}
        self.sizes = sizes or self._typical_sizes()

    @property
    def steps_per_epoch(self) -> int:
        return max(len(self._source) // self._batch_size, 1)

    def stacked(self, step: int, count: int) -> Batch:
        """Batches of steps `step` … `step + count − 1`, stacked, on the devices."""
        if self._ahead is not None:
            (wanted, future), self._ahead = self._ahead, None
            made = future.result()  # waited for even if it is of no use: it changes the order of the epoch
            if wanted == (step, count):
                batch, self.sizes = made
                return batch
        batch, self.sizes = self._make(step, count, self.sizes)
        return batch

    def begin(self, step: int, count: int) -> None:
        """Start on these in a thread. Best called when the device is busy: Python runs one thread at a time."""
        if count:
            self._ahead = ((step, count), self._executor.submit(self._make, step, count, self.sizes))

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _make(self, step: int, count: int, sizes: Sizes) -> tuple[Batch, Sizes]:
        with precision_scope(self._source.dtype):  # which holds in the thread that asks for it alone
            return self._made(step, count, sizes)

    def _made(self, step: int, count: int, sizes: Sizes) -> tuple[Batch, Sizes]:
        parts = [part for n in range(step, step + count) for part in self._parts(n)]
        for part in parts:
            sizes = sizes.grown(self._source.sizes(part))
        batches = [self._source.batch(part, sizes) for part in parts]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        if self._devices > 1:
            stacked = jax.tree.map(lambda leaf: leaf.reshape(count, self._devices, *leaf.shape[1:]), stacked)
            return jax.device_put(stacked, _sharding(self._devices)), sizes
        return jax.device_put(stacked), sizes

    def _parts(self, step: int) -> list[list[int]]:
        """Indices of one step, one list per device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch not in self._orders:
            self._orders = {epoch: epoch_order(len(self._source), self._batch_size, self._seed, epoch)}
        indices = self._orders[epoch][position]
        size = max(self._per_device, -(-len(indices) // self._devices))
        return [indices[n * size : (n + 1) * size] for n in range(self._devices)]

    def _typical_sizes(self) -> Sizes:
        """A bucket that most batches fit into; a larger one later costs a compilation, nothing else."""
        sizes = Sizes(self._per_device, 1, 1)
        for step in range(min(self.steps_per_epoch, 16)):
            for part in self._parts(step):
                sizes = sizes.grown(self._source.sizes(part))
        return sizes


def _sharding(devices: int) -> NamedSharding:
    """Second axis over the devices, everything else whole."""
    return NamedSharding(data_mesh(devices), PartitionSpec(None, DATA_AXIS))


def usable_devices(batch_size: int) -> int:
    """The largest number of local devices that divides the batch."""
    return max(n for n in range(1, jax.local_device_count() + 1) if batch_size % n == 0)


def same_size_batches(source: BatchSource, most: int) -> list[Batch]:
    """All samples in order, in batches of at most so many structures, as even as possible and padded alike: one
    compilation serves all."""
    parts = [part.tolist() for part in np.array_split(np.arange(len(source)), -(-len(source) // most))]
    sizes = source.sizes(parts[0])
    for part in parts[1:]:
        sizes = sizes.grown(source.sizes(part))
    return [source.batch(part, sizes) for part in parts]
