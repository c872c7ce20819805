"""Numbers in the documentation are those of the committed results."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
SO3LR = (ROOT / "docs" / "so3lr.md").read_text(encoding="utf-8")
TORCH = "so3krates-torch, ASE"


def result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "examples" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def row(first: str, page: str = PAGE) -> str:
    found = [line for line in page.splitlines() if line.startswith(f"| {first}")]
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


@pytest.mark.parametrize("name", ["ala15", "buckyball_catcher"])
def test_long_runs_with_so3lr_are_those_measured(name: str) -> None:
    run = result(f"so3lr_{name}")
    shown = row({"ala15": "Ala15"}.get(name, name.replace("_", " ")), SO3LR)
    drift = run["drift"]
    assert run["time_ps"] == 20.0 and abs(drift["over_kinetic_spread"]) < 1.0
    assert f"| {run['atoms']} | {run['temperature_K']['mean']:.0f} |" in shown
    for quantity in ("meV_per_atom_per_ps", "kT_per_ns_per_dof", "over_kinetic_spread"):
        assert f"{drift[quantity]:.1e}" in shown
    assert run["bonds"]["intact"]
    assert f"{drift['fluctuation_meV_per_atom']:.3f} | {run['bonds']['largest_deviation_A']:.2f} |" in shown


def test_the_run_of_water_is_the_one_measured() -> None:
    run = result("so3lr_water_512")
    shown, drift = row("512 waters", SO3LR), run["drift"]
    assert run["time_ps"] == 5.0 and run["bonds"]["intact"]
    temperatures = f"| {run['temperature_K']['mean']:.1f} | {run['temperature_K']['spread']:.1f} |"
    assert f"| {run['atoms']} {temperatures} {drift['meV_per_atom_per_ps']:.1e} |" in shown
    assert f"| {drift['over_kinetic_spread']:.1e} | {drift['fluctuation_meV_per_atom']:.3f} |" in shown
    assert shown.endswith(f"| {run['bonds']['largest_deviation_A']:.2f} |")
    spread = 300.0 * (2.0 / run["degrees_of_freedom"]) ** 0.5
    assert f"T√(2/{run['degrees_of_freedom']}) = {spread:.1f} K" in SO3LR


@pytest.mark.parametrize(("data", "name", "digits"), [("ethanol", "ethanol", 1), ("qm7x", "QM7-X", 2)])
def test_what_fine_tuning_gives_is_what_was_measured(data: str, name: str, digits: int) -> None:
    report = result(f"so3lr_finetune_{data}")
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for tuned in report["tuned"]:
        shown = row(f"{name}, {tuned['way']} |", page)
        for error in (report["untuned_forces_mae_eV_per_A"], tuned["forces_mae_eV_per_A"]):
            assert f"| {1e3 * error:.{digits}f} |" in shown
        if data == "qm7x":
            change, spread = 1e3 * tuned["change_eV_per_A"], 1e3 * tuned["standard_error_eV_per_A"]
            assert f"| {change:+.2f} ± {spread:.2f} |" in shown


def stored(benchmark: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / f"{benchmark}.json").read_text(encoding="utf-8"))


def factor(benchmark: str, row: str, engine: str) -> float:
    return stored(benchmark)["rows"][row]["so3krates_is_faster_by"][engine]["median"]


def test_factors_with_so3lr_are_those_measured() -> None:
    rows = stored("so3lr_step_time")["rows"]
    names, factors = list(rows), [factor("so3lr_step_time", name, TORCH) for name in rows]
    assert f"| {' | '.join(names)} |" in SO3LR
    assert f"| {' | '.join(f'{value:.1f}×' for value in factors)} |" in SO3LR
    page = " ".join((ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").split())
    for name, value in zip(names[1:], factors[1:], strict=True):
        assert f"{value:.1f}× on {'the ' * (name == 'buckyball catcher')}{name}" in page
    scaling = stored("so3lr_scaling")
    per_atom = {atoms: f"{row['bytes_per_atom'] / 1e3:.0f}" for atoms, row in scaling["rows"].items()}
    assert f"falls from {per_atom['1536']} to {per_atom['12288']} kB per atom" in page
    assert f"at {per_atom['12288']} kB per atom" in SO3LR
    power = f"to the power of {scaling['fit']['time_grows_like_atoms_to_the']:.2f}"
    assert power in page and power in " ".join(SO3LR.split())


def test_factors_of_the_page_on_performance_are_those_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    names = list(stored("step_time")["rows"])
    assert f"| {' | '.join(names)} |" in page
    factors = " | ".join(f"{factor('step_time', name, TORCH):.1f}×" for name in names)
    assert f"| {factors} |" in page
    roofline = json.loads((ROOT / "benchmarks" / "results" / "roofline.json").read_text(encoding="utf-8"))
    step = roofline["stages"]["search, energy and forces"]
    assert roofline["structure"] == "buckyball catcher"
    expected = f"takes {step['over_floor']:.1f} times as long as its {step['operations'] / 1e6:.0f} million operations"
    assert expected in " ".join(page.split())


def test_structures_per_second_in_training_are_those_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, measured in stored("train_throughput")["rows"].items():
        mine, theirs = (measured["engines"][engine]["median"] for engine in ("so3krates", "so3krates-torch"))
        ratio = factor("train_throughput", name, "so3krates-torch")
        assert f"| {name} | {mine:.0f} | {theirs:.0f} | {ratio:.1f}× |" in page


def test_times_to_the_first_step_are_those_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, measured in stored("start_time")["rows"].items():
        command, structure = name.split()
        assert f"| `so3krates {command}`, {structure} | {measured['cold']:.1f} | {measured['warm']:.1f} |" in page


def test_growth_with_the_number_of_atoms_is_that_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    scaling = stored("scaling")
    for atoms, measured in scaling["rows"].items():
        shown = row(f"{int(atoms):,} |", page)
        assert f"| {measured['microseconds_per_atom_and_step']:.1f} |" in shown
        assert f"| {100 * measured['share_of_the_search']:.1f} % | {measured['bytes_per_atom'] / 1e3:.0f} |" in shown
    assert f"power of {scaling['fit']['time_grows_like_atoms_to_the']:.2f}" in page


def test_factors_of_the_benchmarks_are_those_measured() -> None:
    """The sentence in benchmarks/README.md, rounded as it is there."""
    page = " ".join((ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").split())
    assert f"by {factor('step_time', 'ethanol', TORCH):.0f}× on ethanol" in page
    for row in ("DHA", "AT-AT", "512 waters"):
        assert f"{factor('step_time', row, TORCH):.1f}× on {row}" in page
    assert f"{factor('step_time', 'buckyball catcher', TORCH):.1f}× on the buckyball catcher" in page
    training = {row: factor("train_throughput", row, "so3krates-torch") for row in ("ethanol", "aspirin")}
    assert f"Training takes {training['ethanol']:.1f} times as many" in page
    assert f"ethanol and {training['aspirin']:.1f} times as many on aspirin" in page
    for molecule, where in (("ethanol", "in training on ethanol"), ("aspirin", "on aspirin")):
        rounds = stored("train_throughput")["rows"][molecule]["so3krates_is_faster_by"]["so3krates-torch"]
        assert f"from {rounds['smallest_round']:.1f} to {rounds['largest_round']:.1f} {where}" in page
