"""so3krates train: a model from energies and forces."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from so3krates.cli._reading import Reading


def train(
    *,
    config: Annotated[Path | None, Parameter(help="YAML file; `so3krates config template` prints one")] = None,
    train: Annotated[str | None, Parameter(help="training data, FILE or FILE@SPLIT")] = None,
    valid: Annotated[str | None, Parameter(help="validation data, FILE or FILE@SPLIT")] = None,
    data: Annotated[str | None, Parameter(help="one file to split into training and validation data")] = None,
    n_train: Annotated[int | None, Parameter(help="structures to train on, with --data")] = None,
    n_valid: Annotated[int | None, Parameter(help="structures to validate on, with --data")] = None,
    minutes: Annotated[float | None, Parameter(help="budget in minutes of wall-clock time")] = None,
    steps: Annotated[int | None, Parameter(help="budget in optimiser steps")] = None,
    epochs: Annotated[int | None, Parameter(help="budget in passes over the data")] = None,
    batch_size: Annotated[int | None, Parameter(help="structures per step")] = None,
    seed: Annotated[int | None, Parameter(help="seed of parameters and data order")] = None,
    dtype: Annotated[str | None, Parameter(help="float32 or float64")] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="model file to write")] = None,
    resume: Annotated[bool, Parameter(negative=(), help="continue from the checkpoint beside the model file")] = False,
    overwrite: Annotated[bool, Parameter(negative=(), help="replace an existing model file")] = False,
    reading: Reading | None = None,
) -> None:
    """Train a force field; options override the configuration file.

    Writes MODEL.safetensors, MODEL.log.jsonl and MODEL.checkpoint.safetensors.
    """
    from so3krates.cli._outputs import check_output
    from so3krates.cli._progress import TrainingProgress
    from so3krates.training.assemble import assemble
    from so3krates.training.loop import train as run

    options: dict[str, Any] = {
        "data": {
            "train": train,
            "valid": valid,
            "data": data,
            "n_train": n_train,
            "n_valid": n_valid,
            **asdict(reading or Reading()),
        },
        "budget": {"minutes": minutes, "steps": steps, "epochs": epochs},
        "batch_size": batch_size,
        "seed": seed,
        "dtype": dtype,
        "output": output,
    }
    settings = assemble(config, options)
    source = settings.data
    inputs = [config, source.train, source.valid, source.data]
    if settings.start is not None:
        inputs += [Path(settings.start.model), settings.start.replay]
    check_output(settings.output, "a model", (".safetensors",), inputs)
    with TrainingProgress() as progress:
        result = run(settings, resume=resume, overwrite=overwrite, tell=progress.tell, listener=progress.listen)
    progress.report(result, settings.output)
    if result.reason == "interrupted":
        raise KeyboardInterrupt(f"continue with: so3krates train … -o {settings.output} --resume")
