"""Engines measured in turn, round after round, so that whatever slows the machine slows them alike."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from workers import Engine, Worker


@dataclass(frozen=True)
class Protocol:
    """How long and how often."""

    rounds: int
    seconds: float
    """Length of each engine's turn."""
    warm_up_seconds: float
    pause_seconds: float
    """Between turns: threads of the engine before stop spinning."""
    threads: int

    @classmethod
    def full(cls, threads: int) -> "Protocol":
        return cls(rounds=5, seconds=4.0, warm_up_seconds=4.0, pause_seconds=0.5, threads=threads)

    @classmethod
    def quick(cls, threads: int) -> "Protocol":
        """Only to see that everything works."""
        return cls(rounds=2, seconds=0.1, warm_up_seconds=0.0, pause_seconds=0.0, threads=threads)


@dataclass(frozen=True)
class Quantity:
    """What is measured."""

    unit: str
    higher_is_better: bool


def measured(
    engines: Sequence[Engine], workers: Mapping[str, Worker], task: Mapping[str, Any], protocol: Protocol
) -> tuple[dict[str, dict[str, Any]], dict[str, list[list[float]]]]:
    """Facts of each engine about the task, and its samples round by round."""
    taking_part = [engine for engine in engines if engine.script in workers]
    facts = {}
    for engine in taking_part:
        worker = workers[engine.script]
        facts[engine.name] = worker.ask(
            do="prepare", mode=engine.mode, task=dict(task), seconds=protocol.warm_up_seconds
        )
    samples: dict[str, list[list[float]]] = {engine.name: [] for engine in taking_part}
    for number in range(protocol.rounds):
        # Every second round in reverse, so that nobody always follows the same engine.
        for engine in taking_part if number % 2 == 0 else reversed(taking_part):
            time.sleep(protocol.pause_seconds)
            answer = workers[engine.script].ask(do="measure", mode=engine.mode, seconds=protocol.seconds)
            samples[engine.name].append(answer["samples"])
    for worker in workers.values():
        worker.ask(do="forget")
    return facts, samples


def summarized(samples: Sequence[Sequence[float]], quantity: Quantity) -> dict[str, Any]:
    """Median and quartiles over all samples."""
    lower, median, upper = np.percentile(np.concatenate([np.asarray(turn) for turn in samples]), (25, 50, 75))
    return {
        "median": _digits(median),
        "lower_quartile": _digits(lower),
        "upper_quartile": _digits(upper),
        "samples": sum(map(len, samples)),
        "unit": quantity.unit,
    }


def advantage(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], quantity: Quantity
) -> dict[str, float]:
    """How many times better ours is: the ratio of medians in each round; its median, smallest and largest value."""
    ratios = np.array([np.median(b) / np.median(a) for a, b in zip(ours, theirs, strict=True)])
    if quantity.higher_is_better:
        ratios = 1.0 / ratios
    return {
        "median": _digits(np.median(ratios)),
        "smallest_round": _digits(ratios.min()),
        "largest_round": _digits(ratios.max()),
    }


def _digits(value: float) -> float:
    """Four significant digits."""
    return float(f"{float(value):.4g}")
