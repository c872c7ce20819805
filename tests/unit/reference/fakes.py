"""Calculators for the tests; the spawned processes import this file by its path."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

HERE = Path(__file__)


class Springs(Calculator):
    """E = ½ Σ k_i |r_i|², with ways to misbehave and a log of every call."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        stiffness: float = 1.0,
        log: str = "",
        fail_above: float = np.inf,
        die_above: float = np.inf,
        not_finite: bool = False,
        seconds: float = 0.0,
        interrupt_after: int = 0,
    ) -> None:
        super().__init__()
        self.stiffness, self.log, self.fail_above, self.die_above = stiffness, log, fail_above, die_above
        self.not_finite, self.seconds, self.interrupt_after = not_finite, seconds, interrupt_after
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.seconds)
        self.calls += 1
        if self.interrupt_after and self.calls > self.interrupt_after:
            raise KeyboardInterrupt
        first = self.atoms.positions[0, 0]
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{first!r}\n")
        if first > self.die_above:
            os.kill(os.getpid(), signal.SIGKILL)
        if first > self.fail_above:
            raise RuntimeError(f"no convergence at {first}")
        r = self.atoms.positions
        energy = 0.5 * self.stiffness * float((r**2).sum())
        stress = np.arange(6.0)
        self.results = {
            "energy": np.nan if self.not_finite else energy,
            "forces": -self.stiffness * r,
            "stress": stress,
        }


def target(name: str = "Springs") -> str:
    return f"{HERE}:{name}"
