"""Fine-tune SO3LR on a few structures and test it on structures it has not been tuned on.

    python examples/finetune.py so3lr.safetensors --data qm7x_2500.extxyz
    python examples/finetune.py so3lr.safetensors --data rmd17_ethanol.npz --train 100 --valid 50 --group-size 1 \
        --epochs 100 --learning-rates 3e-4 1e-3

QM7-X holds ten structures of each molecule in a row: with `--group-size 10`, the default, no molecule is in two parts.
Trained are all parameters, the last layer and the energy head, or adapters of low rank, each with every learning rate.
The two zeros of energy differ, so forces are compared. Writes NAME.json after every run that is done.
"""

import argparse
import json
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from so3krates import load, read_dataset, train
from so3krates.analysis.evaluate import evaluate
from so3krates.data.sample import Dataset
from so3krates.data.split import split_dataset
from so3krates.potential import Potential
from so3krates.training.config import TrainConfig

WAYS: dict[str, dict[str, Any]] = {
    "adapters of rank 8": {"adapter_rank": 8},
    "all parameters": {},
    "last layer and energy": {"parameters": ["layers.2", "energy"]},
}
SEED = 1


def configured(way: str, learning_rate: float, arguments: argparse.Namespace) -> TrainConfig:
    return TrainConfig.parse(
        {
            "data": {
                "data": arguments.data,
                "n_train": arguments.train,
                "n_valid": arguments.valid,
                "split": "groups",
                "split_seed": SEED,
                "group_size": arguments.group_size,
            },
            "start": {"model": str(arguments.model), **WAYS[way]},
            "optimizer": {"learning_rate": learning_rate},
            "batch_size": 10,
            "budget": {"epochs": arguments.epochs},
            "output": arguments.output / f"so3lr_{way.replace(' ', '_')}_{learning_rate:g}.safetensors",
        }
    )


def force_errors(potential: Potential, test: Dataset, group_size: int) -> Float[np.ndarray, "groups 2"]:
    """Sum of the absolute errors of force components, eV/Å, and their number, for each group."""
    evaluation = evaluate(potential, test)
    errors = np.abs(evaluation.forces_predicted - evaluation.forces_reference).sum(axis=1)
    first_atoms = np.concatenate([[0], np.cumsum(evaluation.atoms_per_frame)[:-1]])[::group_size]
    counts = np.add.reduceat(evaluation.atoms_per_frame, np.arange(0, len(test), group_size))
    return np.stack([np.add.reduceat(errors, first_atoms), 3 * counts], axis=1)


def compared(errors: Float[np.ndarray, "groups 2"], untuned: Float[np.ndarray, "groups 2"]) -> dict[str, float]:
    """Mean error, its change by tuning, and the standard error of that, taken from how groups differ."""
    components = errors[:, 1].sum()
    changes = errors[:, 0] - untuned[:, 0]
    return {
        "forces_mae_eV_per_A": errors[:, 0].sum() / components,
        "change_eV_per_A": changes.sum() / components,
        "standard_error_eV_per_A": changes.std(ddof=1) * sqrt(len(changes)) / components,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=int, default=500, help="structures to train on")
    parser.add_argument("--valid", type=int, default=100, help="structures to choose the best parameters by")
    parser.add_argument("--group-size", type=int, default=10, help="structures of one molecule in a row")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-5, 1e-4])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--name", default="finetune", help="of the report")
    parser.add_argument("--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    data = read_dataset(arguments.data)
    numbers = {"n_train": arguments.train, "n_valid": arguments.valid, "group_size": arguments.group_size}
    test = split_dataset(data, method="groups", seed=SEED, **numbers).of(data)[2]
    untuned = force_errors(load(arguments.model), test, arguments.group_size)
    report: dict[str, Any] = {
        "data": arguments.data.name,
        "train_structures": arguments.train,
        "test_structures": len(test),
        "epochs": arguments.epochs,
        "untuned_forces_mae_eV_per_A": untuned[:, 0].sum() / untuned[:, 1].sum(),
        "tuned": [],
    }
    for way, learning_rate in product(arguments.ways, arguments.learning_rates):
        result = train(configured(way, learning_rate, arguments), tell=print, overwrite=True)
        errors = force_errors(result.potential, test, arguments.group_size)
        report["tuned"].append({"way": way, "learning_rate": learning_rate, **compared(errors, untuned)})
        (arguments.output / f"{arguments.name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
