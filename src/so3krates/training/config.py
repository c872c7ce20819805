"""Everything a training run is told; one declaration for YAML, command line and Python."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from so3krates.config import Config
from so3krates.data.sample import LABELS
from so3krates.model import ModelConfig


class DataConfig(Config):
    """Where training and validation data come from.

    Either `train` and `valid` name a file each, or `data` names one file that is split here. `FILE@NAME` takes the
    named split of a file.
    """

    train: Path | None = Field(default=None, description="training file, or FILE@SPLIT")
    valid: Path | None = Field(default=None, description="validation file, or FILE@SPLIT")
    data: Path | None = Field(default=None, description="one file to split into training and validation data")
    n_train: PositiveInt | None = Field(default=None, description="structures to train on, with `data`")
    n_valid: PositiveInt | None = Field(default=None, description="structures to validate on, with `data`")
    split: Literal["random", "blocks", "groups"] = Field(
        default="random",
        description="how `data` is split: at random, by blocks of time, or by groups",
    )
    split_seed: NonNegativeInt = Field(default=0, description="seed of the random split")
    split_gap: NonNegativeInt = Field(default=0, description="with blocks: frames left out between the blocks")
    group_size: PositiveInt | None = Field(
        default=None, description="with groups: so many consecutive frames are a group; null: the frames name theirs"
    )
    energy_unit: str | None = Field(default=None, description="unit of energies, if the file does not say: kcal/mol, …")
    length_unit: str | None = Field(default=None, description="unit of lengths, if the file does not say: Bohr, …")
    force_unit: str | None = Field(default=None, description="unit of forces, if it is not energy/length")
    stress_unit: str | None = Field(default=None, description="unit of stress, if it is not energy/length³: GPa, …")
    dipole_unit: str | None = Field(default=None, description="unit of dipoles, if it is not e·length: Debye")
    energy_key: str | None = Field(default=None, description="key of energies in extxyz, traj, db; null: the usual")
    forces_key: str | None = Field(default=None, description="key of forces, likewise")
    stress_key: str | None = Field(default=None, description="key of the stress, likewise")
    virials_key: str | None = Field(default=None, description="key of virials −σV, likewise")
    dipole_key: str | None = Field(default=None, description="key of the dipole, likewise")
    hirshfeld_key: str | None = Field(default=None, description="key of the Hirshfeld ratios, likewise")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.data is None) == (self.train is None):
            raise ValueError("give either `data` (with n_train, n_valid) or `train` (with `valid`)")
        if self.data is not None and (self.n_train is None or self.n_valid is None):
            raise ValueError("`data` needs n_train and n_valid")
        if self.train is not None and self.valid is None:
            raise ValueError("`train` needs `valid`")
        splitting = {"n_train", "n_valid", "split", "split_seed", "split_gap", "group_size"}
        foreign = ({"valid"} if self.data is not None else splitting) & self.model_fields_set
        given = sorted(name for name in foreign if getattr(self, name) != type(self).model_fields[name].default)
        if given:
            beside = "train" if self.data is None else "data"
            raise ValueError(f"`{given[0]}` has no effect beside `{beside}`; remove it")
        for name, method in (("split_gap", "blocks"), ("group_size", "groups"), ("split_seed", "random, groups")):
            if getattr(self, name) != type(self).model_fields[name].default and self.split not in method:
                raise ValueError(f"`{name}` has no effect with split: {self.split}, only with {method}; remove it")
        return self


class LossConfig(Config):
    """L = Σ_q w_q · mean ℓ(Δq); means over structures, components and atoms."""

    energy: NonNegativeFloat = Field(default=0.01, description="weight of the energy, per structure")
    forces: NonNegativeFloat = Field(default=0.99, description="weight of the forces, per component")
    stress: NonNegativeFloat = Field(default=0.0, description="weight of the stress, per component")
    dipole: NonNegativeFloat = Field(default=0.0, description="weight of the dipole, per component")
    hirshfeld_ratios: NonNegativeFloat = Field(default=0.0, description="weight of the Hirshfeld ratios, per atom")
    function: Literal["mse", "huber"] = Field(default="huber", description="ℓ: squared error, or Huber's function")
    huber_delta: PositiveFloat = Field(default=0.02, description="where Huber's function turns linear; eV, Å")
    energy_per_atom: bool = Field(default=False, description="divide energy differences by the number of atoms")

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(getattr(self, name) for name in LABELS):
            raise ValueError("all loss weights are zero")
        return self


class AnnealConfig(Config):
    """Linear warm-up, then a cosine from the peak to `final`·peak at the end of the budget."""

    kind: Literal["anneal"] = "anneal"
    warmup: float = Field(default=0.02, ge=0, lt=1, description="share of the budget spent warming up")
    final: float = Field(default=0.002, ge=0, le=1, description="learning rate at the end, relative to the peak")


class ExponentialConfig(Config):
    """lr·factor^(step/every), continuous; the recipe of the article, which stops at lr < stop_below."""

    kind: Literal["exponential"] = "exponential"
    factor: float = Field(default=0.7, gt=0, lt=1, description="decay")
    every: PositiveInt = Field(default=100_000, description="steps per factor")
    stop_below: PositiveFloat = Field(default=1e-5, description="training ends when the learning rate falls below this")


class ConstantConfig(Config):
    """A constant learning rate."""

    kind: Literal["constant"] = "constant"


Schedule = Annotated[AnnealConfig | ExponentialConfig | ConstantConfig, Field(discriminator="kind")]


class OptimizerConfig(Config):
    """Optimiser and schedule."""

    name: Literal["adam", "amsgrad", "adamw"] = Field(default="amsgrad", description="optimiser")
    learning_rate: PositiveFloat = Field(default=3e-3, description="peak learning rate")
    schedule: Schedule = AnnealConfig()
    clip_norm: PositiveFloat | None = Field(default=10.0, description="largest gradient norm; null for no clipping")
    weight_decay: NonNegativeFloat = Field(default=0.0, description="decoupled weight decay, with adamw")
    ema: float | None = Field(default=0.999, gt=0, lt=1, description="decay of the averaged parameters; null for none")

    @model_validator(mode="after")
    def _decay_is_used(self) -> Self:
        if self.weight_decay and self.name != "adamw":
            raise ValueError(f"weight_decay {self.weight_decay} needs name: adamw, not {self.name}")
        return self


class BudgetConfig(Config):
    """How long to train; exactly one of the three."""

    minutes: PositiveFloat | None = Field(
        default=None, description="wall-clock minutes after compilation, validation included"
    )
    steps: PositiveInt | None = Field(default=None, description="optimiser steps")
    epochs: PositiveInt | None = Field(default=None, description="passes over the training data")
    early_stop: PositiveInt | None = Field(
        default=None, description="stop after so many validations without a better result; null for never"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("minutes", "steps", "epochs") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of minutes, steps, epochs; received {given or 'none'}")
        return self


class LogConfig(Config):
    """What is written while training runs."""

    validate_every: PositiveInt | None = Field(
        default=None, description="steps between validations; null: about every 2 % of the budget"
    )
    wandb_project: str | None = Field(default=None, description="log to this Weights & Biases project")
    tensorboard: Path | None = Field(default=None, description="log to this TensorBoard folder")


class PhysicsConfig(Config):
    """Analytic terms beside the network."""

    zbl: bool = Field(default=False, description="repulsion of screened nuclei (ZBL), with trainable constants")
    electrostatics: bool = Field(default=False, description="Coulomb interaction of the predicted charges")
    electrostatics_width: PositiveFloat = Field(default=4.0, description="damping length σ of it, Å")
    full_range: bool = Field(
        default=False, description="sum it over all periodic images; neutral structures periodic along all axes only"
    )
    dispersion: bool = Field(default=False, description="dispersion with the predicted Hirshfeld ratios")
    dispersion_scale: PositiveFloat = Field(default=1.2, description="factor of its damping radius")
    long_range_cutoff: float | None = Field(
        default=None,
        gt=0,
        description="where electrostatics and dispersion end, Å; null: 12 for periodic structures, none for molecules",
    )

    @model_validator(mode="after")
    def _constants_are_used(self) -> Self:
        for constant, term in (
            ("electrostatics_width", "electrostatics"),
            ("full_range", "electrostatics"),
            ("dispersion_scale", "dispersion"),
        ):
            if getattr(self, constant) != type(self).model_fields[constant].default and not getattr(self, term):
                raise ValueError(f"`{constant}` has no effect without `{term}: true`; remove it")
        cut_off = self.dispersion or (self.electrostatics and not self.full_range)
        if self.long_range_cutoff is not None and not cut_off:
            raise ValueError("`long_range_cutoff` has no effect: nothing here ends at a cutoff; remove it")
        return self


class StartConfig(Config):
    """Fine-tuning: a model to start from, and what of it is trained."""

    model: str = Field(description="model file, or the name of published weights such as so3lr")
    parameters: tuple[str, ...] = Field(
        default=("all",),
        min_length=1,
        description="what is trained: all, or names of parts such as energy, layers.2, layers.2.exchange, zbl",
    )
    adapter_rank: PositiveInt | None = Field(
        default=None,
        description="train low-rank corrections of this rank to the dense layers instead of the parameters themselves",
    )
    replay: Path | None = Field(default=None, description="old training data, FILE or FILE@SPLIT, mixed into the new")
    replay_share: float = Field(default=0.5, gt=0, lt=1, description="share of the old data in an epoch")

    @model_validator(mode="after")
    def _share_is_used(self) -> Self:
        if self.replay is None and self.replay_share != type(self).model_fields["replay_share"].default:
            raise ValueError("`replay_share` has no effect without `replay`; remove it")
        return self


class TrainConfig(Config):
    """A training run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    physics: PhysicsConfig = PhysicsConfig()
    start: StartConfig | None = Field(default=None, description="fine-tune this model; null: fresh parameters")
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    budget: BudgetConfig = BudgetConfig(minutes=30)
    log: LogConfig = LogConfig()
    batch_size: PositiveInt | None = Field(
        default=None,
        description="structures per step; null: 4 below 1,000 structures, 10 below 10,000, else 100",
    )
    reference_energies: Literal["least_squares", "isolated_atoms"] = Field(
        default="least_squares",
        description="reference energy per element: fitted to the training energies, or taken from isolated atoms in "
        "the training data",
    )
    seed: NonNegativeInt = Field(default=0, description="seed of initial parameters and of the order of the data")
    dtype: Literal["float32", "float64"] = Field(default="float32", description="precision")
    output: Path = Field(default=Path("model.safetensors"), description="model file to write")

    @model_validator(mode="after")
    def _model_is_said_once(self) -> Self:
        if self.start is None:
            self._physics_is_predicted()
            return self
        for name in ("model", "physics"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` has no effect beside `start`, whose model says it; remove it")
        if self.reference_energies != type(self).model_fields["reference_energies"].default:
            raise ValueError(
                "`reference_energies` has no effect beside `start`: the zero of energy of its model is moved to that "
                "of the data; remove it"
            )
        return self

    def _physics_is_predicted(self) -> None:
        for user, needed in (
            ("physics.electrostatics", "charges"),
            ("physics.dispersion", "hirshfeld_ratios"),
            ("loss.dipole", "charges"),
            ("loss.hirshfeld_ratios", "hirshfeld_ratios"),
        ):
            section, name = user.split(".")
            if getattr(getattr(self, section), name) and not getattr(self.model, needed):
                raise ValueError(f"`{user}` needs `model.{needed}: true`")
