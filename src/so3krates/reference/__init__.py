"""Reference data with any ASE calculator: `sample` geometries by dynamics, `label` them with energies and forces."""

from so3krates.reference.calculators import CalculatorSpec
from so3krates.reference.label import Label, LabelReport, label, label_frames
from so3krates.reference.sample import SampleReport, SamplingPlan, Trajectory, sample, sample_trajectories

__all__ = [
    "CalculatorSpec",
    "Label",
    "LabelReport",
    "SampleReport",
    "SamplingPlan",
    "Trajectory",
    "label",
    "label_frames",
    "sample",
    "sample_trajectories",
]
