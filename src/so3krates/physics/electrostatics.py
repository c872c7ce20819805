"""Coulomb interaction of partial charges, damped at short range and shifted smoothly to zero at a cutoff."""

from math import pi, sqrt

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import erf

from so3krates._errors import InputError
from so3krates._safe import masked
from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.physics.switch import smooth_step
from so3krates.term import AnalyticTerm
from so3krates.units import COULOMB

SWITCH_FROM = 0.45
"""In units of the cutoff: where the shift in energy begins to turn into one in energy and force."""


def damped_coulomb(r: Float[Array, "*pairs"], width: float) -> Float[Array, "*pairs"]:
    """V(r) = erf(r/σ)/r, 1/Å: the interaction of Gaussian clouds of charge, 1/r beyond a few σ."""
    return erf(r / width) / r


def damped_coulomb_slope(r: Float[Array, "*pairs"], width: float) -> Float[Array, "*pairs"]:
    """V′(r) = 2/(√π σ r) e^{−(r/σ)²} − erf(r/σ)/r²."""
    u = r / width
    return (2.0 / (sqrt(pi) * width) * jnp.exp(-u * u) - erf(u) / r) / r


def shifted_coulomb(r: Float[Array, " pairs"], cutoff: float | Array, width: float) -> Float[Array, " pairs"]:
    """V_s = V(r) − V(R) near, V_s − V′(R)(r − R) at the cutoff, one turning into the other from 0.45 R to R; 1/Å.

    Energy and force vanish at the cutoff R, one number or one per pair. Source: SO3LR (doi 10.1021/jacs.5c09558).
    """
    cutoff = jnp.asarray(cutoff, r.dtype)
    near = smooth_step(r, SWITCH_FROM * cutoff, cutoff)
    shifted = damped_coulomb(r, width) - damped_coulomb(cutoff, width)
    value = shifted - (1.0 - near) * damped_coulomb_slope(cutoff, width) * (r - cutoff)
    return jnp.where(r < cutoff, value, 0.0)


class Electrostatics(AnalyticTerm):
    """E = k_e Σ_pairs q_i q_j V(r_ij), half of it to each atom, of the charges in the graph.

    The charges are those that a network before it in a `Sum` predicts, or `FixedCharges`. V is `shifted_coulomb` up to
    the long-range cutoff of the structure.
    """

    name = "electrostatics"
    cutoff = 0.0

    width: float = eqx.field(static=True, default=4.0)
    """σ, Å."""

    @property
    def long_range(self) -> bool:
        return True

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """eV.

        Raises:
            InputError: if no term before this one gives charges.
        """
        pairs, charges = graph.long_range, graph.charges
        if pairs is None or charges is None:
            raise InputError(
                "electrostatics needs long-range pairs and charges; put a network that predicts charges, or "
                "FixedCharges, before it in a Sum."
            )
        cutoff = of_pairs(pairs.cutoff, graph)
        first, second = pairs.ends(charges)
        energy = COULOMB * first * second
        half = masked(0.5 * energy * shifted_coulomb(pairs.lengths, cutoff, self.width), pairs.mask)
        return pairs.to_atoms(half, half, graph.atoms)


def of_pairs(values: Float[Array, " structures"], graph: Graph) -> Float[Array, " long"] | Float[Array, ""]:
    """Values of the structures that the long-range pairs belong to; a single number for a single structure."""
    assert graph.long_range is not None
    return values[0] if graph.structures == 1 else values[graph.structure[graph.long_range.centers]]
