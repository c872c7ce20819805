"""mace-torch: its ASE calculator, or its training step, for a model of 96 scalar channels. In its own environment."""

import os
from typing import Any

# Recent torch refuses to unpickle what e3nn keeps its constants in.
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import ase.io
import numpy as np
import torch
from ase_step import ase_job, atoms_of
from e3nn import o3
from mace.modules import ScaleShiftMACE, WeightedEnergyForcesLoss, interaction_classes
from serving import Job, serve, threads, versions_of
from torch_training import count, training_job

CUTOFF = 5.0


def prepare(mode: str, task: dict[str, Any]) -> Job:
    if mode == "train":
        return _training(task)
    from mace.calculators import MACECalculator

    atoms = atoms_of(task)
    model = _model(sorted(set(atoms.numbers.tolist())))
    parameters = count(model)
    return ase_job(atoms, MACECalculator(models=model, device="cpu", default_dtype="float32"), parameters)


def _model(elements: list[int]) -> ScaleShiftMACE:
    """The defaults of its training script with hidden irreps 96x0e."""
    torch.manual_seed(0)
    block = interaction_classes["RealAgnosticResidualInteractionBlock"]
    return ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("96x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=16.0,
        atomic_numbers=elements,
        correlation=3,
        gate=torch.nn.functional.silu,
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def _training(task: dict[str, Any]) -> Job:
    """Batches by its data loader, steps by its trainer: AMSGrad, gradients clipped at 10 (its defaults)."""
    from mace.data import AtomicData, KeySpecification, config_from_atoms_list
    from mace.tools import AtomicNumberTable, torch_geometric
    from mace.tools.train import take_step

    frames = ase.io.read(task["frames"], ":")
    elements = sorted(set(frames[0].numbers.tolist()))
    keys = KeySpecification(info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"})
    table = AtomicNumberTable(elements)
    configurations = config_from_atoms_list(frames, key_specification=keys)
    loader = torch_geometric.dataloader.DataLoader(
        dataset=[AtomicData.from_config(one, z_table=table, cutoff=CUTOFF) for one in configurations],
        batch_size=task["batch_size"],
        shuffle=True,
        drop_last=True,
    )
    loss = WeightedEnergyForcesLoss(energy_weight=task["energy_weight"], forces_weight=task["forces_weight"])
    return training_job(_model(elements), loader, loss, take_step, task)


if __name__ == "__main__":
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads())
    serve(prepare, versions_of("mace-torch", "e3nn", "torch", "numpy", "ase"))
