"""One page about a dynamics run: what it was, how it ended, and its temperature, energies, pressure and volume."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from so3krates.io.trajectory import Trajectory
from so3krates.md.records.averages import Average
from so3krates.md.records.run_file import picture_path, read_summary
from so3krates.md.records.wording import OF_A_RAMP, average_text, follows_ramp, many, spread_text
from so3krates.viz.plots import block_size, trace
from so3krates.viz.style import COLORS, Picture, drawing, number

WIDTH, PANEL = 8.3, 2.0
"""Inches: of the page, of each panel."""
TITLE, LINE, GAP, ROW = 21.0, 12.0, 10.0, 15.5
"""Points: of the title, of a line below it, of the room behind these, of a row of the table."""
LETTERS, LONG_TITLE = 104, 58
"""In a line below the title; in a title that is set in smaller ones."""
DASHED = (0, (4, 2))
LONG_PS = 1000.0
"""From here on the time is shown in ns."""


def write_run_picture(run: str | PathLike[str], to: str | PathLike[str] | None = None) -> Path:
    """Draw the page about a run.

    Args:
        run: trajectory, with the summary that `simulate` left beside it.
        to: .png, .svg or .pdf; run.h5 gives run.summary.png if not given.

    Returns:
        The file written.

    Raises:
        FileError: if trajectory or summary cannot be read, or the picture cannot be written.
    """
    trajectory = Trajectory(run)
    target = picture_path(trajectory.path) if to is None else Path(to)
    run_picture(trajectory.series(), read_summary(trajectory.path)).save(target)
    return target


def run_picture(series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> Picture:
    """The page.

    Args:
        series: scalars of the saved frames by name, as `Trajectory.series` gives them.
        summary: as `so3krates.md.records.run_file.read_summary` gives it.
    """
    from matplotlib.figure import Figure

    results = summary["results"]
    time = np.asarray(series["time_fs"], np.float64) * 1e-3
    unit = "ps"
    if time[-1] - time[0] > LONG_PS:
        time, unit = time * 1e-3, "ns"
    panels = [_temperature, _energies, _conserved]
    panels += [_pressure] if "pressure" in series else []
    panels += [_volume] if results["volume_A3"] is not None else []
    with drawing():
        said, rows = _said(summary), (_asked(summary), _found(summary))
        header = (TITLE + LINE * len(said) + GAP + ROW * max(map(len, rows))) / 72 + 0.1
        figure = Figure(figsize=(WIDTH, header + PANEL * len(panels)))
        parts = figure.subplots(len(panels) + 1, 1, height_ratios=[header] + [PANEL] * len(panels))
        _header(parts[0], _title(series, summary), said, rows, _color(summary))
        for ax, panel in zip(parts[1:], panels, strict=True):
            panel(ax, time, series, summary)
            ax.set_xlim(time[0], time[-1] if time[-1] > time[0] else time[0] + 1.0)
            ax.tick_params(labelbottom=ax is parts[-1])
        size = block_size(len(time))
        parts[-1].set_xlabel(
            f"time ({unit})" + (f"; line: means of {size} frames, band: their range" if size > 1 else "")
        )
        figure.align_ylabels(list(parts[1:]))
    return Picture(figure)


def _header(ax: Any, title: str, said: list[str], tables: tuple[list[tuple[str, str]], ...], color: str) -> None:
    """Words from above, at distances in points, so that many lines push the table down."""
    ax.set_axis_off()

    def write(x: float, down: float, text: str, *, spacious: bool = False, **how: Any) -> None:
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "ha": "left"}
        written = ax.annotate(text, (x, 1.0), (0.0, -down), **place, **{"color": COLORS["ink"], "fontsize": 8.5} | how)
        written.set_in_layout(spacious)

    write(0.0, 0.0, title, fontsize=13 if len(title) <= LONG_TITLE else 10.5, weight="bold")
    for line, text in enumerate(said):
        write(0.0, TITLE + LINE * line, text, color=color)
    top = TITLE + LINE * len(said) + GAP
    for column, rows in enumerate(tables):
        for line, (name, value) in enumerate(rows):
            # The names keep room for all rows; a long line would make all panels narrower.
            write(0.49 * column, top + ROW * line, name, spacious=True, color=COLORS["muted"])
            write(0.49 * column + 0.13, top + ROW * line, value)


def _title(series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> str:
    exchanged = ", with temperature exchange" if "walker" in series else ""
    return f"{summary['system']['formula']}: {_ensemble(summary['settings']['ensemble'])}{exchanged}"


def _color(summary: Mapping[str, Any]) -> str:
    return COLORS[{"complete": "muted", "unfinished": "gold"}.get(summary["ended"]["state"], "orange")]


def _said(summary: Mapping[str, Any]) -> list[str]:
    """Which trajectory, and how the run ended, in lines."""
    sentence = summary["ended"]["sentence"]
    said = f"{summary['trajectory']}, {summary['ended']['state']}" + ("" if sentence is None else f": {sentence}")
    return wrap(said, LETTERS, break_on_hyphens=False)


def _asked(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    system, settings = summary["system"], summary["settings"]
    step, versions = settings["timestep_fs"], summary["versions"]
    rows = [("system", f"{many(system['atoms'], 'atom', ',')}, {'periodic' if any(system['pbc']) else 'isolated'}")]
    if "density_g_cm3" in system:
        rows.append(("density", f"{number(system['density_g_cm3'])} g/cm³ at the start"))
    saved = f"frames every {number(step * settings['save_every'])} fs"
    if settings["scalars_every"] < settings["save_every"]:
        saved += f", scalars every {number(step * settings['scalars_every'])} fs"
    return [
        *rows,
        ("time step", f"{number(step)} fs, seed {settings['seed']}, {settings['dtype']}"),
        ("saved", saved),
        ("model", settings["model"][:16]),
        ("made by", f"so3krates {versions['so3krates']}, jax {versions['jax']}, {summary['device']}"),
    ]


def _found(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    results = summary["results"]
    length = f"{many(results['steps'], 'step', ',')}, {many(results['frames'], 'frame', ',')}"
    rows = [
        ("simulated", f"{number(results['time_ps'], 4)} ps, {length}"),
        ("temperature", _average(summary, "temperature_K", "K")),
        ("", f"± standard error; {results['degrees_of_freedom']} degrees of freedom"),
    ]
    for name, key, unit in (
        ("pressure", "pressure_GPa", "GPa"),
        ("density", "density_g_cm3", "g/cm³"),
    ):
        if results[key] is not None:
            rows.append((name, _average(summary, key, unit)))
    if results["drift"] is not None:
        rows.append(("drift", f"{number(results['drift']['kT_per_ns_per_dof'], 2, signed=True)} kT/ns/dof"))
    if dispute := results.get("disagreement"):
        largest, mean = (number(dispute[f"{which}_eV_per_A"]) for which in ("largest", "mean"))
        rows.append(("committee", f"at most {largest}, in the mean {mean} eV/Å apart;"))
        rows.append(("", f"most at {number(dispute['time_ps'], 4)} ps about atom {dispute['atom']}"))
    speed, steps = number(results["ns_per_day"]), number(results["steps_per_second"])
    # A run that was killed before it could say how fast it was has its summary from a call without any step.
    rows.append(("speed", f"{speed} ns/day, {steps} steps/s" if results["steps_per_second"] else "not known"))
    if retries := results["neighbor_retries"]:
        rows.append(("repeated", f"{many(retries, 'chunk')}, for longer neighbour lists"))
    return rows


def _temperature(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    trace(ax, time, series["temperature"], "orange", "temperature")
    text = f"temperature: {_mean(summary, 'temperature_K', 'K')}"
    _labelled(ax, "temperature (K)", text + _target(ax, time, series, summary, "temperature_K", "bath", "K"))


def _energies(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    potential, total = series["potential_energy"], series["potential_energy"] + series["kinetic_energy"]
    scale = 1e3 / summary["results"]["atoms"]
    trace(ax, time, scale * (total - total.mean()), "gold", "total")
    trace(ax, time, scale * (potential - potential.mean()), "blue", "potential")
    _labelled(ax, "E − ⟨E⟩\n(meV/atom)", "potential and total energy")
    ax.set_ylim(top=ax.get_ylim()[1] + 0.2 * np.ptp(ax.get_ylim()))
    ax.legend(ncols=2, loc="upper left", borderaxespad=0.1)


def _conserved(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    results = summary["results"]
    energy = 1e3 / results["atoms"] * (series["conserved"] - np.mean(series["conserved"]))
    trace(ax, time, energy, "blue", "conserved quantity")
    text = "conserved quantity H"
    if results["drift"] is not None:
        slope, offset = np.polyfit(time, energy, 1)
        ends = time[[0, -1]]
        ax.plot(ends, slope * ends + offset, color=COLORS["ink"], linestyle=DASHED, linewidth=1.0)
        text += f", slope {number(results['drift']['meV_per_atom_per_ps'], 2, signed=True)} meV/atom/ps (dashed)"
    _labelled(ax, "H − ⟨H⟩\n(meV/atom)", text)


def _pressure(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    trace(ax, time, series["pressure"], "green", "pressure")
    text = f"pressure: {_mean(summary, 'pressure_GPa', 'GPa')}"
    _labelled(ax, "pressure (GPa)", text + _target(ax, time, series, summary, "pressure_GPa", "set to", "GPa"))


def _volume(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    trace(ax, time, series["volume"], "green", "volume")
    _labelled(ax, "volume (Å³)", f"volume: {_mean(summary, 'volume_A3', 'Å³')}")


def _target(
    ax: Any,
    time: np.ndarray,
    series: Mapping[str, np.ndarray],
    summary: Mapping[str, Any],
    name: str,
    verb: str,
    unit: str,
) -> str:
    """Draw what is held constant or ramped, and say so."""
    target = summary["settings"]["ensemble"].get(name)
    if target is None:
        return ""
    if isinstance(target, Mapping):
        corners = np.asarray(target["time_ps"], np.float64)
        picoseconds = np.asarray(series["time_fs"], np.float64) * 1e-3
        inside = (corners > picoseconds[0]) & (corners < picoseconds[-1])
        at = np.sort(np.concatenate([picoseconds[[0, -1]], corners[inside]]))
        # Time may be drawn in another unit, in proportion.
        drawn = np.interp(at, picoseconds[[0, -1]], time[[0, -1]])
        values = np.interp(at, corners, np.asarray(target["value"], np.float64))
        ax.plot(drawn, values, color=COLORS["ink"], linestyle=DASHED, linewidth=1.0)
        return f"; {verb} {number(values[0], 4)} to {number(values[-1], 4)} {unit} (dashed)"
    ax.axhline(target, color=COLORS["ink"], linestyle=DASHED, linewidth=1.0)
    return f"; {verb} {number(target, 4)} {unit} (dashed)"


def _labelled(ax: Any, label: str, text: str) -> None:
    """Axis label, and words above the panel."""
    ax.set_ylabel(label)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.locator_params(axis="y", nbins=5)
    ax.set_title(text, fontsize=8.5, weight="normal")


def _ensemble(settings: Mapping[str, Any]) -> str:
    parts = [settings["kind"]]
    for key, unit in (("temperature_K", "K"), ("pressure_GPa", "GPa")):
        if isinstance(settings.get(key), int | float):
            parts.append(f"{number(settings[key], 4)} {unit}")
        elif settings.get(key) is not None:
            parts.append(f"{key.split('_')[0]} ramp")
    return ", ".join(parts)


def _average(summary: Mapping[str, Any], name: str, unit: str) -> str:
    if follows_ramp(summary["settings"]["ensemble"], name):
        return OF_A_RAMP
    return average_text(Average(**summary["results"][name]), unit).replace("-", "−")


def _mean(summary: Mapping[str, Any], name: str, unit: str) -> str:
    """Above a panel."""
    text = _average(summary, name, unit)
    return text if text == OF_A_RAMP else f"mean {text}{spread_text(Average(**summary['results'][name]), unit)}"
