"""Make the data set in the package: ethanol, PBE/def2-SVP, 300 to 1000 K.

    pip install '.[reference]'
    python scripts/make_ethanol_data.py --work build/ethanol [--processes 2]

Geometries come from Langevin dynamics with `stretched_xtb.py`, labels from PySCF with the settings below, which
`check_reference_settings.py` compares with rMD17. Interrupt it as you like: a second call goes on where it stopped.
Labels take about 4 s each on one core.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
from ase.build import molecule

from so3krates.reference import CalculatorSpec, Label, SamplingPlan, Trajectory, label_frames, sample_trajectories

PACKAGED = Path(__file__).parents[1] / "src" / "so3krates" / "data" / "packaged" / "ethanol_pbe.npz"
GEOMETRIES = CalculatorSpec(target=str(Path(__file__).with_name("stretched_xtb.py")) + ":StretchedXTB")
PLAN = SamplingPlan(
    temperatures_K=(300.0, 500.0, 700.0, 1000.0),
    frames=370,
    interval_fs=150.0,
    equilibration_ps=5.0,
    timestep_fs=0.75,
    friction_per_ps=10.0,
    seed=20240807,
)
GRID = {"H": [40, 194], "C": [50, 434], "O": [50, 434]}
REFERENCE = CalculatorSpec(
    target="pyscf", arguments={"xc": "PBE", "basis": "def2-SVP", "grid": GRID, "convergence": 1e-9}
)
BLOCKS = {"train": range(240), "valid": range(265, 285), "test": range(310, 370)}
"""Frames of each trajectory; the 25 frames (3.75 ps) between blocks are never labelled, so that no block leaks."""
POSITION_GRAIN = 2.0**-16
"""Å. Positions are moved to multiples of this before they are labelled: exact in the file, and they compress."""


def chosen_frames(trajectories: Sequence[Trajectory]) -> tuple[list[ase.Atoms], list[str]]:
    """The frames of all blocks, trajectory after trajectory, with the name of the block of each."""
    frames, blocks = [], []
    for trajectory in trajectories:
        if trajectory.error:
            raise SystemExit(f"the trajectory at {trajectory.temperature_K} K stopped: {trajectory.error}")
        for block, members in BLOCKS.items():
            for member in members:
                atoms = trajectory.frames[member].copy()
                atoms.positions = np.round(atoms.positions / POSITION_GRAIN) * POSITION_GRAIN
                frames.append(atoms)
                blocks.append(block)
    return frames, blocks


def meta() -> dict[str, object]:
    """What a reader of the file alone must know."""
    import pyscf
    import tblite.library

    return {
        "set": "so3krates ethanol PBE",
        "theory": "PBE/def2-SVP",
        "units": {"positions": "Angstrom", "energy": "eV, total", "forces": "eV/Angstrom"},
        "code": f"PySCF {pyscf.__version__}",
        "settings": {
            **REFERENCE.arguments,
            "density_fitting": "def2-universal-jfit",
            "grid_response": True,
        },
        "geometries": {
            "calculator": "scripts/stretched_xtb.py:StretchedXTB",
            "tblite": ".".join(str(part) for part in tblite.library.get_version()),
            "ase": ase.__version__,
            **PLAN.model_dump(mode="json", exclude={"watch_bonds"}),
        },
        "blocks_per_trajectory": {name: [block.start, block.stop] for name, block in BLOCKS.items()},
        "position_grain_Angstrom": POSITION_GRAIN,
        "script": "scripts/make_ethanol_data.py",
        "licence": "MIT",
    }


def write(path: Path, frames: Sequence[ase.Atoms], blocks: Sequence[str], labels: Sequence[Label]) -> None:
    """Write the npz."""
    failed = [(number, found.error) for number, found in enumerate(labels) if found.error]
    if failed:
        raise SystemExit(f"{len(failed)} frames have no label, the first: {failed[0]}; run again to try them again.")
    path.parent.mkdir(parents=True, exist_ok=True)
    splits = {f"split_{name}": np.flatnonzero(np.array(blocks) == name).astype(np.int32) for name in BLOCKS}
    np.savez_compressed(
        path,
        numbers=frames[0].numbers.astype(np.int32),
        positions=np.array([atoms.positions for atoms in frames]),
        energy=np.array([found.energy for found in labels]),
        forces=np.array([found.forces for found in labels], dtype=np.float32),
        pbc=np.zeros(3, dtype=bool),
        temperature_K=np.array([atoms.info["temperature_K"] for atoms in frames], dtype=np.float32),
        trajectory=np.array([atoms.info["trajectory"] for atoms in frames], dtype=np.int32),
        time_fs=np.array([atoms.info["time_fs"] for atoms in frames], dtype=np.float32),
        meta=np.array(json.dumps(meta())),
        **splits,
    )
    print(f"{path}: {len(frames)} frames, {path.stat().st_size} bytes")


def main() -> None:
    """Sample, label, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the journals")
    parser.add_argument("--output", type=Path, default=PACKAGED)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    trajectories = sample_trajectories(
        molecule("CH3CH2OH"),
        GEOMETRIES,
        PLAN,
        arguments.work / "sample.journal",
        processes=arguments.processes,
        progress=lambda done, total: print(f"sampled {done}/{total}", flush=True) if done % 100 == 0 else None,
    )
    for trajectory in trajectories:
        print(f"{trajectory.temperature_K} K: mean kinetic temperature {trajectory.mean_temperature_K:.1f} K")
    frames, blocks = chosen_frames(trajectories)
    labels = label_frames(
        frames,
        REFERENCE,
        arguments.work / "label.journal",
        processes=arguments.processes,
        progress=lambda done, bad, total: print(f"labelled {done}/{total}, {bad} failed", flush=True),
    )
    write(arguments.output, frames, blocks, labels)


if __name__ == "__main__":
    main()
