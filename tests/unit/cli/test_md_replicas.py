"""Many replicas from the command line: files, table, exchange, exit status; and a committee."""

import json
import re
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest

from so3krates.cli.app import main
from so3krates.io.trajectory import Trajectory
from so3krates.md.records.averages import Average
from so3krates.md.records.wording import rounded

SHORT = ("--time-ps", "0.02", "--save-every-fs", "1", "--min-distance", "0.01")


def run(files: Path, output: Path, *more: str, start: Path | None = None) -> int:
    return main(["md", str(files / "model.safetensors"), str(start or files / "start.xyz"), "-o", str(output), *more])


def rows(printed: str) -> dict[str, list[str]]:
    """Of the table at the end: trajectory → the other cells."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    return {row[0]: row[1:] for row in cells if len(row) > 1 and row[0].endswith(".h5")}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_replicas_with_their_own_temperatures_exchange(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder = ("--temperatures-K", "100", "110", "121", "--exchange-every-fs", "2", "--seed", "7")
    assert run(files, tmp_path / "run.h5", *SHORT, *ladder) == 0
    printed = capsys.readouterr().out
    table = rows(printed)
    assert "3 replicas, 40 steps each" in printed and "Began in: the replica" in " ".join(printed.split())
    assert list(table) == ["run_000.h5", "run_001.h5", "run_002.h5"]
    trajectories = [Trajectory(tmp_path / name) for name in table]
    assert [each.settings["seed"] for each in trajectories] == [7, 8, 9]
    assert [each.settings["ensemble"]["temperature_K"] for each in trajectories] == [100.0, 110.0, 121.0]
    assert [row[0] for row in table.values()] == ["100", "110", "121"]
    for name, (_, temperature, drift, *_, ended) in table.items():
        stem = name.removesuffix(".h5")
        summary = json.loads((tmp_path / f"{stem}.summary.json").read_text(encoding="utf-8"))
        average = Average(**summary["results"]["temperature_K"])
        assert re.sub(r" \*$", "", temperature) == " ± ".join(filter(None, rounded(average)))
        assert float(drift) == pytest.approx(summary["results"]["drift"]["meV_per_atom_per_ps"], rel=1e-2)
        assert ended == "complete" and (tmp_path / f"{stem}.summary.png").exists()
    # 40 steps of 0.5 fs, an attempt after each 4 of them but the last, even and odd pairs in turns
    found = [re.fullmatch(r"\d\.\d\d of (\d+)", table[f"run_{number:03d}.h5"][3]) for number in (0, 1)]
    assert all(found) and [int(each[1]) for each in found if each] == [5, 5]
    assert table["run_002.h5"][3] == "–"
    walkers = np.stack([each.series()["walker"] for each in trajectories])
    np.testing.assert_array_equal(np.sort(walkers, axis=0), np.arange(3)[:, None] + 0 * walkers)
    assert [row[4] for row in table.values()] == [str(walker) for walker in walkers[:, -1]]
    assert np.ptp(walkers, axis=1).max() > 0


def test_the_table_of_replicas_fits_eighty_columns(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name and no number is broken; a name too long makes the table broader."""
    monkeypatch.setenv("COLUMNS", "80")
    ladder = ("--temperatures-K", "100", "110", "121", "--exchange-every-fs", "2")
    assert run(files, tmp_path / "run.h5", *SHORT, *ladder) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.split("compiling")[1].splitlines()) <= 80
    assert [row[-1] for row in rows(printed).values()] == ["complete"] * 3
    name = "a" * 60
    assert run(files, tmp_path / f"{name}.h5", *SHORT, "--temperatures-K", "100", "110") == 0
    table = rows(capsys.readouterr().out)
    assert list(table) == [f"{name}_000.h5", f"{name}_001.h5"]
    assert [row[-1] for row in table.values()] == ["complete"] * 2


def test_replicas_are_resumed_and_made_longer(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = (*SHORT, "--temperature-K", "100", "--replicas", "2")
    assert run(files, tmp_path / "run.h5", *two) == 0
    capsys.readouterr()
    assert run(files, tmp_path / "run.h5", *two) == 1
    assert "run_000.h5' exists" in capsys.readouterr().err
    assert run(files, tmp_path / "run.h5", *two, "--resume") == 0
    assert "2 of 2 replicas hold all 40 steps already; there was nothing to do" in capsys.readouterr().out
    longer = [word if word != "0.02" else "0.03" for word in two]
    assert run(files, tmp_path / "run.h5", *longer, "--resume") == 0
    assert "2 replicas, 100 K, 60 steps each" in capsys.readouterr().out
    one, other = (Trajectory(tmp_path / f"run_{number:03d}.h5") for number in range(2))
    assert len(one) == len(other) == 31
    assert not np.array_equal(one.read().positions, other.read().positions)


def test_a_replica_that_is_stopped_lets_the_others_finish(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    heated = "replicas: {temperatures_K: [50, 3000]}\nensemble: {kind: langevin, friction_per_ps: 50}\n"
    config.write_text(f"initial_temperature_K: 50\n{heated}", encoding="utf-8")
    options = ("--config", str(config), "--max-temperature-K", "400")
    assert run(files, tmp_path / "run.h5", *SHORT, *options) == 3
    printed = capsys.readouterr()
    assert printed.err.startswith("stopped: 1 of 2 replicas ended early; the others are complete; replica 1 at")
    assert "exceeds 400 K" in printed.err
    assert rows(printed.out)["run_000.h5"][-1] == "complete"
    assert rows(printed.out)["run_001.h5"][-1] == "stopped: too_hot"
    assert len(Trajectory(tmp_path / "run_000.h5")) == 21
    assert 1 <= len(Trajectory(tmp_path / "run_001.h5")) < 21
    assert (tmp_path / "run_001.summary.png").exists() and (tmp_path / "run_001_stopped.extxyz").exists()
    # Again the same, since that replica is over.
    assert run(files, tmp_path / "run.h5", *SHORT, *options, "--resume") == 3
    printed = capsys.readouterr()
    assert "1 of 2 replicas hold all 40 steps already" in printed.out and "exceeds 400 K" in printed.err
    assert rows(printed.out)["run_001.h5"][-1] == "stopped: too_hot"


def test_every_frame_is_the_start_of_a_replica(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [ase.build.molecule("CH3OH") for _ in range(3)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.01 * (1 + number), seed=number)
    ase.io.write(tmp_path / "starts.extxyz", frames)
    options = (*SHORT, "--temperature-K", "50", "--starts", "all")
    assert run(files, tmp_path / "run.h5", *options, start=tmp_path / "starts.extxyz") == 0
    for number, atoms in enumerate(frames):
        first = Trajectory(tmp_path / f"run_{number:03d}.h5").read(0, 1).positions[0]
        np.testing.assert_allclose(first, atoms.positions, atol=1e-6)
    capsys.readouterr()
    assert run(files, tmp_path / "no.h5", *options, "--replicas", "2", start=tmp_path / "starts.extxyz") == 1
    assert "must be the same; received count (--replicas): 2, frames (--starts all): 3" in capsys.readouterr().err
    frames[2] = frames[2][:-1]
    ase.io.write(tmp_path / "other.extxyz", frames)
    assert run(files, tmp_path / "no.h5", *options, start=tmp_path / "other.extxyz") == 1
    assert "replica 2 differs from replica 0 in elements" in capsys.readouterr().err


def test_the_same_trajectory_many_times_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = ase.build.molecule("CH3OH")
    atoms.set_velocities(np.random.default_rng(0).normal(size=(6, 3)) * 0.01)
    ase.io.write(tmp_path / "moving.extxyz", atoms)
    options = (*SHORT, "--ensemble", "nve", "--replicas", "2")
    assert run(files, tmp_path / "run.h5", *options, start=tmp_path / "moving.extxyz") == 1
    assert "2 replicas of nve from one start with velocities would all be the same" in capsys.readouterr().err
    # Velocities drawn for each are its own.
    drawn = (*options, "--temperature-K", "50")
    assert run(files, tmp_path / "run.h5", *drawn, start=tmp_path / "moving.extxyz") == 0
    one, other = (Trajectory(tmp_path / f"run_{number:03d}.h5").read(0, 1) for number in range(2))
    assert one.velocities is not None and other.velocities is not None
    assert not np.allclose(one.velocities, other.velocities)


@pytest.mark.slow
def test_replicas_at_their_own_pressures(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write(tmp_path / "box.extxyz", ase.build.molecule("CH3OH", cell=(6, 6, 6), pbc=True))
    options = ("--ensemble", "npt-mtk", "--temperature-K", "100", "--pressures-GPa", "0", "0.02")
    options += ("--barostat-period-fs", "200", "--compressibility-per-GPa", "20")
    options += ("--time-ps", "0.02", "--min-distance", "0.01", "--save-every-fs", "1")
    assert run(files, tmp_path / "run.h5", *options, start=tmp_path / "box.extxyz") == 0
    printed = capsys.readouterr().out
    table = rows(printed)
    assert "2 replicas, 100 K, 40 steps each" in printed
    assert [row[0] for row in table.values()] == ["0", "0.02"]
    volumes = [Trajectory(tmp_path / name).series()["volume"] for name in table]
    assert volumes[1][-1] < 0.99 * volumes[0][-1]
    densities = [float(row[4].split()[0]) for row in table.values()]
    mass = 32.042 * 1.66053906660
    np.testing.assert_allclose(densities, [np.mean(mass / each[1:]) for each in volumes], rtol=1e-3)


@pytest.mark.slow
def test_replicas_out_of_time_go_on(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("monitor: {min_distance: null, max_gap: null}\nensemble: {kind: nve}\n")
    two = ("--config", str(tmp_path / "run.yaml"), "--temperature-K", "20", "--replicas", "2")
    assert run(files, tmp_path / "run.h5", *two, "--time-ps", "1e5", "--wall-time", "0:20") == 4
    printed = capsys.readouterr()
    assert printed.err.startswith("unfinished: the wall time is over after step ")
    assert [row[-1] for row in rows(printed.out).values()] == ["unfinished: wall_time"] * 2
    (steps,) = [int(count) for count in re.findall(r"(\d+) steps each", printed.out)]
    length = f"{(steps + 20) * 0.5e-3:.7f}"
    assert run(files, tmp_path / "run.h5", *two, "--time-ps", length, "--resume") == 0
    printed = capsys.readouterr()
    assert [row[-1] for row in rows(printed.out).values()] == ["complete"] * 2
    assert f"{steps + 20} steps each" in printed.out


def test_a_ladder_must_be_one(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for temperatures, every, message in (
        (("300", "300"), "10", "must increase from replica to replica; received 300, 300 K"),
        (("300", "330"), "0.7", "it must be a multiple of the time step"),
        (("300",), "10", "needs at least two replicas"),
    ):
        for more in ((), ("--dry-run",)):
            options = ("--temperatures-K", *temperatures, "--exchange-every-fs", every, *more)
            assert run(files, tmp_path / "run.h5", *SHORT, *options) == 1
            assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_replicas_writes_nothing(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--temperatures-K", "100", "110", "121", "--exchange-every-fs", "50", "--scalars-every-fs", "0.5")
    assert run(files, tmp_path / "run.h5", *SHORT, *options, "--ensemble", "csvr", "--fix-rotation", "--dry-run") == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "csvr: temperature_K 100, 110, 121, time_constant_fs 100, fix_rotation True" in printed
    assert "degrees of freedom 12" in printed and "drawn at 100, 110, 121 K" in printed
    assert "3, seeds 0 to 2, exchanged every 50 fs; the numbers below are of each" in printed
    assert "run_000.h5 to run_002.h5: 21 frames, 41 rows of scalars" in printed
    assert "of all replicas together" in printed and "about 0:" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_committee_is_asked(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = str(files / "second.safetensors")
    options = (*SHORT, "--temperature-K", "50", "--committee", second)
    assert run(files, tmp_path / "run.h5", *options, "--max-force-disagreement", "1e6") == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "run.summary.json").read_text(encoding="utf-8"))
    found = summary["results"]["disagreement"]
    assert 0 < found["mean_eV_per_A"] <= found["largest_eV_per_A"] and found["time_ps"] == found["step"] * 0.5e-3
    assert "disagreement of the committee" in printed and f"at step {found['step']} (" in printed
    assert f"atom {found['atom']}; mean" in printed
    assert run(files, tmp_path / "run.h5", *options, "--max-force-disagreement", "1e-9", "--overwrite") == 3
    assert "the committee disagrees" in capsys.readouterr().err
    again = ("--committee", str(files / "model.safetensors"))
    assert run(files, tmp_path / "no.h5", *SHORT, "--temperature-K", "50", *again) == 1
    assert "the potential of the run or of another member once more" in capsys.readouterr().err
    assert run(files, tmp_path / "no.h5", *SHORT, "--temperature-K", "50", "--max-force-disagreement", "0.5") == 1
    assert "there is no committee" in capsys.readouterr().err
    assert run(files, tmp_path / "no.h5", *SHORT, "--temperature-K", "50", "--committee", "nowhere.safetensors") == 1
    assert "nowhere.safetensors" in capsys.readouterr().err


def test_a_run_from_the_template(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it says are defaults, so that it runs as it is."""
    assert main(["config", "template", "md"]) == 0
    text = capsys.readouterr().out.replace("model.safetensors", str(files / "model.safetensors"))
    text = text.replace("start.xyz", str(files / "start.xyz")).replace("run.h5\n", f"{tmp_path / 'run.h5'}\n", 1)
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    command = ["md", "--config", str(tmp_path / "run.yaml"), "--time-ps", "0.005", "--temperature-K", "20"]
    assert main([*command, "--min-distance", "0.01"]) == 0
    assert len(Trajectory(tmp_path / "run.h5")) == 2
