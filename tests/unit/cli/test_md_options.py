"""What `so3krates md` can be told: every option and key arrives, and what makes no sense is refused before anything."""

from dataclasses import fields
from math import inf, nan
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from so3krates._errors import InputError
from so3krates.cli._md_flags import EnsembleOptions, MonitorOptions, RecordingOptions, ReplicasOptions
from so3krates.cli._md_options import assemble
from so3krates.cli._running import Running
from so3krates.cli.app import main
from so3krates.cli.config import Ensemble
from so3krates.config import Config
from so3krates.config_file import read_config
from so3krates.md import MTK, Monitor, Ramp, Recording, StochasticCellRescaling
from so3krates.md.ensembles.cell_rescaling import Coupling
from so3krates.md.monitoring.monitor import Kind
from so3krates.md.notation import parse_atoms, parse_ramp
from so3krates.md.run_config import ENSEMBLES, SECTIONS, ReplicasConfig, RunConfig, parameters

NEEDED = {"model": "model.safetensors", "start": "start.xyz", "output": "run.h5", "time_ps": 1.0}


def told(file: Path | None = None, *, needed: dict[str, Any] = NEEDED, **options: Any) -> RunConfig:
    """The configuration that options make, each in its group."""
    groups = []
    for group in (EnsembleOptions, RecordingOptions, ReplicasOptions, MonitorOptions):
        own = {field.name for field in fields(group)} & set(options)
        groups.append(group(**{name: options.pop(name) for name in own}))
    assert not options
    return assemble(file, needed, *groups, Running())


def words(annotation: Any) -> set[str]:
    """The words that a value may be."""
    return {annotation} if isinstance(annotation, str) else {w for part in get_args(annotation) for w in words(part)}


def choices(group: type, name: str) -> set[str]:
    """The words an option may have."""
    return words(get_type_hints(group)[name])


def test_words_of_the_command_line_are_those_of_the_engine() -> None:
    """They are written twice, so that the help starts without the numerical libraries."""
    assert choices(EnsembleOptions, "ensemble") == set(ENSEMBLES) == set(get_args(Ensemble))
    assert choices(EnsembleOptions, "coupling") == set(get_args(Coupling))
    assert choices(MonitorOptions, "stop_on") == set(get_args(Kind))
    for name in ("precision", "compression"):
        assert choices(RecordingOptions, name) == words(Recording.model_fields[name].annotation) != set()
    assert choices(ReplicasOptions, "starts") == words(ReplicasConfig.model_fields["starts"].annotation)


def test_everything_an_ensemble_can_be_told_is_an_option() -> None:
    known = {name for kind in ENSEMBLES for name in parameters(kind)}
    assert {field.name for field in fields(EnsembleOptions)} == known | {"ensemble"}


def test_every_option_of_replicas_is_a_key_and_every_key_an_option() -> None:
    assert {field.name for field in fields(ReplicasOptions)} - {"replicas"} == set(ReplicasConfig.model_fields) - {
        "count"
    }


def test_options_of_the_barostats_arrive() -> None:
    config = told(
        ensemble="npt-scr",
        temperature_K="300",
        pressure_GPa="0:0.1,10:1",
        coupling="triclinic",
        compressibility_per_GPa=0.02,
        barostat_time_fs=2000.0,
        thermostat_time_fs=50.0,
    )
    assert config.integrator == StochasticCellRescaling(
        temperature_K=300.0,
        pressure_GPa=Ramp(time_ps=(0, 10), value=(0.1, 1)),
        coupling="triclinic",
        compressibility_per_GPa=0.02,
        barostat_time_fs=2000.0,
        thermostat_time_fs=50.0,
    )
    config = told(
        ensemble="npt-mtk",
        temperature_K="300",
        pressure_GPa="1",
        compressibility_per_GPa=0.02,
        thermostat_period_fs=50.0,
        barostat_period_fs=700.0,
        chain=5,
    )
    assert config.integrator == MTK(
        temperature_K=300.0,
        pressure_GPa=1.0,
        compressibility_per_GPa=0.02,
        thermostat_period_fs=50.0,
        barostat_period_fs=700.0,
        chain=5,
    )


def test_options_of_recording_and_monitor_arrive() -> None:
    config = told(
        temperature_K="300",
        save_every_fs=100.0,
        scalars_every_fs=5.0,
        save_forces=True,
        no_velocities=True,
        precision="float64",
        compression="gzip",
        max_temperature_K=900.0,
        min_distance=0.6,
        max_bond_deviation=0.4,
        max_pressure_GPa=20.0,
        max_volume_factor=1.5,
        max_shape_factor=1.3,
        max_drift_meV_per_atom=50.0,
        stop_on=["bond_broken"],
        committee=[Path("a.safetensors"), Path("b.safetensors")],
        max_force_disagreement=0.2,
    )
    assert config.recording == Recording(
        every_fs=100, scalars_every_fs=5, forces=True, velocities=False, precision="float64", compression="gzip"
    )
    assert config.monitor == Monitor(
        max_temperature_K=900,
        min_distance=0.6,
        max_bond_deviation=0.4,
        max_pressure_GPa=20,
        max_volume_factor=1.5,
        max_shape_factor=1.3,
        max_drift_meV_per_atom=50,
        stop_on=("bond_broken",),
        max_force_disagreement=0.2,
    )
    assert config.committee == ("a.safetensors", "b.safetensors")


def test_a_ramp_of_the_temperature_starts_at_its_first_value() -> None:
    config = told(temperature_K="0:100,20:300,30:300")
    assert config.integrator.temperature_K == Ramp(time_ps=(0, 20, 30), value=(100, 300, 300))
    assert config.initial_temperature_K == 100.0


def test_each_replica_has_its_own_temperature_and_pressure() -> None:
    config = told(ensemble="npt-mtk", temperatures_K=[300.0, 350.0], pressures_GPa=[0.1, 1.0])
    found = [(each.temperature_K, each.pressure_GPa) for each in config.integrators(2)]
    assert found == [(300.0, 0.1), (350.0, 1.0)] and config.draws_velocities
    assert config.replicas is not None and config.replicas.number(1) == 2


def test_a_ladder_on_the_command_line_takes_the_place_of_the_temperature_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("ensemble: {kind: csvr, temperature_K: 500, time_constant_fs: 50}\nreplicas: null\n")
    config = told(file, temperatures_K=[300.0, 330.0], exchange_every_fs=50.0)
    assert [each.temperature_K for each in config.integrators(2)] == [300.0, 330.0]
    assert config.integrators(2)[1].time_constant_fs == 50.0
    assert config.exchange is not None and config.exchange.every_fs == 50.0


def test_ramps_and_atoms_in_words() -> None:
    assert parse_ramp("300", "T") == 300.0 and parse_ramp("-1.5e-1", "p") == -0.15
    assert parse_ramp("0:1, 2.5:-3", "p") == Ramp(time_ps=(0, 2.5), value=(1, -3))
    assert parse_atoms("0-3, 7,5-5") == (range(4), range(7, 8), range(5, 6))
    for text in ("", "a", "3-1", "-2", "1,,2", "1-2-3", "0.5"):
        with pytest.raises(InputError, match="no list of atoms"):
            parse_atoms(text)
    for text in ("", "warm", "nan", "inf", "0:100,20:nan", "0:100,20", "100,300", "0:1:2,3:4", "0:100;20:300"):
        with pytest.raises(InputError, match="--temperature-K is '.*'; write a number such as 300, or a ramp"):
            parse_ramp(text, "--temperature-K")


@pytest.mark.parametrize(
    ("given", "atoms"),
    [("0-2,5", (0, 1, 2, 5)), (4, (4,)), ([1, 2], (1, 2)), (["0-1", 7], (0, 1, 7)), ([], ())],
)
def test_fixed_atoms_in_a_file(given: Any, atoms: tuple[int, ...]) -> None:
    run = NEEDED | {"ensemble": {"kind": "nve"}, "fixed": given}
    assert RunConfig.parse(run).fixed_atoms(8) == atoms


def test_a_range_of_atoms_takes_no_room_before_it_is_known_how_many_there_are() -> None:
    run = RunConfig.parse(NEEDED | {"ensemble": {"kind": "nve"}, "fixed": ["1", "0-9999999999", 8]})
    with pytest.raises(InputError, match="numbered from 0 to 7; received 0-9999999999, 8."):
        run.fixed_atoms(8)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"time_ps": inf}, "'time_ps': Input should be a finite number, received inf"),
        ({"time_ps": nan}, "'time_ps': Input should be a finite number"),
        ({"time_ps": 1e300}, "time_ps is 1e+300, which is 2146435072 time steps"),
        ({"thermalise_ps": inf}, "'thermalise_ps': Input should be a finite number"),
        ({"hydrogen_mass_u": inf}, "'hydrogen_mass_u': Input should be a finite number"),
        ({"seed": 2**32}, "'seed': Input should be less than or equal to 4294967295"),
        ({"replicas": {"temperatures_K": [300, inf]}}, "'replicas.temperatures_K.1': Input should be a finite number"),
        ({"replicas": {"pressures_GPa": [0, nan]}}, "'replicas.pressures_GPa.1': Input should be a finite number"),
        ({"replicas": {"count": 2, "exchange_every_fs": inf}}, "'replicas.exchange_every_fs': Input should be a fin"),
        ({"ensemble": {"kind": "langevin", "temperature_K": 9, "friction_per_ps": inf}}, "friction_per_ps': Input sho"),
        ({"ensemble": {"kind": "csvr", "temperature_K": 9, "time_constant_fs": inf}}, "time_constant_fs': Input shou"),
        ({"ensemble": {"kind": "npt-mtk", "temperature_K": 9, "barostat_period_fs": 4.9}}, "ensemble.barostat_period"),
        ({"ensemble": {"kind": "npt-scr", "temperature_K": 9, "barostat_time_fs": 4.9}}, "ensemble.barostat_time_fs "),
        (
            {"ensemble": {"kind": "nose-hoover", "temperature_K": 9, "period_fs": 4.9}},
            "ensemble.period_fs is 4.9, less than 10 time steps of 0.5 fs, .* make it at least 5 fs",
        ),
    ],
)
def test_numbers_that_no_run_has(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words.replace("+", "[+]")):
        RunConfig.parse(NEEDED | {"ensemble": {"kind": "langevin", "temperature_K": 300.0}} | more)


@pytest.mark.parametrize(
    "ensemble",
    [
        {"kind": "csvr", "time_constant_fs": 0.1},
        {"kind": "nose-hoover", "period_fs": 5.0},
        {"kind": "langevin", "friction_per_ps": 1e5},
    ],
)
def test_a_thermostat_that_is_exact_for_any_step_may_be_as_fast_as_one_likes(ensemble: dict[str, Any]) -> None:
    assert RunConfig.parse(NEEDED | {"ensemble": ensemble | {"temperature_K": 300.0}}).timestep_fs == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--ensemble csvr --temperature-K 300 --period-fs 50", "--period-fs belongs to nose-hoover, not to csvr"),
        ("--ensemble langevin --temperature-K 300 --chain 4", "--chain belongs to nose-hoover and npt-mtk, not to"),
        ("--ensemble npt-mtk --temperature-K 300 --coupling triclinic", "--coupling belongs to npt-scr, not to npt"),
        ("--ensemble npt-scr --temperature-K 300 --fix-center", "--fix-center belongs to nve and langevin, not to npt"),
        ("--ensemble csvr --temperature-K 300 --pressure-GPa 0:0,1:1", "belongs to npt-scr and npt-mtk, not to csvr"),
        ("--temperature-K 0:100,20", "--temperature-K is '0:100,20'; write a number such as 300, or a ramp"),
        ("--temperature-K 20:100,0:300", "times of a ramp start at 0 or later and increase"),
        ("--temperature-K 0:0,20:300", "temperatures must be positive"),
        ("--ensemble npt-scr --temperature-K 300 --pressure-GPa high", "--pressure-GPa is 'high'"),
        ("--ensemble nve --temperature-K 0:100,20:300", "nve has no thermostat that could follow a ramp"),
        ("--temperature-K 300 --fixed 9-3", "'9-3' is no list of atoms"),
        ("--temperature-K 300 --hydrogen-mass-u 0", "--hydrogen-mass-u: Input should be greater than 0"),
        ("--temperature-K 300 --replicas 0", "--replicas: Input should be greater than 0"),
        ("--temperature-K 300 --temperatures-K 300 330", "takes the place of --temperature-K; give one of them"),
        (
            "--replicas 3 --temperatures-K 300 330",
            "must be the same; received count (--replicas): 3, temperatures_K (--t",
        ),
        ("--temperatures-K 300 -5", "--temperatures-K: Input should be greater than 0"),
        (
            "--temperature-K 300 --exchange-every-fs 50",
            "by --replicas, --temperatures-K, --pressures-GPa or --starts all",
        ),
        ("--temperature-K 300 --pressures-GPa 0 1", "--pressures-GPa belongs to npt-scr and npt-mtk"),
        ("--ensemble nve --temperature-K 300 --replicas 2 --exchange-every-fs 50", "langevin and csvr, not with nve"),
        ("--ensemble nve --temperatures-K 300 330", "--temperatures-K belongs to langevin, nose-hoover, csv"),
        ("--temperature-K 300 --save-every-fs 10 --scalars-every-fs 4", "not a multiple of scalars_every_fs"),
        ("--temperature-K 300 --max-volume-factor 0.5", "--max-volume-factor: Input should be greater than 1"),
        ("--temperature-K 300 --max-pressure-GPa 0", "--max-pressure-GPa: Input should be greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    """Before the model is loaded: the files do not exist."""
    arguments = ["md", "model.safetensors", "start.xyz", "-o", str(tmp_path / "run.h5"), "--time-ps", "1"]
    assert main([*arguments, *options.split()]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--temperature-K 0", "--temperature-K: temperatures must be positive, in K; received 0."),
        ("--temperatures-K 0 300", "--temperatures-K: Input should be greater than 0, received 0.0"),
        ("--temperature-K 300 --time-ps 0.0001", "--time-ps is 0.0001, which is less than a time step of 0.5 fs"),
        (
            "--temperature-K 300 --ensemble npt-scr --barostat-time-fs 2",
            "--barostat-time-fs is 2, less than 10 time steps of 0.5 fs, which do not resolve it; make it at least 5 "
            "fs, or the time step shorter.",
        ),
        (
            "--temperature-K 300 --ensemble npt-scr --pressure-GPa abc",
            "--pressure-GPa is 'abc'; write a number such as 0.1, or a ramp as TIME_PS:VALUE,TIME_PS:VALUE such as "
            "0:0.1,20:1.",
        ),
    ],
)
def test_a_mistake_is_told_once_and_by_its_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str
) -> None:
    time = [] if "--time-ps" in options else ["--time-ps", "1"]
    output = str(tmp_path / "run.h5")
    assert main(["md", "model.safetensors", "start.xyz", "-o", output, *time, *options.split()]) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_options_are_named_beside_the_mistakes_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("ensemble: {kind: langevin, temperature_K: 300}\ncolour: blue\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        told(file, max_volume_factor=0.5)
    option = "--max-volume-factor: Input should be greater than 1, received 0.5"
    assert str(error.value) == f"{option}; {file}: unknown key 'colour'"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["md"],
            "a run needs MODEL, START, -o RUN.h5 and --time-ps TIME (or 'model', 'start', 'output' and 'time_ps' in "
            "--config FILE).",
        ),
        (
            ["md", "model.safetensors", "--time-ps", "1"],
            "a run needs START and -o RUN.h5 (or 'start' and 'output' in --config FILE).",
        ),
    ],
)
def test_what_is_missing_of_files_comes_before_the_ensemble(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"


@pytest.mark.parametrize(
    ("ensemble", "words"),
    [
        (
            "{kind: nvt}",
            "key 'ensemble.kind' is 'nvt'; it must be one of nve, langevin, nose-hoover, csvr, npt-scr, npt-mtk",
        ),
        (
            "{kind: langevin, temperature_K: 300, friction: 1}",
            "unknown key 'ensemble.friction' (did you mean 'friction_per_ps'?)",
        ),
        (
            "{kind: langevin, temperature_K: 300, time_constant_fs: 1}",
            "unknown key 'ensemble.time_constant_fs' (it belongs to csvr, not to langevin)",
        ),
        (
            "{kind: langevin, temperature_K: 0}",
            "'ensemble.temperature_K': temperatures must be positive, in K; received 0",
        ),
        (
            "{kind: langevin, temperature_K: .nan}",
            "'ensemble.temperature_K': Input should be a finite number, received nan",
        ),
    ],
)
def test_mistakes_of_the_ensemble_in_a_file(tmp_path: Path, ensemble: str, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"ensemble: {ensemble}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        told(file)
    assert str(error.value) == f"{file}: {words}"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("recording: {every: 5}", "unknown key 'recording.every'"),
        ("save_every_fs: 5", "unknown key 'save_every_fs'"),
        ("replicas: {number: 5}", "unknown key 'replicas.number'"),
        ("replicas: {temperatures_K: [200, 300]}", "replicas.temperatures_K takes the place of ensemble.temperature_K"),
        ("replicas: {starts: first}", "'replicas.starts'"),
        ("initial_temperature_K: {time_ps: 0}", "'initial_temperature_K'"),
        ("fixed: [a]", "'a' is no list of atoms"),
        ("committee: {a: b}", "'committee'"),
        ("monitor: {stop_on: [boredom]}", "'monitor.stop_on.0'"),
        ("recordings: {every_fs: 5}", "unknown key 'recordings' (did you mean 'recording'?)"),
    ],
)
def test_mistakes_in_the_new_sections_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, message: str
) -> None:
    file = tmp_path / "run.yaml"
    needed = "".join(f"{name}: {value}\n" for name, value in NEEDED.items())
    file.write_text(f"{needed}ensemble: {{kind: langevin, temperature_K: 300}}\n{more}\n", encoding="utf-8")
    assert main(["config", "validate", str(file)]) == 1
    error = capsys.readouterr().err
    assert message in error and str(file) in error


def test_a_ramp_in_a_file_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    text = "ensemble: {kind: csvr, temperature_K: {time_ps: [0, 20], value: [100, 300%s]}}\n"
    file.write_text(text % "", encoding="utf-8")
    assert told(file).integrator.temperature_K == Ramp(time_ps=(0, 20), value=(100, 300))
    file.write_text(text % ", 5", encoding="utf-8")
    with pytest.raises(InputError, match=r"yaml: 'ensemble\.temperature_K': a ramp needs .* 2 times and 3 values$"):
        told(file)
    file.write_text("ensemble: {kind: csvr, temperature_K: {time_ps: 3, value: [1, 2]}}\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"yaml: 'ensemble\.temperature_K\.time_ps': Input should be a list, received 3$"
    ):
        told(file)


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_every_key_of_the_template_is_explained_and_accepted(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "template", "md", "--ensemble", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    for section, indent in ((RunConfig, ""), (SECTIONS[kind], "  "), (Recording, "  "), (Monitor, "  ")):
        for key in section.model_fields:
            numbers = [n for n, line in enumerate(lines) if line.startswith(f"{indent}{key}:")]
            assert numbers and all(lines[n - 1].startswith(f"{indent}# ") for n in numbers), key
    start = lines.index("replicas: null")
    lines[start] = "replicas:"
    for n, key in enumerate(ReplicasConfig.model_fields, start=start + 1):
        assert lines[n].startswith(f"#   {key}: ") and "  # " in lines[n]
        lines[n] = lines[n].removeprefix("#").replace("count: null", "count: 2")
    file = tmp_path / "run.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert main(["config", "validate", str(file)]) == 0
    own = {"temperature_K": 300.0} if kind != "nve" else {}
    at_start = {"initial_temperature_K": 300.0} if kind == "nve" else {}
    run = NEEDED | {"time_ps": 100.0, "ensemble": {"kind": kind, **own}, "replicas": {"count": 2}, **at_start}
    assert read_config(file, RunConfig) == RunConfig.parse(run)


def test_every_field_has_a_description() -> None:
    def bare(section: type[Config]) -> list[str]:
        return [f"{section.__name__}.{name}" for name, field in section.model_fields.items() if not field.description]

    sections = [RunConfig, ReplicasConfig, Recording, Monitor, RunConfig.model_fields["running"].annotation]
    assert [name for section in [*sections, *SECTIONS.values()] for name in bare(section)] == []  # type: ignore[arg-type]


def test_the_template_of_training_has_no_ensemble(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "template", "train", "--ensemble", "nve"]) == 1
    assert "belongs to the template of md" in capsys.readouterr().err
