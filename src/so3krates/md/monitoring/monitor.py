"""The monitor: what the user chooses. Reasons for which a run ends, and the thresholds behind them."""

from enum import IntEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from so3krates.config import Config

Kind = Literal["bond_broken", "bond_formed", "torn_apart", "evaporated", "committee_disagrees"]
"""What is noticed in saved frames, and may end the run or not."""


class Status(IntEnum):
    """Why a run ended; the names in lower case are the reason codes."""

    RUNNING = 0
    NOT_FINITE = 1
    TOO_HOT = 2
    TOO_CLOSE = 3
    BOND_BROKEN = 4
    EXTREME_PRESSURE = 5
    VOLUME_CHANGED = 6
    SHAPE_CHANGED = 7
    ENERGY_DRIFT = 8
    BOND_FORMED = 9
    TORN_APART = 10
    EVAPORATED = 11
    COMMITTEE_DISAGREES = 12
    ENDED = 13
    """A replica that ended in a chunk before."""

    @property
    def reason(self) -> str:
        return self.name.lower()


class Monitor(Config):
    """When to stop a run, and what to report of it. A threshold of None switches its check off; values that are not
    finite always stop.

    Temperature, closest approach, bond deviation, pressure, volume and shape of the cell, and drift are checked in
    every step, inside compiled code. What `stop_on` can name is looked for in saved frames: each thing is reported
    once, in `Run.events`, and those named also end the run. Bonds are between atoms of elements that make covalent
    ones; metals and noble gases have none.
    """

    max_temperature_K: PositiveFloat | None = Field(default=1e4, description="hottest temperature accepted, K")
    min_distance: PositiveFloat | None = Field(default=0.5, description="closest approach of two atoms accepted, Å")
    max_bond_deviation: PositiveFloat | None = Field(
        default=None, description="largest change of a bond length accepted, Å, against the start or `bond_lengths`"
    )
    max_pressure_GPa: PositiveFloat | None = Field(
        default=500.0,
        description="largest pressure accepted, compression or tension, GPa; of structures periodic along three axes",
    )
    max_volume_factor: Annotated[float, Field(gt=1.0)] | None = Field(
        default=2.0, description="factor by which the cell may grow or shrink in volume against the start"
    )
    max_shape_factor: Annotated[float, Field(gt=1.0)] | None = Field(
        default=1.6,
        description="factor by which a height of the cell may change against the start, beyond what all of them do "
        "with the volume",
    )
    max_drift_meV_per_atom: PositiveFloat | None = Field(
        default=1000.0, description="largest change of the conserved quantity since the start of the run, meV/atom"
    )
    max_force_disagreement: PositiveFloat | None = Field(
        default=1.0, description="largest standard deviation of a force over the committee, where there is one, eV/Å"
    )
    bond_factor: PositiveFloat = Field(
        default=1.3, description="atoms closer than this times the sum of their covalent radii at the start are bonded"
    )
    bonds: tuple[tuple[int, int], ...] | None = Field(
        default=None, description="bonds to watch; found from the start if not given"
    )
    bond_lengths: tuple[PositiveFloat, ...] | None = Field(
        default=None, description="reference lengths of `bonds`, Å, such as their means in reference data"
    )
    broken_factor: Annotated[float, Field(gt=1.0)] | None = Field(
        default=1.5, description="a bond longer than this times its length at the start is reported as broken"
    )
    formed_factor: PositiveFloat | None = Field(
        default=1.2,
        description="atoms that were neither bonded nor bonded to a third one, and are closer than this times the sum "
        "of their covalent radii, are reported as a new bond",
    )
    max_gap: PositiveFloat | None = Field(
        default=10.0,
        description="an isolated structure is in parts where no two atoms of them are closer than this, Å",
    )
    stop_on: tuple[Kind, ...] = Field(
        default=("torn_apart", "committee_disagrees"), description="what ends the run instead of only being reported"
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.bonds is not None and self.max_bond_deviation is None and self.broken_factor is None:
            raise ValueError(
                "`bonds` has no effect without `max_bond_deviation` or `broken_factor`; remove it, or give one of these"
            )
        if self.bonds is not None and "bond_factor" in self.model_fields_set:
            raise ValueError("`bond_factor` finds bonds, so it has no effect beside `bonds`; remove one of them")
        for kind in self.stop_on if "stop_on" in self.model_fields_set else ():
            name = THRESHOLDS[kind]
            if getattr(self, name) is None:
                raise ValueError(f"`stop_on` names {kind}, which is not looked for: `{name}` is None")
        return self

    @classmethod
    def benchmark(cls, bonds: tuple[tuple[int, int], ...], bond_lengths: tuple[float, ...]) -> Self:
        """The stability criterion of the field: a bond 0.5 Å away from its mean in the reference data."""
        return cls(max_bond_deviation=0.5, bonds=bonds, bond_lengths=bond_lengths)


THRESHOLDS: dict[Kind, str] = {
    "bond_broken": "broken_factor",
    "bond_formed": "formed_factor",
    "torn_apart": "max_gap",
    "evaporated": "max_gap",
    "committee_disagrees": "max_force_disagreement",
}
"""The field of `Monitor` without which a kind is not looked for."""
