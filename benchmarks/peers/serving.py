"""The worker's side of a benchmark: one JSON request per line in, one JSON answer per line out, idle in between.

Standard library alone, since every engine runs in an environment of its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from platform import python_version
from typing import Any, NamedTuple, TextIO

LEAST_SAMPLES = 3


class Job(NamedTuple):
    """A task made ready: its facts, and a function that takes one sample of the quantity measured."""

    facts: dict[str, Any]
    sample: Callable[[], float]


Prepare = Callable[[str, dict[str, Any]], Job]
"""(mode, task) → job."""


def threads() -> int:
    """Number of threads this worker may use."""
    return int(os.environ["OMP_NUM_THREADS"])


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def versions_of(*packages: str) -> dict[str, str]:
    """Version of each installed package."""
    return {name: version(name) for name in packages}


def serve(prepare: Prepare, versions: dict[str, str]) -> None:
    """Answer requests until standard input ends: `prepare`, `measure`, `forget`.

    Answers go to the file descriptor named on the command line, where nothing the engine prints can disturb them.
    """
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    _answer(answers, {"versions": {"python": python_version(), **versions}})
    jobs: dict[str, Job] = {}
    for line in sys.stdin:
        _answer(answers, _handled(json.loads(line), jobs, prepare))


def _handled(request: dict[str, Any], jobs: dict[str, Job], prepare: Prepare) -> dict[str, Any]:
    if request["do"] == "forget":
        jobs.clear()
        return {}
    if request["do"] == "prepare":
        job = prepare(request["mode"], request["task"])
        _sampled(job, request["seconds"])
        jobs[request["mode"]] = job
        return job.facts
    return {"samples": _sampled(jobs[request["mode"]], request["seconds"])}


def _sampled(job: Job, seconds: float) -> list[float]:
    end = time.perf_counter() + seconds
    samples = [job.sample() for _ in range(LEAST_SAMPLES)]
    while time.perf_counter() < end:
        samples.append(job.sample())
    return samples


def _answer(channel: TextIO, content: dict[str, Any]) -> None:
    channel.write(json.dumps(content) + "\n")
    channel.flush()
