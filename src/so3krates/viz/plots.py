"""The plots: learning curve, parity, energies of a run, bond lengths, power spectrum."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from so3krates._typing import Float
from so3krates.analysis.spectra import Spectrum
from so3krates.analysis.structure import distribution
from so3krates.viz.style import COLORS, POINTS, Picture, drawing, number

TRACE = 500
"""Points of a drawn trace; longer series are shown as mean and range of blocks."""
STEPS_AXIS = 1000
"""Trainings of fewer optimiser steps have no axis for them: its labels would be fractions of a thousand."""
TICKS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 2.0, 3.0, 5.0), (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0))
"""What a decade of a logarithmic axis may be divided into, from coarse to fine."""


def learning_curve(records: Sequence[Mapping[str, Any]]) -> Picture:
    """Validation errors of forces and energies against minutes, with optimiser steps on the upper axis.

    Args:
        records: the `validation` records of a training log.
    """
    minutes = np.array([record["minutes"] for record in records], np.float64)
    steps = np.array([record["step"] for record in records], np.float64)
    panels = [("forces_mae", "force MAE (meV/Å)", "blue"), ("energy_mae", "energy MAE (meV)", "orange")]
    panels = [panel for panel in panels if any(panel[0] in record for record in records)]
    with drawing():
        figure, axes = _panels(1, len(panels), 3.9 * len(panels), 3.1)
        for ax, (key, label, color) in zip(axes[0], panels, strict=True):
            values = 1e3 * np.array([record.get(key, np.nan) for record in records], np.float64)
            ax.plot(minutes, values, color=COLORS[color], marker="o", markersize=2.5)
            ax.set(xlabel="training time (minutes)", ylabel=label, yscale="log")
            ax.set_xlim(0.0, minutes.max() * 1.03 if minutes.max() > 0 else 1.0)
            _plain_log(ax)
            _last_value(ax, values, color)
            if len(records) > 1 and minutes[-1] > 0 and steps.max() >= STEPS_AXIS:
                _steps_axis(ax, minutes, steps)
    return Picture(figure)


def parity(
    reference: Float[np.ndarray, "..."], predicted: Float[np.ndarray, "..."], *, quantity: str, unit: str, scale: float
) -> Picture:
    """Predicted against reference values, and below their difference.

    Args:
        reference: labels; NaN where missing.
        predicted: of the same shape.
        quantity: its name on the axes.
        unit: of both arrays; empty for bare numbers.
        scale: the differences are multiplied by this; 1000 shows them in the thousandth of the unit.
    """
    reference, predicted = np.asarray(reference).ravel(), np.asarray(predicted).ravel()
    labelled = ~np.isnan(reference)
    reference, predicted = reference[labelled], predicted[labelled]
    error = scale * (predicted - reference)
    shown = f" ({unit})" if unit else ""
    fine = unit if scale != 1000.0 else f"m{unit}" if unit else "10⁻³"
    size = 7.0 if len(reference) < 500 else 3.0
    with drawing():
        figure, axes = _panels(2, 1, 3.9, 4.6, height_ratios=[2.6, 1.0], sharex=True)
        upper, lower = axes[:, 0]
        lowest, highest = _limits(np.concatenate([reference, predicted]))
        upper.plot([lowest, highest], [lowest, highest], color=COLORS["muted"], linewidth=0.8, zorder=1)
        upper.scatter(reference, predicted, s=size, color=POINTS, alpha=0.45, linewidths=0, rasterized=True, zorder=2)
        upper.set(ylabel=f"predicted {quantity}{shown}", xlim=(lowest, highest), ylim=(lowest, highest))
        lower.axhline(0.0, color=COLORS["muted"], linewidth=0.8, zorder=1)
        lower.scatter(reference, error, s=size, color=POINTS, alpha=0.45, linewidths=0, rasterized=True, zorder=2)
        lower.set(xlabel=f"reference {quantity}{shown}", ylabel=f"difference\n({fine})")
        lower.set_ylim(*_limits(np.concatenate([error, -error])))
        _legend_text(
            upper, f"MAE {number(np.abs(error).mean())} {fine}\nRMSE {number(np.sqrt(np.mean(error**2)))} {fine}"
        )
    return Picture(figure)


def energies(
    time_fs: Float[np.ndarray, " frames"],
    conserved: Float[np.ndarray, " frames"],
    kinetic: Float[np.ndarray, " frames"],
    atoms: int,
    *,
    name: str = "total energy",
) -> Picture:
    """The conserved quantity beside the kinetic energy on one scale, and alone on its own.

    Args:
        time_fs: fs.
        conserved: eV.
        kinetic: eV.
        atoms: their number; energies are shown per atom.
        name: of the conserved quantity.
    """
    time = np.asarray(time_fs, np.float64) * 1e-3
    conserved, kinetic = (1e3 / atoms * (np.asarray(e, np.float64) - np.mean(e)) for e in (conserved, kinetic))
    with drawing():
        figure, axes = _panels(1, 2, 7.8, 2.9)
        both, alone = axes[0]
        trace(both, time, kinetic, "orange", "kinetic energy")
        trace(both, time, conserved, "blue", name)
        both.set(xlabel="time (ps)", ylabel="E − ⟨E⟩ (meV/atom)", title="on the scale of the fluctuations")
        both.set_ylim(top=both.get_ylim()[1] * 1.3)
        both.legend(ncols=2, loc="upper left")
        trace(alone, time, conserved, "blue", name)
        if len(time) > 2:
            slope, offset = np.polyfit(time, conserved, 1)
            ends = time[[0, -1]]
            alone.plot(ends, slope * ends + offset, color=COLORS["ink"], linestyle=(0, (4, 2)), linewidth=1.2)
            _legend_text(alone, f"slope {number(slope, 2, signed=True)} meV/atom/ps", above=True)
        alone.set(xlabel="time (ps)", ylabel="E − ⟨E⟩ (meV/atom)", title=f"{name} magnified")
    return Picture(figure)


def bond_lengths(
    run: Mapping[str, Float[np.ndarray, "..."]], reference: Mapping[str, Float[np.ndarray, "..."]] | None
) -> Picture:
    """Distributions of bond lengths, one panel for each kind of bond, over those of reference data if given.

    Args:
        run: kind of bond ("C–H") → its lengths in the run, Å.
        reference: the same of reference data.
    """
    columns = min(len(run), 4)
    rows = -(-len(run) // columns)
    with drawing():
        figure, axes = _panels(rows, columns, max(3.0, 1.95 * columns), 2.3 * rows + 0.2)
        flat = axes.ravel()
        for ax, (kind, lengths) in zip(flat, run.items(), strict=False):
            known = None if reference is None else reference.get(kind)
            edges = _bins([lengths] if known is None else [lengths, known])
            if known is not None:
                shown = distribution(known, edges)
                ax.stairs(shown.density, edges, fill=True, color=COLORS["orange"], alpha=0.35, label="data")
            ax.stairs(distribution(lengths, edges).density, edges, color=COLORS["blue"], linewidth=1.5, label="run")
            ax.set(title=kind, xlabel="length (Å)", yticks=[])
            ax.locator_params(axis="x", nbins=4)
            ax.spines["left"].set_visible(False)
        for ax in flat[len(run) :]:
            ax.set_visible(False)
        flat[0].set_ylabel("density")
        if reference is not None:
            flat[0].legend(loc="upper right", handlelength=1.2)
    return Picture(figure)


def power_spectrum(
    spectrum: Spectrum, *, bands: Mapping[str, tuple[float, float]] | None = None, highest: float = 4000.0
) -> Picture:
    """A vibrational power spectrum.

    Args:
        spectrum: from `so3krates.analysis.spectra.power_spectrum`.
        bands: names and ranges in cm⁻¹ to mark.
        highest: end of the axis, cm⁻¹.
    """
    shown = spectrum.wavenumbers <= highest
    x, y = spectrum.wavenumbers[shown], 1e3 * spectrum.density[shown]
    with drawing():
        figure, axes = _panels(1, 1, 7.8, 3.0)
        ax = axes[0, 0]
        top = 1.22 * float(y.max())
        for name, (low, high) in (bands or {}).items():
            ax.axvspan(low, min(high, x[-1]), color=COLORS["muted"], alpha=0.12, linewidth=0)
            ax.text(0.5 * (low + high), 0.97 * top, name, ha="center", va="top", fontsize=8, color=COLORS["muted"])
        ax.fill_between(x, y, color=COLORS["blue"], alpha=0.18, linewidth=0)
        ax.plot(x, y, color=COLORS["blue"], linewidth=1.2)
        ax.set(xlabel="wavenumber (cm⁻¹)", ylabel="density (10⁻³ cm)", xlim=(0.0, x[-1]), ylim=(0.0, top))
        ax.grid(axis="y", visible=False)
    return Picture(figure)


def _panels(
    rows: int,
    columns: int,
    width: float,
    height: float,
    *,
    height_ratios: Sequence[float] | None = None,
    sharex: bool = False,
) -> tuple[Any, Any]:
    """A figure and its axes as an array, without Matplotlib's global list of figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, height_ratios=height_ratios)
    return figure, axes


def block_size(frames: int) -> int:
    """Frames behind each point of a drawn trace; 1 where every frame is drawn."""
    return max(1, frames // TRACE)


def trace(ax: Any, time: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    """A line; of a long series the mean and the range of each block."""
    size = block_size(len(time))
    count = len(time) // size
    blocks = values[: count * size].reshape(count, size)
    centers = time[: count * size].reshape(count, size).mean(axis=1)
    if size > 1:
        ax.fill_between(centers, blocks.min(axis=1), blocks.max(axis=1), color=COLORS[color], alpha=0.22, linewidth=0)
    ax.plot(centers, blocks.mean(axis=1), color=COLORS[color], linewidth=1.1, label=label)


def _steps_axis(ax: Any, minutes: np.ndarray, steps: np.ndarray) -> None:
    """Optimiser steps above the minutes."""
    x, y = np.concatenate([[0.0], minutes]), np.concatenate([[0.0], steps * 1e-3])
    keep = np.concatenate([[True], (np.diff(x) > 0) & (np.diff(y) > 0)])
    x, y = x[keep], y[keep]
    if len(x) < 2:
        return
    slope = y[-1] / x[-1]

    def to_steps(value: np.ndarray) -> np.ndarray:
        return np.where(value > x[-1], y[-1] + (value - x[-1]) * slope, np.interp(value, x, y))

    def to_minutes(value: np.ndarray) -> np.ndarray:
        return np.where(value > y[-1], x[-1] + (value - y[-1]) / slope, np.interp(value, y, x))

    upper = ax.secondary_xaxis("top", functions=(to_steps, to_minutes))
    upper.set_xlabel("optimiser steps (thousands)")


def _last_value(ax: Any, values: np.ndarray, color: str) -> None:
    """The last validation error, in the corner away from the end of the curve."""
    known = values[np.isfinite(values) & (values > 0)]
    if len(known):
        high = known[-1] > np.sqrt(np.prod(ax.get_ylim()))
        place = {"y": 0.03, "va": "bottom"} if high else {"y": 0.97, "va": "top"}
        text = f"last validation {number(known[-1])}"
        ax.text(0.97, s=text, ha="right", fontsize=8.5, color=COLORS[color], transform=ax.transAxes, **place)


def _plain_log(ax: Any) -> None:
    """Labels such as 1, 2, 5, 10 up the axis instead of powers, at least three of them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    ax.set_ylim(*ax.get_ylim())
    axis = ax.yaxis
    axis.set_major_locator(FixedLocator(_log_ticks(*ax.get_ylim()).tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 4)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _log_ticks(low: float, high: float) -> np.ndarray:
    """The coarsest choice with three ticks from low to high; evenly spaced ones for less than those give."""
    from matplotlib.ticker import MaxNLocator

    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for parts in TICKS:
        ticks = np.outer(decades, parts).ravel()
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= 3:
            return ticks
    even = np.asarray(MaxNLocator(5, min_n_ticks=4).tick_values(low, high))
    return even[(even >= low) & (even <= high)]


def _legend_text(ax: Any, text: str, *, above: bool = False) -> None:
    """A few words in the upper left corner, clear of the grid."""
    ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", ha="left", fontsize=8.5, color=COLORS["ink"])
    if above:
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.18 * (high - low))


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 1e-3
    return low - margin, high + margin


def _bins(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Bins over all but the last thousandth at each end, with some room: √n for the smallest sample, 8 to 60."""
    low, high = np.quantile(np.concatenate([np.ravel(sample) for sample in samples]), [0.0005, 0.9995])
    margin = max(0.08 * (high - low), 0.01)
    count = int(np.clip(np.sqrt(min(np.size(sample) for sample in samples)), 8, 60))
    return np.linspace(low - margin, high + margin, count + 1)
