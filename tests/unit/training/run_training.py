"""Run or continue a tiny training in its own process, which says what it does: `run_training.py FOLDER STEPS`."""

import sys
from pathlib import Path

from springs import run_config

from so3krates.training import loop
from so3krates.training.loggers import Record

if __name__ == "__main__":
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    loop.CHECKPOINT_SECONDS = 0.05
    checkpoint = folder / "model.checkpoint.safetensors"
    config = run_config(folder, budget={"steps": steps}, log={"validate_every": 100})

    def listen(record: Record) -> None:
        print(record["event"], flush=True)

    result = loop.train(config, resume=checkpoint.exists(), overwrite=True, listener=listen)
    print(result.reason, flush=True)
