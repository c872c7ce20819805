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
    assert alone.texts[0].get_text() == "slope 2e+03 µeV/atom/ps"


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


def test_many_kinds_of_bonds_go_to_rows(rng: np.random.Generator) -> None:
    run = {f"kind {n}": rng.normal(1.0, 0.1, (50, 2)) for n in range(6)}
    axes = plots.bond_lengths(run, None).figure.axes
    assert sum(ax.get_visible() for ax in axes) == 6


def test_spectrum_is_cut_at_the_end_of_the_axis() -> None:
    spectrum = Spectrum(np.linspace(0.0, 8000.0, 801), np.full(801, 1e-4))
    (ax,) = plots.power_spectrum(spectrum, bands={"bends": (1200.0, 1500.0)}).figure.axes
    assert ax.lines[0].get_xdata()[-1] == 4000.0
    assert [text.get_text() for text in ax.texts] == ["bends"]
