"""so3krates-torch: its ASE calculator, or its training step. Runs in an environment of its own."""

from typing import Any

import ase.io
import torch
from ase_step import ase_job, atoms_of
from serving import Job, serve, threads, versions_of
from so3krates_torch.modules.models import So3krates
from torch_training import count, training_job


def prepare(mode: str, task: dict[str, Any]) -> Job:
    if mode == "train":
        return _training(task)
    from so3krates_torch.calculator.so3 import SO3LRCalculator, TorchkratesCalculator

    if "model" in task:
        # The published weights come with the package.
        calculator = SO3LRCalculator(r_max_lr=task["long_range_cutoff"], default_dtype="float32")
        return ase_job(atoms_of(task), calculator, count(calculator.models[0]))
    model = _model()
    parameters = count(model)
    calculator = TorchkratesCalculator(models=model, model_type="so3krates", default_dtype="float32")
    return ase_job(atoms_of(task), calculator, parameters)


def _model() -> So3krates:
    """The article's sizes. The package has no physnet basis; its default, Gaussians, costs the same."""
    torch.manual_seed(0)
    return So3krates(
        r_max=5.0,
        num_radial_basis_fn=32,
        degrees=[1, 2, 3],
        num_features=132,
        num_heads=4,
        num_layers=3,
        energy_regression_dim=132,
        message_normalization="sqrt_num_features",
        radial_basis_fn="gaussian",
        cutoff_fn="cosine",
        initialize_ev_to_zeros=True,
        use_charge_embed=False,
        use_spin_embed=False,
        dtype=torch.float32,
    )


def _training(task: dict[str, Any]) -> Job:
    """Batches by its data loader, steps by its trainer: AMSGrad, gradients clipped at 10 (its default)."""
    from so3krates_torch.data.utils import KeySpecification
    from so3krates_torch.modules.loss import WeightedEnergyForcesLoss
    from so3krates_torch.tools.train import take_step
    from so3krates_torch.tools.utils import AtomicNumberTable, create_dataloader_from_list

    model = _model()
    loader = create_dataloader_from_list(
        atoms_list=ase.io.read(task["frames"], ":"),
        batch_size=task["batch_size"],
        r_max=5.0,
        r_max_lr=None,
        key_specification=KeySpecification(info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"}),
        shuffle=True,
        drop_last=True,
        z_table=AtomicNumberTable(list(range(1, 119))),
    )
    loss = WeightedEnergyForcesLoss(energy_weight=task["energy_weight"], forces_weight=task["forces_weight"])
    return training_job(model, loader, loss, take_step, task)


if __name__ == "__main__":
    torch.set_num_threads(threads())
    serve(prepare, versions_of("so3krates-torch", "torch", "numpy", "ase"))
