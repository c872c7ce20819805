"""The training loop: chunks of compiled steps, validation, checkpoints, recovery, resume."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from so3krates._errors import FileError, So3kratesError
from so3krates._interrupts import Interrupts, deferred_interrupts
from so3krates._precision import precision_scope
from so3krates._version import __version__
from so3krates.data.sample import LABELS
from so3krates.inference import default_tolerance
from so3krates.io.model_file import save
from so3krates.potential import Potential
from so3krates.training.batches import BatchStream, same_size_batches, usable_devices
from so3krates.training.checkpoint import (
    Bookkeeping,
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from so3krates.training.config import TrainConfig
from so3krates.training.loggers import JsonLines, Logger, Record, extra_loggers
from so3krates.training.metrics import Metrics, measure
from so3krates.training.optimizer import learning_rate, schedule_ended
from so3krates.training.setup import Setup, prepare
from so3krates.training.step import StepRecord, initial_state, make_steps

CHUNK = 20
"""Steps per compiled call."""
VALIDATIONS = 50
"""Validations over a budget, unless `log.validate_every` says otherwise."""
CHECKPOINT_SECONDS = 60.0
MAX_RECOVERIES = 5

Listener = Callable[[Record], None]


class TrainingDiverged(So3kratesError):
    """Losses kept turning into NaN although the run went back to its best state each time."""


class TrainResult(NamedTuple):
    """What a run leaves behind."""

    potential: Potential
    metrics: Metrics
    """On the validation data, of the parameters in `potential`."""
    log: Path
    reason: str
    """Why the run ended: budget, schedule, early_stop or interrupted."""


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    listener: Listener = lambda _: None,
) -> TrainResult:
    """Train a model as configured and write it to `config.output`.

    Beside the model stand `STEM.log.jsonl` (one record per line) and `STEM.checkpoint.safetensors`. The model file is
    written at every validation that is better than all before. An interrupt (Ctrl-C, SIGTERM) ends the run after the
    current chunk with a checkpoint.

    With a budget of steps or epochs a resumed run equals an uninterrupted one bit for bit on a CPU with as many cores.
    A budget of minutes plans by the clock, so only the state it continues from is exact.

    Args:
        config: the run.
        resume: continue from the checkpoint; a larger budget extends a finished run. Begin if nothing is there yet.
        overwrite: replace an existing model file.
        tell: receives sentences for the user.
        listener: receives every record of the log.

    Raises:
        FileError: if output exists and neither resume nor overwrite is given, or files cannot be written.
        InputError: for data that cannot be trained on.
        TrainingDiverged: after several recoveries from NaN.
    """
    config = config.model_copy(update={"output": Path(config.output)})
    _refuse_existing(config.output, resume, overwrite)
    with precision_scope(config.dtype), deferred_interrupts(at_once=True) as interrupts:
        run = _Run(prepare(config, tell), resume, tell, listener)
        interrupts.at_once = False  # from here on there is something to finish
        return run.go(interrupts)


class _Run:
    """One run; the only mutable thing of the training code."""

    def __init__(self, setup: Setup, resume: bool, tell: Callable[[str], None], listener: Listener) -> None:
        self.setup, self.config = setup, setup.config
        self.tell, self.listener = tell, listener
        self.checkpoint = checkpoint_path(self.config.output)
        model, trained = setup.start.potential.model, setup.start.trained
        state = initial_state(model, self.config.optimizer, trained)
        here = Checkpoint(state, model, Bookkeeping())
        if resume and (self.checkpoint.exists() or self.config.output.exists()):
            here = load_checkpoint(self.checkpoint, here, setup.settings)
            tell(f"resuming at step {here.book.step} after {here.book.seconds / 60:.1f} minutes")
        self.state, self.best = here.state, here.best
        self.book = here.book
        assert self.config.batch_size is not None
        devices = usable_devices(self.config.batch_size)
        if devices < jax.local_device_count():
            count, size = jax.local_device_count(), self.config.batch_size
            tell(f"using {devices} of {count} devices, since batch_size {size} divides no further")
        self.stream = BatchStream(setup.train, self.config.batch_size, self.config.seed, devices, here.book.sizes)
        self.steps = make_steps(self.config.loss, self.config.optimizer, devices, trained)
        self.valid = same_size_batches(setup.valid, max(self.config.batch_size, 50))
        self.best_metrics: Metrics | None = None
        log = self.config.output.with_name(f"{self.config.output.stem}.log.jsonl")
        self.log = JsonLines(log, here.book.log_bytes)
        self.loggers: list[Logger] = [self.log, *extra_loggers(self.config.log, self.config.output.stem)]
        self.seconds_per_step = 0.0
        self.compiled = False

    def go(self, interrupts: Interrupts) -> TrainResult:
        try:
            measure(self.state.average, self.valid[:1], self.config.loss)  # compiles
            self.started = time.monotonic() - self.book.seconds
            reason = self._loop(interrupts)
        finally:
            self.stream.close()
            for logger in self.loggers:
                logger.close()
        if reason == "interrupted" and self.book.best_loss is None:
            raise KeyboardInterrupt(f"at step {self.book.step}; the checkpoint is written, so resume goes on.")
        metrics = self.best_metrics or measure(self.best, self.valid, self.config.loss)
        return TrainResult(self._potential(), metrics, self.log.path, reason)

    def _loop(self, interrupts: Interrupts) -> str:
        if self.book.step == 0:
            self._write({"event": "start", **_described(self.setup)})
        saved = time.monotonic()
        while True:
            reason = "interrupted" if interrupts.requested else self._ended()
            ended = reason not in (None, "interrupted") and self.book.validated_step != self.book.step
            if ended or self._validation_due():
                reason = self._validate() or reason
            # A better model is always in the checkpoint too: a resumed run must not replace it with a worse one.
            better = self.book.best_loss is not None and self.book.best_step == self.book.step
            if reason or better or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = time.monotonic()
            if reason:
                self._write({"event": "end", "reason": reason, "step": self.book.step, "minutes": self._minutes()})
                return reason
            self._chunk()

    def _chunk(self) -> None:
        """Take the next steps; on NaN go back to the best state with a fresh optimiser."""
        step, count = self.book.step, self._count(self.book.step)
        began = time.monotonic()
        batches = self.stream.stacked(step, count)
        rates = [self._rate(step + n, n) for n in range(count)]
        state, record = self.steps(self.state, batches, jnp.asarray(rates, self.config.dtype))
        self.stream.begin(step + count, self._count(step + count))
        finite = bool(record.finite)
        now = time.monotonic()
        if self.compiled:
            self.seconds_per_step = (now - began) / count
        else:  # The clock starts behind the first chunk: the schedule of a budget of minutes holds no compilation.
            self.compiled = True
            self.started = now - self.book.seconds
        self.book.seconds = now - self.started
        self.book.step = step + count
        self.book.sizes = self.stream.sizes
        if not finite:
            self._recover()
            return
        self.state = state
        self._write(self._progress(record, rates[-1]))

    def _recover(self) -> None:
        self.book.recoveries += 1
        self.book.rate_factor *= 0.5
        self._write({"event": "recovery", "step": self.book.step, "recoveries": self.book.recoveries})
        if self.book.recoveries > MAX_RECOVERIES:
            raise TrainingDiverged(
                f"the loss turned into NaN {self.book.recoveries} times, at last at step {self.book.step}; "
                "lower optimizer.learning_rate, set optimizer.clip_norm, or examine the data with `so3krates check`."
            )
        self.tell(
            f"step {self.book.step}: the loss is not finite; going back to the best state "
            f"(step {self.book.best_step}) with a fresh optimiser and half the learning rate"
        )
        self.state = initial_state(self.best, self.config.optimizer, self.setup.start.trained)

    def _validate(self) -> str | None:
        """Measure the averaged parameters; keep them if they are the best so far."""
        self.book.validation_mark = int(self._share() * VALIDATIONS)
        self.book.validated_step = self.book.step
        metrics = measure(self.state.average, self.valid, self.config.loss)
        self.book.seconds = time.monotonic() - self.started
        better = np.isfinite(metrics.loss) and (self.book.best_loss is None or metrics.loss < self.book.best_loss)
        self._write({"event": "validation", **self._where(), **metrics.finite(), "best": bool(better)})
        if better:
            self.best, self.best_metrics = self.state.average, metrics
            self.book.best_loss, self.book.best_step, self.book.since_best = metrics.loss, self.book.step, 0
            save(self._potential(), self.config.output)
        else:
            self.book.since_best += 1
        patience = self.config.budget.early_stop
        return "early_stop" if patience is not None and self.book.since_best >= patience else None

    def _save(self) -> None:
        self.book.log_bytes = self.log.size
        save_checkpoint(self.checkpoint, Checkpoint(self.state, self.best, self.book), self.setup.settings)

    def _potential(self) -> Potential:
        provenance = _described(self.setup) | {"best_step": self.book.best_step, "minutes": self._minutes()}
        start = self.setup.start
        return replace(
            start.potential,
            model=start.finished(self.best),
            provenance=json.dumps(provenance),
            tolerance=default_tolerance(self.config.dtype),
        )

    # Budget -----------------------------------------------------------------------------------------------------

    @property
    def _total_steps(self) -> int | None:
        budget = self.config.budget
        return budget.steps if budget.epochs is None else budget.epochs * self.stream.steps_per_epoch

    def _share(self, ahead: int = 0) -> float:
        """Share of the budget spent once `ahead` more steps are taken."""
        if self._total_steps is not None:
            return (self.book.step + ahead) / self._total_steps
        assert self.config.budget.minutes is not None
        return (self.book.seconds + ahead * self.seconds_per_step) / (60.0 * self.config.budget.minutes)

    def _rate(self, step: int, ahead: int) -> float:
        return self.book.rate_factor * learning_rate(self.config.optimizer, step, min(self._share(ahead), 1.0))

    def _ended(self) -> str | None:
        if self._share() >= 1.0:
            return "budget"
        return "schedule" if schedule_ended(self.config.optimizer, self.book.step) else None

    def _count(self, step: int) -> int:
        """Steps of the chunk that starts at `step`: up to the next validation or the end."""
        ends = [step + CHUNK]
        if self.config.log.validate_every is not None:
            every = self.config.log.validate_every
            ends.append((step // every + 1) * every)
        if self._total_steps is not None:
            ends.append(self._total_steps)
        return max(min(ends) - step, 0)

    def _validation_due(self) -> bool:
        step = self.book.step
        if step == self.book.validated_step:
            return False
        every = self.config.log.validate_every
        if every is not None:
            return step % every == 0
        # Marks that a slow compilation ran past are not made up for.
        return int(self._share() * VALIDATIONS) > self.book.validation_mark

    def _minutes(self) -> float:
        return round(self.book.seconds / 60.0, 4)

    def _where(self) -> dict[str, int | float]:
        step = self.book.step
        return {"step": step, "epoch": round(step / self.stream.steps_per_epoch, 3), "minutes": self._minutes()}

    def _progress(self, record: StepRecord, rate: float) -> Record:
        absolute, counts = np.asarray(record.absolute, np.float64), np.asarray(record.counts, np.float64)
        values: dict[str, str | int | float | bool | None] = {"event": "progress", **self._where()}
        values |= {"share": round(self._share(), 5), "learning_rate": rate, "loss": float(record.loss)}
        for name, total, count in zip(LABELS, absolute, counts, strict=True):
            if getattr(self.config.loss, name) and count:
                values[f"{name}_mae"] = float(total / count)
        return values

    def _write(self, record: Record) -> None:
        for logger in self.loggers:
            logger.write(record)
        self.listener(record)


def _described(setup: Setup) -> dict[str, str | int | float | bool | None]:
    """Provenance: what the model was made from, flat."""
    before = {} if setup.config.start is None else {"started_from": setup.start.potential.provenance}
    return before | {
        "package_version": __version__,
        "config": json.dumps(setup.config.model_dump(mode="json")),
        "n_train": len(setup.train),
        "n_valid": len(setup.valid),
    }


def _refuse_existing(output: Path, resume: bool, overwrite: bool) -> None:
    if not output.parent.is_dir():
        raise FileError(f"folder '{output.parent}' for the model file does not exist.")
    if output.exists() and not (resume or overwrite):
        raise FileError(
            f"'{output}' exists; continue with --resume, replace it with --overwrite, or name another file."
        )
