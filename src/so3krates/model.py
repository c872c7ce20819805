"""SO3krates: from a graph to per-atom energies."""

from dataclasses import replace
from math import sqrt
from typing import Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from so3krates._errors import ConfigError
from so3krates._precision import checked_dtype, precision_scope
from so3krates._safe import masked, masked_norm
from so3krates._typing import Array, Float, PRNGKeyArray
from so3krates.config import Config
from so3krates.graph import Graph
from so3krates.nn.attention import Attention, Coefficients, PairGeometry
from so3krates.nn.cutoff import CUTOFF_FUNCTIONS
from so3krates.nn.embedding import ElectronicEmbedding, ElementEmbedding, neighbor_harmonics
from so3krates.nn.exchange import Exchange
from so3krates.nn.fused import FusedLayers, Variant, fits
from so3krates.nn.heads import ChargeHead, EnergyHead, HirshfeldHead
from so3krates.nn.layer import Layer
from so3krates.nn.packed import packed
from so3krates.nn.radial import RADIAL_BASES, basis_scale
from so3krates.nn.radial_table import RadialTable
from so3krates.nn.spherical import spherical_harmonics
from so3krates.nn.tabulated import RadialPart, TabulatedAttention, filter_tables
from so3krates.term import Outputs

EMBEDDING_SCALE = 0.5
"""Initial size of the features. Attention is cubic in them: much smaller, and at first atoms hardly see each other;
much larger, and without normalisation the layers run away."""


class ModelConfig(Config):
    """Architecture. The defaults are those of the article's model (Nat. Commun. 15, 6539)."""

    features: PositiveInt = Field(default=132, description="F, features per atom; divisible by heads and |degrees|")
    layers: PositiveInt = Field(default=3, description="number of layers")
    heads: PositiveInt = Field(default=4, description="H, attention heads of the invariant update")
    degrees: tuple[int, ...] = Field(
        default=(1, 2, 3), description="D, degrees l of the Euclidean variables; [0] is the invariant control model"
    )
    cutoff: PositiveFloat = Field(default=5.0, description="r_c in Å")
    cutoff_function: Literal["cosine", "polynomial", "exponential"] = Field(default="cosine", description="φ(r)")
    radial_basis: Literal["physnet", "bernstein", "gaussian", "fourier"] = Field(
        default="physnet", description="basis of r"
    )
    radial_functions: int = Field(default=32, ge=2, description="K, number of radial basis functions")
    attention_scale: Literal["sqrt_head_features", "mean_neighbors", "none"] = Field(
        default="sqrt_head_features", description="c of eq. 21: √F_h, the mean number of neighbours, or 1"
    )
    mean_neighbors: PositiveFloat | None = Field(
        default=None, description="⟨N⟩, mean number of neighbours; training measures it when it is needed and not given"
    )
    euclidean_start: Literal["zero", "neighbors"] = Field(
        default="zero", description="initial Euclidean variables: zero, or eq. 11 of the article"
    )
    attention_norm: bool = Field(default=False, description="LayerNorm after the attention skip")
    residual_mlp: bool = Field(default=False, description="residual MLP before the exchange")
    exchange_norm: bool = Field(default=False, description="LayerNorm after the exchange skip")
    charge_embedding: bool = Field(default=False, description="embed the total charge")
    spin_embedding: bool = Field(default=False, description="embed the number of unpaired electrons")
    energy_features: PositiveInt | None = Field(default=None, description="hidden width of the head; F if not given")
    charges: bool = Field(default=False, description="predict partial charges, which add up to the total charge")
    hirshfeld_ratios: bool = Field(default=False, description="predict Hirshfeld ratios, which dispersion needs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.degrees or list(self.degrees) != sorted(set(self.degrees)) or self.degrees[0] < 0:
            raise ValueError(f"degrees {list(self.degrees)} must be distinct, ascending and not negative")
        for name, count in (("heads", self.heads), ("the number of degrees", len(self.degrees))):
            if self.features % count:
                raise ValueError(f"features {self.features} is not divisible by {name} {count}")
        return self

    @property
    def needs_mean_neighbors(self) -> bool:
        return self.attention_scale == "mean_neighbors" or self.euclidean_start == "neighbors"

    def attention_scales(self) -> tuple[float, float]:
        """1/c for the heads of f and of x."""
        if self.attention_scale == "sqrt_head_features":
            return 1.0 / sqrt(self.features / self.heads), 1.0 / sqrt(self.features / len(self.degrees))
        c = self.mean_neighbors if self.attention_scale == "mean_neighbors" else 1.0
        assert c is not None
        return 1.0 / c, 1.0 / c


class Details(NamedTuple):
    """Everything the network computes on the way to the energies."""

    energies: Float[Array, " atoms"]
    features: Float[Array, "atoms features"]
    """Final invariant features f."""
    euclidean: Float[Array, "atoms orders"]
    """Final Euclidean variables x."""
    attention: tuple[Coefficients | None, ...]
    """Attention coefficients, one entry per layer; None where the compiled kernel ran, which does not keep them."""


class SO3krates(eqx.Module):
    """The network of the article: `model(graph)` gives per-atom energies in eV; padding gives exact zeros.

    No positions, cell or neighbour search inside: pair vectors in, energies out. The parameters are the leaves of
    this pytree; the configuration is static.
    """

    embedding: ElementEmbedding
    charge_embedding: ElectronicEmbedding | None
    spin_embedding: ElectronicEmbedding | None
    layers: tuple[Layer, ...]
    fused: FusedLayers | None
    """The same layers for the compiled kernel, in a network made ready for inference."""
    energy: EnergyHead
    charges: ChargeHead | None
    hirshfeld: HirshfeldHead | None
    config: ModelConfig = eqx.field(static=True)

    def __init__(self, config: ModelConfig, *, key: PRNGKeyArray, dtype: object = "float32") -> None:
        """Fresh parameters.

        Raises:
            ConfigError: if the configuration needs the mean number of neighbours and does not give it.
        """
        if config.needs_mean_neighbors and config.mean_neighbors is None:
            raise ConfigError("mean_neighbors is not given, and this configuration needs it; set model.mean_neighbors.")
        dtype = checked_dtype(dtype)
        features = config.features
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        with precision_scope(dtype):
            electronic = (config.charge_embedding, config.spin_embedding)
            # The sum of n embeddings is divided by √n, and those of charge and spin begin small.
            scale = EMBEDDING_SCALE * sqrt(1 + sum(electronic))
            self.embedding = ElementEmbedding(features, rng=rng, dtype=dtype, scale=scale)
            self.charge_embedding, self.spin_embedding = (
                ElectronicEmbedding(features, rng=rng, dtype=dtype) if wanted else None for wanted in electronic
            )
            basis = basis_scale(config.radial_basis, config.radial_functions, config.cutoff)
            self.layers = tuple(_layer(config, basis, rng, dtype) for _ in range(config.layers))
            self.fused = None
            self.energy = EnergyHead(features, config.energy_features or features, rng=rng, dtype=dtype)
            self.charges = ChargeHead(features, rng=rng, dtype=dtype) if config.charges else None
            self.hirshfeld = HirshfeldHead(features, rng=rng, dtype=dtype) if config.hirshfeld_ratios else None
        self.config = config

    @property
    def name(self) -> str:
        return "network"

    @property
    def long_range(self) -> bool:
        return False

    @property
    def mesh_spacing(self) -> None:
        return None

    @property
    def predicts_charges(self) -> bool:
        return self.charges is not None

    @property
    def predicts_ratios(self) -> bool:
        return self.hirshfeld is not None

    @property
    def cutoff(self) -> float:
        """r_c in Å."""
        return self.config.cutoff

    @property
    def dtype(self) -> jnp.dtype:
        return self.embedding.table.dtype

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """Per-atom energies in eV, without any constant reference energies of the elements."""
        return self.details(graph).energies

    def outputs(self, graph: Graph) -> Outputs:
        """Energies, and charges and Hirshfeld ratios if the network predicts them."""
        details = self.details(graph)
        charges = None if self.charges is None else self.charges(details.features, graph)
        ratios = None if self.hirshfeld is None else self.hirshfeld(details.features, graph)
        return Outputs(details.energies, {self.name: details.energies}, charges, ratios)

    def details(self, graph: Graph) -> Details:
        """Energies together with final features, Euclidean variables and attention coefficients.

        What is not used costs nothing under `jax.jit`.
        """
        geometry = self._geometry(graph)
        f = self._features(graph)
        if self.charge_embedding is not None or self.spin_embedding is not None:
            graph = replace(graph, kinds=None)  # atoms of an element differ from the start
        x = self._start(geometry, graph)
        attention: list[Coefficients | None] = [None] * len(self.layers)
        if self.fused is not None and graph.inference and jax.default_backend() == "cpu":
            f, x = self.fused(f, x, graph)
        else:
            for n, layer in enumerate(self.layers):
                f, x, attention[n] = layer(f, x, geometry, graph)
        assert x is not None  # there is at least one layer
        energies = masked(self.energy(f, graph.numbers), graph.atom_mask)
        return Details(energies, f, x, tuple(attention))

    def tabulated(self, tolerance: float, variant: Variant | None) -> "SO3krates":
        """The same network with tables in place of its radial networks, for inference.

        Args:
            tolerance: of the slopes of the tables, 1/Å (`radial_table.tabulate`).
            variant: instruction set of the compiled kernel; None for the path in JAX alone.

        Raises:
            InputError: if no table keeps to the tolerance.
        """
        config = self.config
        exact = [layer.attention for layer in self.layers if isinstance(layer.attention, Attention)]
        if len(exact) < len(self.layers):
            return self
        radial = RadialPart(config.cutoff, config.cutoff_function, config.radial_basis, config.radial_functions)
        zero = config.euclidean_start == "zero"
        knots, tables = filter_tables(exact, radial, starts_at_zero=zero, tolerance=tolerance)
        layers = []
        for n, layer in enumerate(self.layers):
            with precision_scope(self.dtype):
                table = RadialTable(jnp.asarray(knots, self.dtype), jnp.asarray(tables[:, :, n], self.dtype))
            attention = TabulatedAttention(exact[n], table, zero and n == 0)
            layers.append(eqx.tree_at(lambda each: each.attention, layer, attention))
        fused = None
        if variant is not None and fits(config.degrees):
            fused = packed(self.layers, knots, tables, starts_at_zero=zero, variant=variant, dtype=self.dtype)
        return eqx.tree_at(
            lambda model: (model.layers, model.fused), self, (tuple(layers), fused), is_leaf=lambda leaf: leaf is None
        )

    def _geometry(self, graph: Graph) -> PairGeometry:
        config = self.config
        r = masked_norm(graph.vectors, graph.pair_mask)
        phi = masked(CUTOFF_FUNCTIONS[config.cutoff_function](r, config.cutoff), graph.pair_mask)
        basis = RADIAL_BASES[config.radial_basis](r, config.radial_functions, config.cutoff)
        harmonics = spherical_harmonics(graph.vectors / r[:, None], config.degrees)
        return PairGeometry(r, basis, phi, harmonics)

    def _features(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Sum of n embeddings over √n, as the published weights have it."""
        embeddings = [self.embedding(graph)]
        if self.charge_embedding is not None:
            embeddings.append(self.charge_embedding(graph.charge, graph))
        if self.spin_embedding is not None:
            embeddings.append(self.spin_embedding(graph.unpaired, graph))
        return sum(embeddings[1:], start=embeddings[0]) / sqrt(len(embeddings))

    def _start(self, geometry: PairGeometry, graph: Graph) -> Float[Array, "atoms orders"] | None:
        config = self.config
        if config.euclidean_start == "zero":
            return None
        assert config.mean_neighbors is not None
        return neighbor_harmonics(geometry, graph, config.degrees, config.mean_neighbors)


def _layer(config: ModelConfig, basis_scale: float, rng: np.random.Generator, dtype: object) -> Layer:
    attention = Attention(
        config.features,
        config.heads,
        config.degrees,
        config.radial_functions,
        config.attention_scales(),
        basis_scale,
        rng=rng,
        dtype=dtype,
    )
    return Layer(
        attention,
        Exchange(config.features, config.degrees, rng=rng, dtype=dtype),
        features=config.features,
        attention_norm=config.attention_norm,
        residual_mlp=config.residual_mlp,
        exchange_norm=config.exchange_norm,
        rng=rng,
        dtype=dtype,
    )
