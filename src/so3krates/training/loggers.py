"""Where the records of a training run go: a JSON-lines file always, Weights & Biases or TensorBoard on request."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from so3krates._errors import FileError, InputError
from so3krates.training.config import LogConfig

Value = str | int | float | bool | None
Record = Mapping[str, Value]


@runtime_checkable
class Logger(Protocol):
    """Takes one flat record at a time."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One JSON object per line."""

    def __init__(self, path: Path, keep_bytes: int) -> None:
        """Keep the first `keep_bytes` of an existing file and go on from there."""
        self.path = path
        try:
            self._file = open(path, "r+b" if path.exists() else "x+b")
            # Never longer than it is: that would pad with bytes no reader of JSON accepts.
            self._file.truncate(min(keep_bytes, self._file.seek(0, os.SEEK_END)))
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise FileError(f"the log '{path}' cannot be written: {error.strerror}.") from error

    @property
    def size(self) -> int:
        """Length in bytes, all of them on the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def write(self, record: Record) -> None:
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise FileError(f"the log '{self.path}' cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        self._file.close()


class WeightsAndBiases:
    """Numbers of each record as a W&B step."""

    def __init__(self, project: str, name: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise InputError("log.wandb_project is set, but wandb is not installed: pip install wandb.") from error
        self._run = wandb.init(project=project, name=name)

    def write(self, record: Record) -> None:
        numbers = _numbers(record)
        self._run.log(numbers, step=int(numbers.get("step", 0)))

    def close(self) -> None:
        self._run.finish()


class TensorBoard:
    """Numbers of each record as TensorBoard scalars."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise InputError(
                "log.tensorboard is set, but tensorboardX is not installed: pip install tensorboardX."
            ) from error
        self._writer = SummaryWriter(str(folder))

    def write(self, record: Record) -> None:
        numbers = _numbers(record)
        step = int(numbers.pop("step", 0))
        for name, value in numbers.items():
            self._writer.add_scalar(f"{record['event']}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


def extra_loggers(config: LogConfig, name: str) -> list[Logger]:
    """The loggers that were asked for.

    Raises:
        InputError: if one of them is not installed.
    """
    loggers: list[Logger] = []
    if config.wandb_project is not None:
        loggers.append(WeightsAndBiases(config.wandb_project, name))
    if config.tensorboard is not None:
        loggers.append(TensorBoard(config.tensorboard))
    return loggers


def _numbers(record: Record) -> dict[str, float]:
    return {k: float(v) for k, v in record.items() if isinstance(v, int | float) and not isinstance(v, bool)}
