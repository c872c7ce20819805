"""What the plots show, read back from their axes."""

import numpy as np
import pytest

from so3krates.analysis.spectra import Spectrum
from so3krates.viz import plots


def test_learning_curve_in_milli_units_over_minutes() -> None:
    records = [{"minutes": 0.5 * n, "step": 100 * n, "forces_mae": 0.1 / n, "energy_mae": 0.01} for n in (1, 2, 4)]
    forces, energy = plots.learning_curve(records).figure.axes
    np.testing.assert_allclose(forces.lines[0].get_xydata(), [[0.5, 100.0], [1.0, 50.0], [2.0, 25.0]])
    assert energy.lines[0].get_ydata() == pytest.approx([10.0] * 3)
    assert "meV/Å" in forces.get_ylabel()


def test_learning_curve_steps_stand_above_their_minutes() -> None:
    """A run that became twice as fast half way."""
    records = [{"minutes": m, "step": s, "forces_mae": 0.1} for m, s in ((1.0, 1000), (2.0, 3000))]
    picture = plots.learning_curve(records)
    (axes,) = picture.figure.axes
    (upper,) = axes.child_axes
    to_steps, to_minutes = upper._functions
    assert to_steps(np.array([0.5, 1.0, 1.5, 2.0])) == pytest.approx([0.5, 1.0, 2.0, 3.0])
    assert to_minutes(to_steps(np.array([0.3, 1.7, 2.5]))) == pytest.approx([0.3, 1.7, 2.5])


def test_short_trainings_have_no_axis_of_steps() -> None:
    records = [{"minutes": m, "step": s, "forces_mae": 0.1} for m, s in ((0.03, 500), (0.06, 999))]
    (axes,) = plots.learning_curve(records).figure.axes
    assert axes.child_axes == []


@pytest.mark.parametrize("ends", [(104.0, 24.7), (9.4, 8.9), (30_000.0, 0.4)], ids=["demo", "narrow", "wide"])
def test_learning_curve_has_three_labels_in_sight(ends: tuple[float, float]) -> None:
    records = [{"minutes": 1.0 + n, "step": n, "forces_mae": 1e-3 * value} for n, value in enumerate(ends)]
    (axes,) = plots.learning_curve(records).figure.axes
    low, high = axes.get_ylim()
    seen = [tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    assert 3 <= len(seen) <= 12
    labels = [label.get_text() for label in axes.yaxis.get_ticklabels()]
    assert len(set(labels)) == len(seen)


def test_last_validation_is_the_last_that_has_the_quantity() -> None:
    records = [{"minutes": 1.0, "step": 1, "forces_mae": 0.1}, {"minutes": 2.0, "step": 2, "energy_mae": 0.02}]
    forces, energy = plots.learning_curve(records).figure.axes
    assert [text.get_text() for text in (*forces.texts, *energy.texts)] == ["last validation 100", "last validation 20"]


def test_learning_curve_of_one_validation() -> None:
    plots.learning_curve([{"minutes": 0.0, "step": 1, "energy_mae": 0.1}]).inline("one")


def test_parity_leaves_missing_labels_out() -> None:
    reference, predicted = np.array([[1.0, np.nan, -1.0]]), np.array([[1.1, 5.0, -1.1]])
    upper, lower = plots.parity(reference, predicted, quantity="force", unit="eV/Å", scale=1e3).figure.axes
    np.testing.assert_allclose(upper.collections[0].get_offsets(), [[1.0, 1.1], [-1.0, -1.1]])
    np.testing.assert_allclose(lower.collections[0].get_offsets(), [[1.0, 100.0], [-1.0, -100.0]])
    assert upper.texts[0].get_text() == "MAE 100 meV/Å\nRMSE 100 meV/Å"


def test_long_traces_keep_their_range() -> None:
    time = np.arange(100_000) * 1.0
    energy = np.where(np.arange(100_000) == 54_321, 9.0, 0.0)
    _, alone = plots.energies(time, energy, energy, 1).figure.axes
    assert len(alone.lines[0].get_xdata()) <= 600
    highest = alone.collections[0].get_paths()[0].vertices[:, 1].max()
    assert highest == pytest.approx(9000.0, rel=1e-3)


def test_slope_is_per_atom() -> None:
    time = np.linspace(0.0, 10_000.0, 101)
    _, alone = plots.energies(time, 4e-6 * time, np.sin(time), 2).figure.axes
    assert alone.texts[0].get_text() == "slope +2 meV/atom/ps"


def test_bonds_of_run_and_data_have_one_scale(rng: np.random.Generator) -> None:
    run = {"C–H": rng.normal(1.1, 0.03, (500, 5)), "O–H": rng.normal(0.97, 0.02, (500, 1))}
    figure = plots.bond_lengths(
        run, {"C–H": rng.normal(1.1, 0.05, (300, 5)), "O–H": rng.normal(0.97, 0.02, (9, 1))}
    ).figure
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["C–H", "O–H"]
    data, shown = figure.axes[0].patches
    np.testing.assert_array_equal(data.get_data().edges, shown.get_data().edges)
    for patch in (data, shown):
        assert np.sum(patch.get_data().values * np.diff(patch.get_data().edges)) == pytest.approx(1.0)


@pytest.mark.parametrize(("frames", "bins"), [(10, 8), (51 * 5, 15), (100_000, 60)])
def test_few_frames_have_few_bins(frames: int, bins: int, rng: np.random.Generator) -> None:
    (ax,) = plots.bond_lengths({"C–H": rng.normal(1.1, 0.03, (frames, 1))}, None).figure.axes
    assert len(ax.patches[0].get_data().values) == bins


def test_many_kinds_of_bonds_go_to_rows(rng: np.random.Generator) -> None:
    run = {f"kind {n}": rng.normal(1.0, 0.1, (50, 2)) for n in range(6)}
    axes = plots.bond_lengths(run, None).figure.axes
    assert sum(ax.get_visible() for ax in axes) == 6


def test_spectrum_is_cut_at_the_end_of_the_axis() -> None:
    spectrum = Spectrum(np.linspace(0.0, 8000.0, 801), np.full(801, 1e-4))
    (ax,) = plots.power_spectrum(spectrum, bands={"bends": (1200.0, 1500.0)}).figure.axes
    assert ax.lines[0].get_xdata()[-1] == 4000.0
    assert [text.get_text() for text in ax.texts] == ["bends"]
