"""What tables in place of a network's radial functions change: forces with and without them, on made-up molecules."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase.data import covalent_radii

from so3krates._errors import InputError
from so3krates._typing import Float, Int
from so3krates.inference import TOLERANCE
from so3krates.model import SO3krates
from so3krates.nn.tabulated import TabulatedAttention
from so3krates.potential import Potential
from so3krates.system import System
from so3krates.term import Sum, Term

STRUCTURES = 24
ATOMS = 16
BONDS = (0.92, 1.15)
"""Lengths of the bonds that molecules are grown by, in units of the sum of covalent radii."""
CLOSEST = 0.9
"""In the same units; atoms that are not bonded come no nearer than this."""
TRIES = 400
SENSIBLE = 50.0
"""eV/Å; a molecule with a larger force is one that the model knows nothing of, and tells nothing of its tables."""


class TableCheck(NamedTuple):
    """Forces with tables against forces without, in double precision."""

    tolerance: float
    """eV/Å; what the tables were made for."""
    intervals: tuple[int, ...]
    """Of the tables, layer by layer."""
    largest_change: float
    """Of the force on any atom, eV/Å."""
    mean_change: float
    structures: int


def check_tables(
    potential: Potential, systems: list[System] | None = None, tolerance: float = TOLERANCE, seed: int = 0
) -> TableCheck:
    """Compare forces of the network with and without tables.

    Args:
        potential: a potential in double precision with a network.
        systems: structures to compare on; molecules grown at random from the elements of the model if not given.
        tolerance: of the tables, eV/Å.
        seed: of these molecules.

    Raises:
        InputError: for a potential without a network, in single precision, or without known elements and structures,
            and if the model gives sensible forces on none of these.
    """
    network = _network(potential.model)
    if potential.dtype != np.float64:
        raise InputError("tables are checked in double precision; load the model with dtype='float64'.")
    if systems is None:
        if potential.elements is None:
            raise InputError("the model names no elements to make molecules of; give structures to check tables on.")
        systems = random_molecules(np.array(potential.elements.numbers), seed)
    exact = Potential(network)
    fast = replace(exact, tolerance=tolerance)
    layers = _network(fast.fast).layers
    intervals = [each.attention.table.intervals for each in layers if isinstance(each.attention, TabulatedAttention)]
    pairs = zip(exact.predict(systems), fast.predict(systems), strict=True)
    known = [(one.forces, other.forces) for one, other in pairs if np.abs(one.forces).max() < SENSIBLE]
    if not known:
        raise InputError(
            f"on each of {len(systems)} structures the model gives forces above {SENSIBLE:g} eV/Å, so it was not made "
            "for them; check tables on structures it was trained for (so3krates.analysis.tables.check_tables)."
        )
    change = np.concatenate([np.linalg.norm(one - other, axis=1) for one, other in known])
    return TableCheck(tolerance, tuple(intervals), float(change.max()), float(change.mean()), len(known))


def _network(term: Term) -> SO3krates:
    terms = term.terms if isinstance(term, Sum) else (term,)
    networks = [each for each in terms if isinstance(each, SO3krates)]
    if not networks:
        raise InputError("the potential has no network, hence no tables.")
    return networks[0]


def random_molecules(numbers: Int[np.ndarray, " elements"], seed: int = 0, count: int = STRUCTURES) -> list[System]:
    """Molecules grown atom by atom: each at a bond's length from one that is there, and not too near to the others."""
    rng = np.random.default_rng(seed)
    return [_grown(numbers, rng) for _ in range(count)]


def _grown(numbers: Int[np.ndarray, " elements"], rng: np.random.Generator) -> System:
    chosen = [int(rng.choice(numbers))]
    positions = [np.zeros(3)]
    for _ in range(TRIES):
        if len(chosen) == ATOMS:
            break
        number, anchor = int(rng.choice(numbers)), int(rng.integers(len(chosen)))
        direction = rng.normal(size=3)
        length = rng.uniform(*BONDS) * (covalent_radii[number] + covalent_radii[chosen[anchor]])
        place = positions[anchor] + length * direction / np.linalg.norm(direction)
        if _free(place, number, np.array(positions), np.array(chosen), anchor):
            chosen.append(number)
            positions.append(place)
    odd = sum(chosen) % 2
    return System(np.array(positions), np.array(chosen), unpaired=float(odd))


def _free(
    place: Float[np.ndarray, " 3"],
    number: int,
    positions: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
    anchor: int,
) -> bool:
    distances = np.linalg.norm(positions - place, axis=1)
    near = distances < CLOSEST * (covalent_radii[number] + covalent_radii[numbers])
    near[anchor] = False
    return not near.any()
