"""Train on 950 frames of rMD17 (fold 1), validate on its other 50, test on the official 1,000 test frames.

    python examples/rmd17.py ethanol --data DIR [--minutes 30] [--output DIR]

`DIR` holds `rmd17_ethanol.npz` or `rmd17_aspirin.npz` with the official splits as `split_train_01`, `split_test_01`.
Writes MOLECULE.safetensors and MOLECULE.json: the test errors and the learning curve over time.
"""

import argparse
import json
import os
from pathlib import Path

from so3krates.analysis.evaluate import evaluate
from so3krates.data.readers import read_dataset
from so3krates.training.config import TrainConfig
from so3krates.training.loop import train


def recipe(molecule: str, data: Path, minutes: float, output: Path) -> TrainConfig:
    """The package's defaults, but for more heads, one more degree, and a batch that keeps two cores busy."""
    return TrainConfig.parse(
        {
            "model": {"heads": 12, "degrees": (1, 2, 3, 4)},
            "batch_size": 8,
            "data": {"data": f"{data / f'rmd17_{molecule}.npz'}@train_01", "n_train": 950, "n_valid": 50},
            "budget": {"minutes": minutes},
            "output": output / f"{molecule}.safetensors",
        }
    )


def learning_curve(log: Path) -> list[dict[str, float]]:
    """Validation errors over time."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    keys = ("minutes", "step", "energy_mae", "forces_mae")
    return [{key: record[key] for key in keys} for record in records if record["event"] == "validation"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("molecule", choices=["ethanol", "aspirin"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    config = recipe(arguments.molecule, arguments.data, arguments.minutes, arguments.output)
    result = train(config, tell=print, overwrite=True)
    test = read_dataset(f"{arguments.data / f'rmd17_{arguments.molecule}.npz'}@test_01")
    evaluation = evaluate(result.potential, test)
    test_errors = evaluation.as_dict()
    for frame in test_errors["worst_frames"]:  # names of files, not folders of this machine
        frame["origin"] = Path(frame["origin"]).name
    report = {"test": test_errors, "config": config.model_dump(mode="json", exclude={"data", "output"})}
    report["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    report["learning_curve"] = learning_curve(result.log)
    (arguments.output / f"{arguments.molecule}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["test"], indent=1))


if __name__ == "__main__":
    main()
