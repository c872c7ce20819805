"""Training steps of the torch packages, whose trainers share one interface."""

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import Any

import torch
from serving import Job, timed

CLIP_NORM = 10.0
"""The default of both trainers."""
OUTPUT = {"forces": True, "virials": False, "stress": False}


def training_job(
    model: torch.nn.Module,
    loader: Iterable[Any],
    loss: torch.nn.Module,
    take_step: Callable[..., tuple[Any, Any]],
    task: dict[str, Any],
) -> Job:
    """A job that samples structures per second: batches from the loader, AMSGrad, the package's own step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=task["learning_rate"], amsgrad=True)
    batches = chain.from_iterable(repeat(loader))

    def one_step() -> float:
        value, _ = take_step(
            model=model,
            loss_fn=loss,
            batch=next(batches),
            optimizer=optimizer,
            ema=None,
            output_args=OUTPUT,
            max_grad_norm=CLIP_NORM,
            device=torch.device("cpu"),
        )
        return float(value)

    def steps() -> None:
        values = [one_step() for _ in range(task["steps"])]
        if not torch.isfinite(torch.tensor(values)).all():
            raise ValueError("the loss is not finite.")

    return Job({"parameters": count(model)}, lambda: task["steps"] * task["batch_size"] / timed(steps))


def count(model: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
