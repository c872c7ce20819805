"""The committed results as the tables of docs/validation.md.

python benchmarks/validation/tables.py        # writes them between their marks
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "validation.md"
FOLDER = ROOT / "benchmarks" / "results" / "validation"
IDEAL_GAS = """## Ideal gas

Atoms without interaction: p(V) ∝ V^N e^(−pV/k_BT), so ⟨V⟩ is (N + 1)k_BT/p and the width of V over its mean 1/√(N + 1).
Few atoms tell that from V^(N−1), which ratios of state points cannot. The couplings of 216 atoms had the same seed, and
only the trace of the noise changes a volume: their rows are nearly one.
"""
DRIFT = """## Drift

Energy at constant energy after thermalisation at 300 K: a line by least squares with its standard error. OpenMM
publishes 4.3e-4 (single precision) and 2.3e-5 (mixed) k_BT/ns per degree of freedom for ubiquitin at 0.5 fs. Runs as
short as these cannot tell such values from zero: what they show is that nothing larger than the errors is there, in
single precision no more than in double. The last column is what the line gains in the run over the spread of the
kinetic energy: below 1 it drowns in the fluctuations.
"""
LONG_RUNS = """## Long runs

Single precision, 0.5 fs, Langevin dynamics (1/ps) in vacuum, the waters at 1 bar by stochastic cell rescaling. Means
with standard errors from blocks (≥ where the run is too short against its own memory to tell); the drift is that of
the conserved quantity over the whole run, per degree of freedom; the last column is what the monitor noticed: bonds
broken or formed, parts that left.
"""
MARKS = r"(<!-- table {} -->\n).*?(<!-- end -->)"


def result(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """A document; None if it was not recorded."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def results(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Those of ensembles, by system and name."""
    read = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    found = [document for document in read if document.get("ensemble")]
    return sorted(found, key=lambda document: (document["system"]["name"], document["ensemble"]))


def tables(folder: Path = FOLDER) -> dict[str, str]:
    """Name of a table → its Markdown, without those of which nothing was recorded."""
    found = results(folder)
    made = {
        "ensembles": _ensembles(found),
        "averages": _averages(found),
        "convergence": _convergence(found),
        "ideal gas": _ideal_gas(found),
        "controls": _controls(result("controls", folder), result("barostat_controls", folder)),
        "drift": _drift(result("nve_drift", folder)),
        "long runs": _long_runs(result("long_runs", folder)),
        "counts": sentence(counted(folder)) + "\n",
    }
    return {name: text for name, text in made.items() if text}


def counted(folder: Path = FOLDER) -> dict[str, int]:
    """All checks in standard errors, and how many of them are beyond 2 and 3."""
    values = [value for document in results(folder) for value in sigmas(document)]
    return {"checks": len(values), "above_2": sum(v > 2.0 for v in values), "above_3": sum(v > 3.0 for v in values)}


def sigmas(document: dict[str, Any]) -> list[float]:
    """Every deviation of a document."""
    found = document.get("state_points")
    if not found:
        return [document[key] for key in ("volume_sigma", "width_sigma") if key in document]
    one = [value for point in found["points"] for value in point["sigma"].values()]
    return one + [value for pair in found["pairs"] for value in pair["sigma"]]


def sentence(count: dict[str, int]) -> str:
    """What the page says about them."""
    return f"{count['checks']} checks in all: {count['above_2']} are beyond 2σ, {count['above_3']} beyond 3σ."


def page_with(text: str, made: dict[str, str]) -> str:
    """The page with the tables in their places."""
    for name, table in made.items():
        filled = r"\g<1>\n" + table.replace("\\", r"\\") + r"\n\g<2>"
        text, count = re.subn(MARKS.format(re.escape(name)), filled, text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"{PAGE.name} has {count} places for the table {name!r}; there must be one.")
    return text


def _ensembles(found: list[dict[str, Any]]) -> str:
    def row(name: str, ensemble: str, measured: dict[str, Any]) -> tuple[str, ...]:
        points = measured["points"]
        mean, width = (
            _each(point["sigma"][f"kinetic energy, {part}"] for point in points) for part in ("mean", "width")
        )
        shares = [
            value for point in points for name, value in point["sigma"].items() if not name.startswith("kinetic energy")
        ]
        shown = f"{max(shares):.1f} of {len(shares)}" if shares else "–"
        ratios = " / ".join(_each(pair["sigma"]) or "no overlap" for pair in measured["pairs"])
        return name, ensemble, _each((point["samples"] for point in points), ","), mean, width, shown, ratios

    columns = "system | ensemble | samples | kinetic energy, mean | width | equipartition | ratio of two state points"
    return _table(columns, (row(*named) for named in _having(found, "state_points")))


def _averages(found: list[dict[str, Any]]) -> str:
    def row(document: dict[str, Any], point: dict[str, Any]) -> tuple[str, ...]:
        system, harmonic = document["system"], point.get("potential_over_harmonic")
        per_atom = {key: 1e3 * value / system["atoms"] for key, value in point["potential_energy_eV"].items()}
        pressure = "" if point["pressure_GPa"] is None else f", {point['pressure_GPa']:g} GPa"
        return (
            system["name"],
            document["ensemble"],
            f"{point['temperature_K']:g}{pressure}",
            _with_error(point["kinetic_temperature_K"], 2),
            _with_error(per_atom, 3),
            _with_error(harmonic, 4) if harmonic else "–",
        )

    columns = "system | ensemble | bath, K | kinetic temperature, K | potential energy, meV/atom | over harmonic"
    sampled = [document for document in found if document.get("state_points")]
    return _table(columns, (row(each, point) for each in sampled for point in each["state_points"]["points"]))


def _convergence(found: list[dict[str, Any]]) -> str:
    def row(name: str, ensemble: str, measured: dict[str, Any]) -> tuple[str, ...]:
        return (
            name,
            ensemble,
            ", ".join(f"{step:g}" for step in measured["timesteps_fs"]),
            ", ".join(f"{value:.1e}" for value in measured["rms_meV_per_atom"]),
            f"{measured['exponent']:.2f} ± {measured['exponent_error']:.2f}",
            f"{100 * measured['physical_validation_largest_deviation']:.0f} %",
        )

    columns = (
        "system | ensemble | time steps, fs | rms of the conserved quantity, meV/atom | exponent | largest deviation "
        "from Δt²"
    )
    return _table(columns, (row(*named) for named in _having(found, "convergence")))


def _ideal_gas(found: list[dict[str, Any]]) -> str:
    columns = "atoms | ensemble | samples | ⟨V⟩p/Nk_BT | exact | width of V over its mean | exact"
    rows = (
        (
            str(document["system"]["atoms"]),
            document["ensemble"],
            str(document["samples"]),
            _with_error(document["volume_over_NkT_p"], 4),
            f"{document['exact_volume_over_NkT_p']:.4f}",
            _with_error(document["relative_width"], 4),
            f"{document['exact_relative_width']:.4f}",
        )
        for document in found
        if document.get("volume_over_NkT_p")
    )
    return _section(IDEAL_GAS, _table(columns, rows))


def _controls(thermostats: dict[str, Any] | None, barostats: dict[str, Any] | None) -> str:
    def row(name: str, control: dict[str, Any]) -> tuple[str, ...]:
        if "volume_sigma" in control:
            gas = [(control["volume_sigma"], "mean"), (control["width_sigma"], "width")]
            return name, f"{max(gas)[0]:.1f}", f"volume of the ideal gas, {max(gas)[1]}"
        named = [(value, where) for point in control["points"] for where, value in point["sigma"].items()]
        named += [(value, "ratio of two state points") for pair in control["pairs"] for value in pair["sigma"]]
        value, where = max(named)
        return name, f"{value:.1f}", where

    found = [each for document in (thermostats, barostats) if document for each in document["controls"].items()]
    return _table("what is wrong | largest deviation | where", (row(*each) for each in found))


def _drift(document: dict[str, Any] | None) -> str:
    columns = (
        "structure | precision, time step | ps | meV/atom/ps | k_BT/ns per degree of freedom | over σ(kinetic energy)"
    )
    structures = (document or {"rows": {}})["rows"]
    rows = [
        (
            name,
            label,
            f"{drift['time_ps']:g}",
            f"{drift['meV_per_atom_per_ps']:.1e} ± {drift['error_meV_per_atom_per_ps']:.0e}",
            f"{drift['kT_per_ns_per_dof']:.1e} ± {drift['error_kT_per_ns_per_dof']:.0e}",
            f"{drift['over_kinetic_spread']:.1e}",
        )
        for name, row in structures.items()
        for label, drift in row["drift"].items()
    ]
    for name, row in structures.items():
        errors = ", ".join(f"{value:.1e}" for value in row["convergence"]["rms_meV_per_atom"].values())
        steps = ", ".join(row["convergence"]["rms_meV_per_atom"])
        exponent = f"∝ Δt^{row['convergence']['exponent']:.2f}"
        length = f"{row['protocol']['convergence_ps']:g}"
        rows.append((name, f"error at {steps}", length, f"{errors} meV/atom", exponent, "–"))
    return _section(DRIFT, _table(columns, rows))


def _having(found: list[dict[str, Any]], part: str) -> list[tuple[str, str, dict[str, Any]]]:
    """System, ensemble and this part of the documents that have it."""
    return [
        (document["system"]["name"], document["ensemble"], document[part]) for document in found if document.get(part)
    ]


def _long_runs(document: dict[str, Any] | None) -> str:
    rows = []
    for name, row in (document or {"rows": {}})["rows"].items():
        found, late = row["results"], row["equilibrated"]
        average = found["temperature_K"]
        density = "–"
        if late:
            average, dense = late["temperature_K"], late["density_g_cm3"]
            density = f"{_mean(dense, 3)} (from {late['from_ps']:g} ps on)"
        bath = f"{row['ensemble']['temperature_K']:g}"
        drift, noticed = f"{found['drift']['kT_per_ns_per_dof']:.1e}", "; ".join(row["events"]) or "nothing"
        length = f"{found['time_ps']:,.0f}"
        rows.append([name, row["model"], f"{found['atoms']}", length, bath, _mean(average, 1), drift, density, noticed])
    columns = "run | model | atoms | time, ps | bath, K | temperature, K | drift, k_BT/ns | density, g/cm³ | noticed"
    return _section(LONG_RUNS, _table(columns, rows))


def _each(values: Any, form: str = ".1f") -> str:
    return ", ".join(format(value, form) for value in values)


def _with_error(value: dict[str, float], digits: int) -> str:
    return f"{value['mean']:.{digits}f} ± {value['error']:.{digits}f}"


def _mean(average: dict[str, Any], digits: int) -> str:
    """With its standard error, or the least it can be where the run is short against its own memory."""
    least = "" if average["converged"] else "≥ "
    return f"{average['mean']:.{digits}f} ± {least}{average['standard_error']:.{digits}f}"


def _section(text: str, table: str) -> str:
    """A section of the page that is there once its figures are."""
    return f"{text}\n{table}" if table else ""


def _table(columns: str, rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; nothing without a row of figures."""
    shown = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"| {columns} |", "|---" * len(columns.split(" | ")) + "|"]
    return "\n".join(head + shown) + "\n" if shown else ""


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")
