"""One page about a dynamics run: what it was, how it ended, and its temperature, energies, pressure and volume."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from so3krates.io.trajectory import Trajectory
from so3krates.md.records.run_file import picture_path, read_summary
from so3krates.viz.plots import trace
from so3krates.viz.style import COLORS, Picture, drawing, number

WIDTH, HEADER, PANEL = 8.3, 2.0, 2.0
"""Inches: of the page, of the words above, of each panel."""
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
        figure = Figure(figsize=(WIDTH, HEADER + PANEL * len(panels)))
        parts = figure.subplots(len(panels) + 1, 1, height_ratios=[HEADER] + [PANEL] * len(panels))
        _header(parts[0], summary)
        for ax, panel in zip(parts[1:], panels, strict=True):
            panel(ax, time, series, summary)
            ax.set_xlim(time[0], time[-1] if time[-1] > time[0] else time[0] + 1.0)
            ax.tick_params(labelbottom=ax is parts[-1])
        parts[-1].set_xlabel(f"time ({unit})")
        figure.align_ylabels(list(parts[1:]))
    return Picture(figure)


def _header(ax: Any, summary: Mapping[str, Any]) -> None:
    system, settings, results = (summary[name] for name in ("system", "settings", "results"))
    ax.set_axis_off()
    words = {"transform": ax.transAxes, "va": "top", "ha": "left", "color": COLORS["ink"]}
    ax.text(0.0, 1.0, f"{system['formula']}: {_ensemble(settings['ensemble'])}", **words, fontsize=13, weight="bold")
    state, sentence = summary["ended"]["state"], summary["ended"]["sentence"]
    color = COLORS[{"complete": "muted", "unfinished": "gold"}.get(state, "orange")]
    said = f"{summary['trajectory']}, {state}" + ("" if sentence is None else f": {sentence}")
    ax.text(0.0, 0.85, _shortened(said), **words | {"color": color}, fontsize=8.5, wrap=True)
    for column, rows in enumerate((_asked(system, settings, summary), _found(results))):
        for line, (name, value) in enumerate(rows):
            y = 0.64 - 0.115 * line
            ax.text(0.49 * column, y, name, **words | {"color": COLORS["muted"]}, fontsize=8.5)
            ax.text(0.49 * column + 0.13, y, value, **words, fontsize=8.5)


def _asked(system: Mapping[str, Any], settings: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    step, versions = settings["timestep_fs"], summary["versions"]
    rows = [("system", f"{system['atoms']:,} atoms, {'periodic' if any(system['pbc']) else 'isolated'}")]
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


def _found(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    freedom = f"{results['degrees_of_freedom']} degrees of freedom"
    rows = [
        ("simulated", f"{number(results['time_ps'], 4)} ps, {results['steps']:,} steps, {results['frames']:,} frames"),
        ("temperature", f"{_average(results['temperature_K'])} K, {freedom}"),
    ]
    for name, key, unit in (
        ("pressure", "pressure_GPa", "GPa"),
        ("density", "density_g_cm3", "g/cm³"),
    ):
        if results[key] is not None:
            rows.append((name, f"{_average(results[key])} {unit}"))
    if results["drift"] is not None:
        rows.append(("drift", f"{number(results['drift']['kT_per_ns_per_dof'], 2, signed=True)} kT/ns/dof"))
    retries = results["neighbor_retries"]
    rerun = f", {retries} chunks run again" if retries else ""
    speed, steps = number(results["ns_per_day"]), number(results["steps_per_second"])
    # A run that was killed before it could say how fast it was has its summary from a call without any step.
    rows.append(("speed", (f"{speed} ns/day, {steps} steps/s" if results["steps_per_second"] else "not known") + rerun))
    return rows


def _temperature(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    trace(ax, time, series["temperature"], "orange", "temperature")
    results = summary["results"]
    target = summary["settings"]["ensemble"].get("temperature_K")
    text = f"temperature: mean {_average(results['temperature_K'])} K"
    if isinstance(target, int | float):
        ax.axhline(target, color=COLORS["ink"], linestyle=(0, (4, 2)), linewidth=1.0)
        text += f", bath {number(target, 4)} K (dashed)"
    _labelled(ax, "temperature (K)", text)


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
        ax.plot(ends, slope * ends + offset, color=COLORS["ink"], linestyle=(0, (4, 2)), linewidth=1.0)
        text += f", slope {number(results['drift']['meV_per_atom_per_ps'], 2, signed=True)} meV/atom/ps (dashed)"
    _labelled(ax, "H − ⟨H⟩\n(meV/atom)", text)


def _pressure(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    trace(ax, time, series["pressure"], "green", "pressure")
    text = f"pressure: mean {_average(summary['results']['pressure_GPa'])} GPa"
    target = summary["settings"]["ensemble"].get("pressure_GPa")
    if isinstance(target, int | float):
        ax.axhline(target, color=COLORS["ink"], linestyle=(0, (4, 2)), linewidth=1.0)
        text += f", set to {number(target, 4)} GPa (dashed)"
    _labelled(ax, "pressure (GPa)", text)


def _volume(ax: Any, time: np.ndarray, series: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> None:
    trace(ax, time, series["volume"], "green", "volume")
    _labelled(ax, "volume (Å³)", f"volume: mean {_average(summary['results']['volume_A3'])} Å³")


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


def _average(average: Mapping[str, Any]) -> str:
    """Value ± standard error, both to the second digit of the error; ≥ where that is the least it can be."""
    mean, error = average["mean"], average["standard_error"]
    if not error:
        return number(mean, 4)
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    least = "" if average["converged"] else "≥ "
    return f"{mean:.{digits}f} ± {least}{error:.{digits}f}".replace("-", "−")


def _shortened(text: str, most: int = 150) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
