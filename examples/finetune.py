"""Fine-tune SO3LR on a few structures and test it on structures it has not been tuned on.

    python examples/finetune.py so3lr.safetensors --data qm7x_2500.extxyz
    python examples/finetune.py so3lr.safetensors --data rmd17_ethanol.npz --train 100 --valid 50 --group-size 1

QM7-X holds ten structures of each molecule in a row: with `--group-size 10`, the default, no molecule is in two parts.
Trained are all parameters, the last layer and the energy head, or adapters of low rank. The two zeros of energy differ,
so forces are compared. Writes finetune.json, after every way that is done.
"""

import argparse
import json
from pathlib import Path
from typing import Any

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


def configured(way: str, arguments: argparse.Namespace) -> TrainConfig:
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
            "optimizer": {"learning_rate": arguments.learning_rate},
            "batch_size": 10,
            "budget": {"epochs": arguments.epochs},
            "output": arguments.output / f"so3lr_{way.replace(' ', '_')}.safetensors",
        }
    )


def force_error(potential: Potential, test: Dataset) -> float:
    """Mean absolute, eV/Å."""
    return evaluate(potential, test).statistics["forces"].mae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=int, default=500, help="structures to train on")
    parser.add_argument("--valid", type=int, default=100, help="structures to choose the best parameters by")
    parser.add_argument("--group-size", type=int, default=10, help="structures of one molecule in a row")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    data = read_dataset(arguments.data)
    numbers = {"n_train": arguments.train, "n_valid": arguments.valid, "group_size": arguments.group_size}
    test = split_dataset(data, method="groups", seed=SEED, **numbers).of(data)[2]
    report: dict[str, Any] = {
        "data": arguments.data.name,
        "train_structures": arguments.train,
        "test_structures": len(test),
        "epochs": arguments.epochs,
        "learning_rate": arguments.learning_rate,
        "forces_mae_eV_per_A": {"untuned": force_error(load(arguments.model), test)},
    }
    for way in arguments.ways:
        result = train(configured(way, arguments), tell=print, overwrite=True)
        report["forces_mae_eV_per_A"][way] = force_error(result.potential, test)
        (arguments.output / "finetune.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
