"""Where a run starts from: fresh parameters, or those of a model file of which all, some or adapters are trained."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from ase.data import chemical_symbols
from jax.tree_util import keystr, tree_map_with_path

from so3krates._errors import ConfigError
from so3krates._precision import precision_scope
from so3krates.data.frames import Joined, Subset
from so3krates.data.readers import read_dataset
from so3krates.data.sample import Dataset
from so3krates.data.zero_of_energy import ShiftedEnergies, zero_of_energy
from so3krates.io.loading import load
from so3krates.io.parameters import listed, named_parameters
from so3krates.model import SO3krates
from so3krates.nn.low_rank import with_adapters, without_adapters
from so3krates.physics.dispersion import Dispersion
from so3krates.physics.electrostatics import Electrostatics
from so3krates.physics.full_range import FullRangeElectrostatics
from so3krates.physics.zbl import ZBL
from so3krates.potential import Potential
from so3krates.prediction import ElementTable
from so3krates.term import Sum, Term
from so3krates.training.config import PhysicsConfig, StartConfig, TrainConfig

Tell = Callable[[str], None]


class Start(NamedTuple):
    """The model a run begins with."""

    potential: Potential
    trained: Any
    """Filter of the parameters that are trained: a tree of booleans, or a function of leaves."""
    finished: Callable[[Term], Term]
    """The trained model as it is written to a file."""


def fresh(config: TrainConfig, elements: ElementTable) -> Start:
    """Random parameters for the network, with the analytic terms asked for."""
    with precision_scope(config.dtype):
        network = SO3krates(config.model, key=jax.random.key(config.seed), dtype=config.dtype)
        terms = (network, *_analytic_terms(config.physics, config))
    model = network if len(terms) == 1 else Sum(terms)
    potential = Potential(model, elements, long_range_cutoff=config.physics.long_range_cutoff)
    return Start(potential, eqx.is_inexact_array, lambda term: term)


def _analytic_terms(physics: PhysicsConfig, config: TrainConfig) -> tuple[Term, ...]:
    terms: list[Term] = []
    if physics.zbl:
        terms.append(ZBL(config.model.cutoff, config.model.cutoff_function, config.dtype))
    if physics.electrostatics:
        kind = FullRangeElectrostatics if physics.full_range else Electrostatics
        terms.append(kind(physics.electrostatics_width))
    if physics.dispersion:
        terms.append(Dispersion(physics.dispersion_scale))
    return tuple(terms)


def from_model(config: TrainConfig, start: StartConfig, train: Dataset, tell: Tell) -> Start:
    """Parameters and elements of a model file; its zero of energy moved to that of the training data.

    Raises:
        FileError: if the file cannot be read.
        InputError: for an element in the training data that the model does not know.
        ConfigError: for parameters to train that it does not have.
    """
    potential = load(start.model, config.dtype)
    if config.loss.energy:
        potential = _moved_zero(potential, train, tell)
    model = potential.model
    if start.adapter_rank is not None:
        with precision_scope(config.dtype):
            model = with_adapters(model, start.adapter_rank, config.seed)
    trained = _trained(model, start)
    count = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, trained)))
    if not count:
        raise ConfigError(
            f"start: nothing is left to train; {listed(list(start.parameters))} holds no dense layers, to which "
            "adapter_rank adds corrections. Name other parts, or leave adapter_rank out."
        )
    tell(f"starting from {start.model}; {count:,} parameters are trained")
    return Start(replace(potential, model=model), trained, without_adapters)


def _moved_zero(potential: Potential, train: Dataset, tell: Tell) -> Potential:
    zero = zero_of_energy(potential, train)
    assert potential.elements is not None
    if zero is None:
        return potential
    tell(zero.note)
    table = dict(zip(potential.elements.numbers, potential.elements.energies, strict=True))
    table |= {z: table[z] + shift for z, shift in zero.shifts.items()}
    elements = ElementTable(numbers=tuple(table), energies=tuple(table.values()))
    return replace(potential, elements=elements)


def with_elements_of(potential: Potential, train: Dataset, config: TrainConfig, tell: Tell) -> Potential:
    """Without the elements whose zero of energy was not moved with the others, since no structure holds them: sums of
    both kinds of energies would mean nothing. Where energies are not trained all elements stay."""
    assert potential.elements is not None
    if not config.loss.energy:
        return potential
    held = {int(z) for sample in train for z in sample.system.numbers}
    energies = dict(zip(potential.elements.numbers, potential.elements.energies, strict=True))
    kept = {z: energy for z, energy in energies.items() if z in held}
    if len(kept) < len(energies):
        tell(
            f"the tuned model knows {_symbols(kept)} only: no structure here says where the zero of energy is for "
            f"{_symbols(energies.keys() - kept.keys())}; start.replay with structures that hold them keeps them"
        )
    return replace(potential, elements=ElementTable(numbers=tuple(kept), energies=tuple(kept.values())))


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in sorted(numbers))


def _trained(model: Term, start: StartConfig) -> Any:
    """The tree of what is trained: parameters under the names given, or the adapters there."""
    names = list(named_parameters(model))
    places = {part: _places(model, part) for part in start.parameters if part != "all"}
    unknown = [part for part, prefixes in places.items() if not any(_under(name, prefixes) for name in names)]
    if unknown:
        first = sorted({_as_users_say(model, name).split(".")[0] for name in names})
        raise ConfigError(
            f"start.parameters: the model has no parameters under {listed(unknown)}; there are {', '.join(first)} and "
            "what lies below them, such as layers.2."
        )

    def chosen(path: tuple[object, ...], leaf: object) -> bool:
        name = keystr(path, simple=True, separator=".")
        wanted = "all" in start.parameters or any(_under(name, prefixes) for prefixes in places.values())
        adapter = name.endswith((".down", ".up"))
        return eqx.is_inexact_array(leaf) and wanted and (start.adapter_rank is None or adapter)

    return tree_map_with_path(chosen, model)


def _places(model: Term, part: str) -> tuple[str, ...]:
    """Where parameters that users call `part` are: in a sum those of the network go without its name, those of other
    terms begin with it."""
    if not isinstance(model, Sum):
        return (part,)
    head, _, rest = part.partition(".")
    inside = [f"terms.{n}.{rest}".rstrip(".") for n, term in enumerate(model.terms) if term.name == head]
    network = [f"terms.{n}.{part}" for n, term in enumerate(model.terms) if isinstance(term, SO3krates)]
    return (*inside, *network, part)


def _as_users_say(model: Term, name: str) -> str:
    if not isinstance(model, Sum):
        return name
    _, number, rest = name.split(".", 2)
    term = model.terms[int(number)]
    return rest if isinstance(term, SO3krates) else f"{term.name}.{rest}"


def _under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def with_replay(train: Dataset, start: StartConfig, config: TrainConfig, elements: ElementTable, tell: Tell) -> Dataset:
    """The training data together with as much of the old data as to make up `replay_share` of the whole.

    The old data keep the zero of energy of the old model; their energies are moved to the new one.
    """
    if start.replay is None:
        return train
    old = read_dataset(start.replay)
    count = min(round(len(train) * start.replay_share / (1.0 - start.replay_share)), len(old))
    chosen = np.sort(np.random.default_rng([config.seed, 3]).permutation(len(old))[:count])
    tell(f"replaying {count} of the {len(old)} structures of {start.replay}")
    replayed: Dataset = Subset(old, chosen)
    if config.loss.energy:
        zero = zero_of_energy(replace(load(start.model, config.dtype), elements=elements), replayed)
        if zero is not None:
            replayed = ShiftedEnergies(replayed, {z: -shift for z, shift in zero.shifts.items()})
    return Joined([train, replayed])
