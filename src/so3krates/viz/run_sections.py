"""Sections of the report about a dynamics run: energy, bonds, vibrations, and the moving structure."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from so3krates._errors import InputError
from so3krates._typing import Float
from so3krates.analysis.spectra import PERIOD_FS, power_spectrum
from so3krates.analysis.stability import Drift, Stability, bond_stability, energy_drift
from so3krates.analysis.structure import Bonds, bond_kinds, find_bonds, pair_distances
from so3krates.data.sample import Dataset
from so3krates.io.trajectory import Trajectory
from so3krates.units import BOLTZMANN
from so3krates.viz import plots
from so3krates.viz.page import Card, Figure, Figures, Section, Table, Viewer, chemical
from so3krates.viz.style import number
from so3krates.viz.viewer import viewer_data

BUDGET = 30_000_000
"""Numbers read at once; of longer runs every n-th frame, or the end, is looked at."""
REFERENCE_FRAMES = 5000
SHORT_PS = 10.0
"""Of shorter runs neither stability nor drift is praised: both look good in any run that is short enough."""
SPECTRUM_FRAMES = 64
SHOWN_FRAMES = 400
SHOWN_NUMBERS = 60_000
"""Coordinates in the viewer at most."""
BANDS = {
    "bends": ({"C–H", "O–H", "N–H"}, (1200.0, 1520.0)),
    "C–H stretch": ({"C–H"}, (2780.0, 3180.0)),
    "O–H stretch": ({"O–H"}, (3450.0, 3850.0)),
}
"""Where vibrations of bonds of these kinds are found, cm⁻¹."""


@dataclass(frozen=True, eq=False)
class RunData:
    """What the sections need of a run, read and computed once."""

    name: str
    trajectory: Trajectory
    series: dict[str, np.ndarray]
    positions: Float[np.ndarray, "frames atoms 3"]
    cells: Float[np.ndarray, "*frames 3 3"] | None
    """Å; of each of them where the cell moves."""
    every: int
    """Frames from one of `positions` to the next."""
    bonds: Bonds
    reference: Float[np.ndarray, "references atoms 3"] | None
    stability: Stability
    drift: Drift | None

    @property
    def time_ps(self) -> float:
        return float(self.series["time_fs"][-1] - self.series["time_fs"][0]) * 1e-3

    @property
    def temperature_K(self) -> float:
        return float(np.mean(self.series["temperature"][1:]))

    @property
    def short(self) -> bool:
        return round(self.time_ps, 6) < SHORT_PS

    @property
    def bond_reference(self) -> str:
        """What the bonds are held against."""
        if self.reference is None:
            return "its length in the first frame"
        return f"its mean over {len(self.reference):,} reference frames"


def read_run(trajectory: Trajectory, reference: Dataset | None) -> RunData:
    """Read a trajectory and compare it with reference data.

    Args:
        trajectory: at least three frames.
        reference: data with the same atoms in the same order; without them bonds are those of the first frame.

    Raises:
        InputError: for a trajectory too short to say anything, or reference data without the molecule of the run.
    """
    frames, atoms = len(trajectory), len(trajectory.system)
    if frames < 3:
        raise InputError(f"{trajectory.path} holds {frames} frames; a report needs at least 3.")
    series = trajectory.series()
    every = max(1, -(-frames * 3 * atoms // BUDGET))
    system = trajectory.system
    shown = trajectory.read(every=every)
    positions = np.asarray(shown.positions)
    known = None if reference is None else _same_molecule(reference, trajectory)
    cells = system.cell if shown.cells is None else np.asarray(shown.cells)
    bonds = find_bonds(positions[:1] if known is None else known, system.numbers, system.cell, system.pbc)
    stability = bond_stability(shown.time_fs, positions, bonds, cells, system.pbc)
    freedom = round(2.0 * float(np.sum(series["kinetic_energy"])) / BOLTZMANN / float(np.sum(series["temperature"])))
    drift = energy_drift(
        series["time_fs"], series["conserved"], series["kinetic_energy"], atoms=atoms, degrees_of_freedom=freedom
    )
    return RunData(trajectory.path.name, trajectory, series, positions, cells, every, bonds, known, stability, drift)


def run_cards(run: RunData) -> list[Card]:
    """Stable time and drift; a run that is short may fail, but not pass."""
    cards = [_stability_card(run)]
    if run.drift is not None:
        ratio = run.drift.over_kinetic_spread
        side = "below 1: it drowns in the fluctuations" if ratio < 1.0 else "above 1: more than the fluctuations"
        if run.short and ratio < 1.0:
            side = _too_short()
        remark = f"{side}; slope {number(run.drift.meV_per_atom_per_ps, 2, signed=True)} meV/atom/ps"
        cards.append(Card("Energy drift ÷ σ(kinetic)", number(ratio, 2), "", remark, _verdict(run, ratio < 1.0)))
    return cards


def _stability_card(run: RunData) -> Card:
    stable = run.stability
    if stable.atoms is None:
        remark, good = "no bonds to watch", None
    elif stable.stable:
        remark, good = f"every bond within 0.5 Å of {run.bond_reference} throughout", _verdict(run, True)
        if run.short:
            remark += f"; {_too_short()}"
    else:
        remark, good = f"then a bond was more than 0.5 Å from {run.bond_reference}", False
    return Card("Stable dynamics", number(stable.stable_ps), f"of {number(run.time_ps)} ps", remark, good)


def _verdict(run: RunData, good: bool) -> bool | None:
    return None if good and run.short else good


def _too_short() -> str:
    return f"too short to tell, {SHORT_PS:g} ps are the least for a verdict"


def run_sections(run: RunData) -> list[Section]:
    """Energy, bonds, vibrations, structure."""
    sections = [_energy_section(run)]
    if len(run.bonds.atoms):
        sections.append(_bond_section(run))
    return [*sections, _vibration_section(run), _structure_section(run)]


def _energy_section(run: RunData) -> Section:
    settings = run.trajectory.settings
    kind = settings["ensemble"]["kind"]
    name = "total energy" if kind == "NVE" else "conserved quantity"
    series = run.series
    atoms = len(run.trajectory.system)
    picture = plots.energies(series["time_fs"], series["conserved"], series["kinetic_energy"], atoms, name=name)
    text = (
        f"{run.name}: {kind}, {run.time_ps:.4g} ps in steps of {settings['timestep_fs']:g} fs, {settings['dtype']}, "
        f"mean temperature {run.temperature_K:.0f} K, {atoms} atoms."
    )
    caption = (
        f"Left, the {name} beside the kinetic energy, which fluctuates as it must: the blue line should look flat. "
        "Right, the same magnified until its own small fluctuations show, with a straight line fitted to it: forces "
        "that are not the gradient of the energy, or a time step too long, would make it climb."
    )
    block = plots.block_size(len(series["step"]))
    if block > 1:
        caption += f" Lines are means over blocks of {block:,} frames, bands their range."
    label = f"Kinetic energy and {name} against time, and the {name} magnified"
    tables = () if run.drift is None else (_drift_table(run.drift),)
    return Section("Energy conservation", text, (Figures((Figure(picture.inline(label), caption),)),), tables)


def _drift_table(drift: Drift) -> Table:
    rows = (
        ("drift", number(drift.meV_per_atom_per_ps, 2, signed=True), "meV/atom/ps"),
        ("drift", number(drift.kT_per_ns_per_dof, 2, signed=True), "kT/ns per degree of freedom"),
        ("drift over the run ÷ σ(kinetic energy)", number(drift.over_kinetic_spread, 2), ""),
        ("fluctuation about the line", number(drift.fluctuation_meV_per_atom), "meV/atom"),
    )
    return Table("Drift of the conserved quantity, by least squares.", ("", "value", "unit"), rows, (1,))


def _bond_section(run: RunData) -> Section:
    system = run.trajectory.system
    kinds = bond_kinds(run.bonds, system.numbers)
    lengths = pair_distances(run.positions, run.bonds.atoms, run.cells, system.pbc)
    known = None if run.reference is None else pair_distances(run.reference, run.bonds.atoms, system.cell, system.pbc)
    picture = plots.bond_lengths(
        {kind: lengths[:, members] for kind, members in kinds.items()},
        None if known is None else {kind: known[:, members] for kind, members in kinds.items()},
    )
    stable = run.stability
    i, j = stable.atoms or (0, 0)
    text = (
        f"The bond {system.symbols[i]}{i}–{system.symbols[j]}{j} strayed furthest: {stable.largest_deviation:.2f} Å "
        f"from {run.bond_reference}. By the usual criterion a run is unstable once a bond is 0.5 Å away; this one "
        + (f"was stable for {number(stable.stable_ps)} ps." if not stable.stable or run.short else "stayed stable.")
    )
    caption = "Bond lengths of the run" + (
        ", one panel for each kind of bond."
        if known is None
        else " (line) and of the reference data (filled), one panel for each kind of bond. The run should cover the "
        "same lengths. Where the data come from hotter dynamics than the run, or from several temperatures, they are "
        "the wider of the two."
    )
    stiff = next((kind for kind in ("O–H", "N–H", "C–H") if kind in kinds), None)
    if stiff is not None and run.trajectory.settings["ensemble"]["kind"] == "NVE":
        caption += (
            f" In a short run at constant energy a stiff bond, such as {stiff}, vibrates with an energy that hardly "
            "changes, so its distribution may have two horns, at the turning points; this is no fault of the model."
        )
    label = "Distributions of bond lengths by kind of bond"
    figure = Figures((Figure(picture.inline(label), caption),), narrow=len(kinds) == 1)
    return Section("Bonds", text, (figure,))


def _vibration_section(run: RunData) -> Section:
    system = run.trajectory.system
    time = run.trajectory.clock()[1]
    frames = len(time)
    if "velocities" not in run.trajectory.quantities:
        return Section("Vibrations", "No power spectrum: velocities were not recorded.")
    if frames < SPECTRUM_FRAMES:
        return Section(
            "Vibrations",
            f"No power spectrum: it takes at least {SPECTRUM_FRAMES} frames, and this run holds {frames}. "
            "A longer run, or frames saved more often, would have one.",
        )
    first = max(0, frames - BUDGET // (3 * len(system)))
    interval = float(np.median(np.diff(time)))
    velocities = np.asarray(run.trajectory.read(first).velocities)
    spectrum = power_spectrum(velocities, system.masses, interval)
    kinds = set(bond_kinds(run.bonds, system.numbers))
    nyquist = 0.5 * PERIOD_FS / interval
    highest = min(4000.0, nyquist)
    bands = {name: band for name, (needed, band) in BANDS.items() if kinds & needed and band[1] < highest}
    picture = plots.power_spectrum(spectrum, bands=bands, highest=highest)
    text = f"From the velocities of {frames - first:,} frames, {interval:g} fs apart" + (
        f"; vibrations above {nyquist:.0f} cm⁻¹ are too fast for that and fold back." if nyquist < 4000.0 else "."
    )
    caption = (
        "Power spectrum: the Fourier transform of the mass-weighted velocity autocorrelation, with area one. Each peak "
        "is a vibration, or several."
        + (" Grey bands mark where those of such bonds are usually found." if bands else "")
        + (" Torsions lie below about 300 cm⁻¹, rotation of the whole near zero." if system.cell is None else "")
    )
    label = "Vibrational power spectrum against wavenumber"
    return Section("Vibrations", text, (Figures((Figure(picture.inline(label), caption),)),))


def _structure_section(run: RunData) -> Section:
    system = run.trajectory.system
    time = run.trajectory.clock()[1]
    frames = len(time)
    count = max(1, min(frames, SHOWN_FRAMES, SHOWN_NUMBERS // (3 * len(system))))
    first = frames - count
    interval = float(np.median(np.diff(time)))
    shown = np.asarray(run.trajectory.read(first).positions)
    data = viewer_data(shown, system, run.bonds, interval_fs=interval, start_fs=float(time[first]))
    span = f"{number(float(time[-1] - time[first]) * 1e-3, 2)} ps" if count > 1 else "frame"
    text = f"{chemical(system.formula)}, the last {span} of the run" + (", frame by frame." if count > 1 else ".")
    caption = (
        "Drag to turn, scroll or pinch to zoom, arrow keys and space bar work too."
        + (" Motion of the molecule as a whole is taken out." * (system.cell is None))
        + (" The box is that of the start of the run." * run.trajectory.moving_cell)
        + f" Elements: {', '.join(dict.fromkeys(sorted(system.symbols)))}."
    )
    return Section("Structure", text, viewer=Viewer(data, f"{chemical(system.formula)} in motion", caption))


def _same_molecule(reference: Dataset, trajectory: Trajectory) -> np.ndarray:
    """Positions of reference frames with the atoms of the run in the same order."""
    numbers = trajectory.system.numbers
    chosen = np.unique(np.linspace(0, len(reference) - 1, min(len(reference), REFERENCE_FRAMES)).astype(int))
    found: list[Any] = []
    for index in chosen:
        system = reference[int(index)].system
        if np.array_equal(system.numbers, numbers):
            found.append(system.positions)
    if not found:
        raise InputError(
            f"the reference data hold no frame with the atoms of {trajectory.path} "
            f"({trajectory.system.formula}, in this order); leave them out, or give data of the same structure."
        )
    return np.stack(found)
