"""Many-body-inspired dispersion: the van der Waals potential of quantum Drude oscillators, Hirshfeld-scaled."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from so3krates._errors import InputError
from so3krates._safe import masked
from so3krates._typing import Array, Float
from so3krates.graph import Graph
from so3krates.physics.electrostatics import of_pairs
from so3krates.physics.free_atoms import C6_COEFFICIENTS, POLARIZABILITIES
from so3krates.physics.switch import smooth_step
from so3krates.term import AnalyticTerm
from so3krates.units import BOHR, HARTREE

FINE_STRUCTURE = 0.0072973525693
DAMPING_LENGTH = 2.0 * 2.54
"""Of the damping radius p = scale · 2 · 2.54 α^{1/7}, atomic units."""
SWITCH_WIDTH = 2.0
"""Å; dispersion is switched off over the last ones before the cutoff."""
WIDTH_POLYNOMIAL = (-0.00433008, 0.24428889, 0.04125273, -0.00078893)
"""s = b₃R³ + b₂R² + b₁R + b₀, from b₀ to b₃."""


class Dispersion(AnalyticTerm):
    """E = −Σ_pairs [C₆/(r⁶ + p⁶) + C₈/(r⁸ + p⁸) + C₁₀/(r¹⁰ + p¹⁰)] S(r; R − 2 Å, R), half of it to each atom.

    In atomic units, with h the Hirshfeld ratios in the graph: α_i = α_free h_i, C₆_i = C₆_free h_i²;
    α = (α_i + α_j)/2, C₆ = 2 C₆_i C₆_j α_i α_j/(α_i² C₆_j + α_j² C₆_i); the van der Waals radius
    R_vdW = α_fs^{−4/21} α^{1/7} gives the width s and γ = 1/(2s²); C₈ = 5C₆/γ, C₁₀ = 245 C₆/(8γ²).

    Source: vdW-QDO (doi 10.1021/acs.jctc.3c00797) as in SO3LR (doi 10.1021/jacs.5c09558).
    """

    name = "dispersion"
    cutoff = 0.0

    scale: float = eqx.field(static=True, default=1.2)
    """Of the damping radius."""

    @property
    def long_range(self) -> bool:
        return True

    def __call__(self, graph: Graph) -> Float[Array, " atoms"]:
        """eV.

        Raises:
            InputError: if no term before this one gives Hirshfeld ratios.
        """
        pairs, ratios = graph.long_range, graph.hirshfeld_ratios
        if pairs is None or ratios is None:
            raise InputError(
                "dispersion needs long-range pairs and Hirshfeld ratios; put a network that predicts them, or "
                "FixedRatios, before it in a Sum."
            )
        cutoff = of_pairs(pairs.cutoff, graph)
        # Beyond the cutoff nothing counts, and powers of ten would leave float32.
        mask = pairs.mask & (pairs.lengths < cutoff)
        length = jnp.where(mask, pairs.lengths, 1.0)
        ratios = jnp.where(graph.atom_mask, ratios, 1.0)
        alpha = jnp.asarray(by_number(POLARIZABILITIES), ratios.dtype)[graph.numbers] * ratios
        c6 = jnp.asarray(by_number(C6_COEFFICIENTS), ratios.dtype)[graph.numbers] * ratios * ratios
        energy = pair_dispersion(length / BOHR, *pairs.ends(alpha), *pairs.ends(c6), self.scale)
        switch = smooth_step(length, cutoff - SWITCH_WIDTH, cutoff)
        half = masked(0.5 * HARTREE * energy * switch, mask)
        return pairs.to_atoms(half, half, graph.atoms)


def pair_dispersion(
    r: Float[Array, " pairs"],
    alpha_i: Float[Array, " pairs"],
    alpha_j: Float[Array, " pairs"],
    c6_i: Float[Array, " pairs"],
    c6_j: Float[Array, " pairs"],
    scale: float,
) -> Float[Array, " pairs"]:
    """Energy of pairs without any switch; everything in atomic units."""
    alpha = 0.5 * (alpha_i + alpha_j)
    c6 = 2.0 * c6_i * c6_j * alpha_i * alpha_j / (alpha_i * alpha_i * c6_j + alpha_j * alpha_j * c6_i)
    root = alpha ** (1.0 / 7.0)
    radius = FINE_STRUCTURE ** (-4.0 / 21.0) * root
    b0, b1, b2, b3 = WIDTH_POLYNOMIAL
    width = b0 + radius * (b1 + radius * (b2 + radius * b3))
    inverse_gamma = 2.0 * width * width
    c8 = 5.0 * c6 * inverse_gamma
    c10 = 245.0 / 8.0 * c6 * inverse_gamma * inverse_gamma
    r2, p2 = r * r, (scale * DAMPING_LENGTH * root) ** 2
    r4, p4 = r2 * r2, p2 * p2
    return -(c6 / (r4 * r2 + p4 * p2) + c8 / (r4 * r4 + p4 * p4) + c10 / (r4 * r4 * r2 + p4 * p4 * p2))


def by_number(values: tuple[float, ...]) -> Float[np.ndarray, " elements"]:
    """Values of free atoms by atomic number; row 0, which is padding, like hydrogen, so that nothing is divided by
    zero. Elements beyond the table give NaN."""
    return np.array((values[0], *values, *(np.nan,) * (118 - len(values))))
