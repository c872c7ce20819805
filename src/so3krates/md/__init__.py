"""Molecular dynamics: ensembles, the monitor, and `simulate`."""

from so3krates.md.cell_rescaling import StochasticCellRescaling as StochasticCellRescaling
from so3krates.md.csvr import CSVR as CSVR
from so3krates.md.findings import Disagreement as Disagreement
from so3krates.md.findings import Event as Event
from so3krates.md.hydrogen import repartition_hydrogen_mass as repartition_hydrogen_mass
from so3krates.md.langevin import Langevin as Langevin
from so3krates.md.monitor import Monitor as Monitor
from so3krates.md.monitor import Status as Status
from so3krates.md.mtk import MTK as MTK
from so3krates.md.nose_hoover import NoseHoover as NoseHoover
from so3krates.md.nve import NVE as NVE
from so3krates.md.progress import Report as Report
from so3krates.md.progress import progress_bar as progress_bar
from so3krates.md.run import Run as Run
from so3krates.md.run import RunStopped as RunStopped
from so3krates.md.run import RunUnfinished as RunUnfinished
from so3krates.md.schedule import Ramp as Ramp
from so3krates.md.simulate import simulate as simulate
from so3krates.md.state import Integrator as Integrator
from so3krates.md.state import Snapshot as Snapshot
from so3krates.md.state import State as State
from so3krates.md.summary import Drift as Drift
from so3krates.md.summary import Summary as Summary
from so3krates.md.summary import energy_drift as energy_drift
from so3krates.md.velocities import maxwell_boltzmann as maxwell_boltzmann
