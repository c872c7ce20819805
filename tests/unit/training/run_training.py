"""Run or continue a tiny training in its own process: `run_training.py FOLDER STEPS`."""

import sys
from pathlib import Path

from springs import run_config

from so3krates.training import loop

if __name__ == "__main__":
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    loop.CHECKPOINT_SECONDS = 0.05
    checkpoint = folder / "model.checkpoint.safetensors"
    config = run_config(folder, budget={"steps": steps}, log={"validate_every": 100})
    first = [True]

    def listen(record: object) -> None:
        if record["event"] == "progress" and first.pop() if first else False:  # type: ignore[index]
            print("running", flush=True)

    result = loop.train(config, resume=checkpoint.exists(), overwrite=True, listener=listen)
    print(result.reason, flush=True)
