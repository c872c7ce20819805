"""Worker processes, one per engine, all on the same processor cores; each computes only when it is asked."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Engine:
    """One column of a table."""

    name: str
    script: str
    """In `peers/`."""
    python: Path | None
    """Interpreter with the package; None: this engine is left out."""
    mode: str
    """What the worker is asked to do."""


class WorkerFailed(RuntimeError):
    """A worker ended or answered nonsense; the message holds the last lines it printed."""


class Worker:
    """A process that reads and writes JSON lines."""

    def __init__(self, script: str, python: Path, threads: int, scratch: Path) -> None:
        self._script = script
        self._errors = (scratch / f"{script}.log").open("w+", encoding="utf-8", errors="replace")
        limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        # A pipe of their own for the answers: some packages print while they are imported.
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, encoding="utf-8")
        with pinned(threads), os.fdopen(writing, "w"):
            self._process = subprocess.Popen(
                [str(python), str(PEERS / script), str(writing)],
                stdin=subprocess.PIPE,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(writing,),
                text=True,
                env={**os.environ, **limits, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
            )
        self.versions: dict[str, str] = self._read()["versions"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
            WorkerFailed: if the process ends instead.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        return self._read()

    def close(self) -> None:
        """Tell the process to end, and wait."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._errors.close()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise self._failure()
        return json.loads(line)

    def _failure(self) -> WorkerFailed:
        status = self._process.wait()
        self._errors.seek(0)
        tail = "".join(self._errors.readlines()[-12:])
        self.close()
        return WorkerFailed(f"{self._script} ended with status {status}:\n{tail}")


def chosen_cores(threads: int) -> list[int]:
    """The cores all workers share: the first ones this process may use.

    Raises:
        ValueError: if there are fewer than `threads`.
    """
    available = sorted(os.sched_getaffinity(0))
    if len(available) < threads:
        raise ValueError(f"{threads} threads asked for, but this process may use {len(available)} cores.")
    return available[:threads]


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Within the block new processes inherit the chosen cores; compiled code then sizes its pools by them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen_cores(threads))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(engines: Sequence[Engine], threads: int) -> Iterator[dict[str, Worker]]:
    """A worker for each script among the engines that are not left out; all ended at the end of the block."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers: dict[str, Worker] = {}
        for engine in engines:
            if engine.python is not None and engine.script not in workers:
                workers[engine.script] = Worker(engine.script, engine.python, threads, scratch)
                stack.callback(workers[engine.script].close)
        yield workers


def this_python() -> Path:
    """The interpreter that runs the benchmark."""
    return Path(sys.executable)
