"""Whether ensembles are what they are called: distributions, equipartition, ratios at two state points, convergence.

    python benchmarks/validate.py argon                       # every ensemble; --ensemble NAME for one
    python benchmarks/validate.py solid-argon                 # cells that change their shape
    python benchmarks/validate.py crystal
    python benchmarks/validate.py trained --model ethanol.safetensors
    python benchmarks/validate.py trained-crystal --model silicon.safetensors
    python benchmarks/validate.py ideal-gas                   # and --atoms 8
    python benchmarks/validate.py controls                    # and barostat-controls

Needs `pip install physical_validation`. Each result is a file in benchmarks/results/validation;
`python benchmarks/validation/tables.py` puts them into docs/validation.md.
"""

import os
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import numpy as np
from results import machine, write
from rich.console import Console
from validation import cases, checks, controls
from validation.cases import Case
from validation.convergence import measured_convergence
from validation.ensembles import ENSEMBLES, Ensemble, Maker, StatePoint
from validation.sampling import Samples, independent, inefficiency, sample

from so3krates.units import BOLTZMANN, GPA

FOLDER = Path(__file__).parent / "results" / "validation"
WITHIN = 3.0
"""Standard errors a check may be off."""
LOAD_BEFORE = os.getloadavg()[0]
console = Console()


def main(
    what: Literal[
        "argon", "solid-argon", "crystal", "ideal-gas", "trained", "trained-crystal", "controls", "barostat-controls"
    ],
    *,
    ensemble: Annotated[list[str] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    model: Path | None = None,
    atoms: int = 216,
    trajectories: int | None = None,
    sample_ps: float | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    seed: int = 1,
    quick: bool = False,
    output: Path | None = None,
) -> None:
    """Simulate and check.

    Args:
        what: the system; `controls` are wrong thermostats on argon, `barostat-controls` wrong barostats on eight
            atoms of ideal gas.
        ensemble: only these.
        model: model file, of ethanol for `trained`, of silicon for `trained-crystal`.
        atoms: of the ideal gas.
        trajectories: how many at each state point; the plan of the system if not given.
        sample_ps: length of each, equilibration not included; the plan of the system if not given.
        dtype: of dynamics; convergence is always looked at in float64.
        seed: of everything.
        quick: hardly any sampling, only to see that everything works; nothing is stored unless `output` says so.
        output: folder of the JSON files; the committed results if not given.
    """
    if what.startswith("trained") and model is None:
        raise SystemExit("give the file of a trained model with --model.")
    case = {
        "argon": cases.argon,
        "solid-argon": cases.solid_argon,
        "controls": cases.argon,
        "barostat-controls": lambda: cases.ideal_gas(cases.FEWEST),
        "crystal": cases.crystal,
        "ideal-gas": lambda: cases.ideal_gas(atoms),
        "trained": lambda: cases.trained(model),  # type: ignore[arg-type]
        "trained-crystal": lambda: cases.trained_crystal(model),  # type: ignore[arg-type]
    }[what]()
    folder = output or (None if quick else FOLDER)

    def planned(entry: Ensemble) -> Case:
        chosen = case.sampling(entry).planned(trajectories, sample_ps)
        return chosen.quick() if quick else chosen

    if what == "controls":
        case = planned(ENSEMBLES["CSVR"])
        _store(folder, "controls", _controls(case, dtype, seed), case, dtype, seed)
        return
    if what == "barostat-controls":
        made = {}
        for name, entry in controls.BAROSTATS.items():
            console.print(f"control: {name}", style="bold")
            made[name] = _ideal_gas(planned(entry), entry, dtype, seed)
        _store(folder, "barostat_controls", {"controls": made}, case, dtype, seed)
        return
    for name, entry in _chosen(case, ensemble).items():
        console.print(f"{case.name}, {name}", style="bold")
        run = planned(entry)
        if what == "ideal-gas":
            found: dict[str, Any] = _ideal_gas(run, entry, dtype, seed)
        else:
            found = {
                "state_points": _at_state_points(run, entry.make, entry, dtype, seed),
                "convergence": measured_convergence(run, entry, seed, quick=quick),
            }
        _store(folder, f"{case.name}_{name}", {"ensemble": name, **found}, run, dtype, seed)


def _chosen(case: Case, asked: list[str] | None) -> dict[str, Ensemble]:
    unknown = sorted(set(asked or ()) - set(ENSEMBLES))
    if unknown:
        raise SystemExit(f"no ensemble {unknown[0]!r}; choose from {', '.join(ENSEMBLES)}.")
    possible = {name: entry for name, entry in ENSEMBLES.items() if _suits(case, entry)}
    if useless := sorted(set(asked or ()) - set(possible)):
        raise SystemExit(f"{useless[0]} says nothing about {case.name}; choose from {', '.join(possible)}.")
    if asked is None:
        return {name: entry for name, entry in possible.items() if not (case.fluid and entry.reshapes)}
    return {name: possible[name] for name in asked}


def _suits(case: Case, entry: Ensemble) -> bool:
    """Whether there are state points for it. At constant energy there are none, but the energy must converge."""
    if set(case.points) == {"NPT"}:
        return entry.kind == "NPT"
    return entry.kind != "NPT" or case.system.periodic


def _at_state_points(case: Case, make: Maker, entry: Ensemble, dtype: str, seed: int) -> dict[str, Any] | None:
    """Deviations at each state point and between them; None where this kind of ensemble has none."""
    points = case.points.get(entry.kind)
    if points is None:
        return None
    freedom = checks.Freedom(3, 3 if case.around.isolated and not entry.rotates else 0)
    rows, kept = [], []
    for number, point in enumerate(points):
        all_samples = sample(case, make(point, case.around), point, dtype, 10 * seed + number)
        samples, memory = independent(all_samples, case.system.masses)
        kept.append(samples)
        off = checks.deviations_of_one(samples, case.system, case.molecules, entry.kind, point, freedom)
        means = _means(samples, freedom.count(case.system))
        if case.modes and entry.kind != "NPT":
            means["potential_over_harmonic"] = _over_harmonic(case, means, point, freedom)
        rows.append({**asdict(point), **means, "memory_frames": memory, "sigma": off})
        console.print(f"  {_label(point)}: {samples.count} samples, {_worst(off)}")
    pairs = []
    total = entry.kind != "NVE"
    for first, second in _pairs(len(points)):
        off_two = checks.deviations_of_two(
            kept[first], kept[second], case.system, entry.kind, (points[first], points[second]), total
        )
        pairs.append({"points": [first, second], "sigma": off_two})
        said = ", ".join(f"{value:.2f} σ" for value in off_two) or "too little overlap"
        console.print(f"  {_label(points[first])} and {_label(points[second])}: {said}")
    suggested = checks.suggested_interval(kept[0], case.system, entry.kind, points[0], total)
    everything = [value for row in rows for value in row["sigma"].values()] + [v for p in pairs for v in p["sigma"]]
    return {
        "points": rows,
        "pairs": pairs,
        "suggested_intervals_K_GPa": suggested,
        "degrees_of_freedom": freedom.count(case.system),
        "checks": len(everything),
        "above_2_sigma": int(np.sum(np.array(everything) > 2.0)),
        "largest_sigma": max(everything),
        "within_3_sigma": max(everything) <= WITHIN and all(pair["sigma"] for pair in pairs),
    }


def _pairs(count: int) -> list[tuple[int, int]]:
    """Every state point with the base; with three of them the other two, which differ in both variables."""
    return [(0, other) for other in range(1, count)] + ([(1, 2)] if count == 3 else [])


def _means(samples: Samples, freedom: int) -> dict[str, Any]:
    """Averages with standard errors."""
    count = samples.count

    def averaged(values: np.ndarray) -> dict[str, float]:
        return {"mean": float(values.mean()), "error": float(values.std(ddof=1) / np.sqrt(count))}

    return {
        "samples": count,
        "kinetic_temperature_K": averaged(2.0 * samples.kinetic / (freedom * BOLTZMANN)),
        "potential_energy_eV": averaged(samples.potential),
        "volume_A3": averaged(samples.volume) if np.isfinite(samples.volume).all() else None,
    }


def _over_harmonic(case: Case, means: dict[str, Any], point: StatePoint, freedom: checks.Freedom) -> dict[str, float]:
    """⟨U − U₀⟩ over N_f k_BT/2, which is 1 but for what is not harmonic. Frames are without the elements' energies."""
    potential = case.make("float64")
    least = potential.energy(case.system) - potential.reference_energy(case.system.numbers)
    expected = 0.5 * freedom.count(case.system) * BOLTZMANN * point.temperature_K
    found = means["potential_energy_eV"]
    return {"mean": (found["mean"] - least) / expected, "error": found["error"] / expected}


def _ideal_gas(case: Case, entry: Ensemble, dtype: str, seed: int) -> dict[str, Any]:
    """⟨V⟩ over NkT/p; exactly (N + 1)/N, since p(V) ∝ V^N e^(−pV/k_BT), whose relative width is 1/√(N + 1).

    Atoms that never meet keep their shares of the kinetic energy for ever, but the volume follows their sum: the memory
    that counts is its own.
    """
    (point,) = case.points["NPT"]
    assert point.pressure_GPa is not None
    samples = sample(case, entry.make(point, case.around), point, dtype, seed)
    atoms, frames = len(case.system), samples.volume.size
    expected = atoms * BOLTZMANN * point.temperature_K / (point.pressure_GPa * GPA)
    memory = inefficiency(samples.volume)
    ratio = float(samples.volume.mean()) / expected
    error = float(samples.volume.std(ddof=1) * np.sqrt(memory / frames)) / expected
    width, width_error = _relative_width(samples.volume[:, :: int(np.ceil(memory))].ravel())
    exact_width = float((atoms + 1) ** -0.5)
    console.print(f"  V p/NkT = {ratio:.4f} ± {error:.4f}, width {width:.4f} ± {width_error:.4f}")
    return {
        **asdict(point),
        "samples": int(frames / memory),
        "memory_frames": {"volume": round(memory, 2)},
        "volume_over_NkT_p": {"mean": ratio, "error": error},
        "exact_volume_over_NkT_p": 1.0 + 1.0 / atoms,
        "volume_sigma": abs(ratio - 1.0 - 1.0 / atoms) / error,
        "relative_width": {"mean": width, "error": width_error},
        "exact_relative_width": exact_width,
        "width_sigma": abs(width - exact_width) / width_error,
        "within_2_percent": abs(ratio - 1.0) <= 0.02,
    }


def _relative_width(volumes: np.ndarray) -> tuple[float, float]:
    """Of independent volumes, over their mean, and its standard error by resampling them."""
    generator = np.random.default_rng(1)
    drawn = [generator.choice(volumes, len(volumes)) for _ in range(400)]
    return float(volumes.std() / volumes.mean()), float(np.std([each.std() / each.mean() for each in drawn]))


def _controls(case: Case, dtype: str, seed: int) -> dict[str, Any]:
    rows = {}
    for name, entry in controls.CONTROLS.items():
        console.print(f"control: {name}", style="bold")
        found = _at_state_points(case, entry.make, entry, dtype, seed)
        assert found is not None
        rows[name] = {**found, "found_beyond_3_sigma": not found["within_3_sigma"]}
    return {"controls": rows}


def _store(folder: Path | None, name: str, content: dict[str, Any], case: Case, dtype: str, seed: int) -> None:
    if folder is None:
        return
    around = {key: value for key, value in asdict(case.around).items() if key != "isolated"}
    document = {
        "benchmark": "validation",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(LOAD_BEFORE),
        "versions": {name: version(name) for name in ("so3krates", "jax", "numpy")} | checks.versions(),
        "system": {"name": case.name, "formula": case.system.formula, "atoms": len(case.system), **around},
        "protocol": {"dtype": dtype, "seed": seed, "timestep_fs": case.timestep_fs, **asdict(case.plan)},
        **content,
    }
    write(document, folder / f"{re.sub('[^A-Za-z]+', '_', name)}.json")


def _label(point: StatePoint) -> str:
    pressure = "" if point.pressure_GPa is None else f", {point.pressure_GPa:g} GPa"
    return f"{point.temperature_K:g} K{pressure}"


def _worst(off: dict[str, float]) -> str:
    name = max(off, key=lambda key: off[key])
    return f"largest {off[name]:.2f} σ ({name})"


if __name__ == "__main__":
    cyclopts.run(main)
