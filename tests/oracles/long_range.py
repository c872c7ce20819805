"""A small model with everything SO3LR has: network with charges and Hirshfeld ratios, repulsion, electrostatics,
dispersion."""

from oracles.models import CONFIGS, random_model

from so3krates.physics.dispersion import Dispersion
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.zbl import ZBL
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.term import Sum

CONFIG = CONFIGS["so3lr"].model_copy(update={"charges": True, "hirshfeld_ratios": True})


def long_range_model(seed: int = 0, dtype: str = "float64") -> Sum:
    """Random parameters."""
    network = random_model(CONFIG, seed, dtype)
    return Sum((network, ZBL(CONFIG.cutoff, CONFIG.cutoff_function, dtype), Electrostatics(2.0), Dispersion(1.1)))


def long_range_potential(cutoff: float | None = 6.0, dtype: str = "float64") -> Potential:
    """With a short long-range cutoff, so that small structures reach it."""
    table = ElementTable(numbers=(1, 6, 8, 11, 14, 17), energies=(-13.6, -1030.0, -2042.0, -4412.0, -7880.0, -12520.0))
    return Potential(long_range_model(dtype=dtype), table, long_range_cutoff=cutoff)
