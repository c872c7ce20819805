"""Numbers in the documentation are those of the committed results."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")


def result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "examples" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def row(first: str) -> str:
    found = [line for line in PAGE.splitlines() if line.startswith(f"| {first}")]
    assert len(found) == 1, f"{len(found)} rows begin with {first!r}"
    return found[0]


@pytest.mark.parametrize("molecule", ["ethanol", "aspirin"])
def test_errors_are_those_measured(molecule: str) -> None:
    report = result(molecule)
    errors = report["test"]["errors"]
    assert report["test"]["frames"] == 1000
    shown = row(molecule)
    for quantity in ("forces", "energy"):
        for kind in ("mae", "rmse"):
            assert f"{1000 * errors[quantity][kind]:.2f}" in shown
    assert f"| {report['learning_curve'][-1]['step']:,} |" in shown


@pytest.mark.parametrize("minutes", [3, 10, 20, 30])
def test_learning_curves_are_those_measured(minutes: int) -> None:
    shown = row(f"{minutes} |")
    for molecule in ("ethanol", "aspirin"):
        point = min(result(molecule)["learning_curve"], key=lambda point: abs(point["minutes"] - minutes))
        assert f"{1000 * point['forces_mae']:.1f} | {1000 * point['energy_mae']:.2f}" in shown


def test_stability_and_drift_are_those_measured() -> None:
    report = result("ethanol.dynamics")
    canonical = [part for name, part in report.items() if name.startswith("canonical")]
    assert f"{len(canonical)} run" in PAGE
    for part in canonical:
        assert part["stopped"] is None and part["stable_ps"] == 300.0
    for precision in ("float32", "float64"):
        drift = report[f"constant energy, {precision}"]["summary"]["drift"]
        shown = row(precision)
        for name in ("meV_per_atom_per_ps", "kT_per_ns_per_dof", "over_kinetic_spread"):
            assert f"{drift[name]:.1e}" in shown


def test_factors_of_the_benchmarks_are_those_measured() -> None:
    """The sentence in benchmarks/README.md, rounded as it is there."""
    page = " ".join((ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").split())

    def factor(benchmark: str, row: str, engine: str) -> float:
        stored = json.loads((ROOT / "benchmarks" / "results" / f"{benchmark}.json").read_text(encoding="utf-8"))
        return stored["rows"][row]["so3krates_is_faster_by"][engine]["median"]

    torch = "so3krates-torch, ASE"
    assert f"by {factor('step_time', 'ethanol', torch):.0f}× on ethanol" in page
    for row in ("DHA", "AT-AT", "512 waters"):
        assert f"{factor('step_time', row, torch):.1f}× on {row}" in page
    assert f"{factor('step_time', 'buckyball catcher', torch):.1f}× on the buckyball catcher" in page
    training = {row: factor("train_throughput", row, "so3krates-torch") for row in ("ethanol", "aspirin")}
    assert f"Training takes {training['ethanol']:.1f} times as many" in page
    assert f"ethanol and {training['aspirin']:.1f} times as many on aspirin" in page
