"""Terms made ready for inference: tables in place of radial networks, and the compiled kernels where there are any."""

import jax
import numpy as np

from so3krates._errors import InputError
from so3krates._precision import checked_dtype
from so3krates.model import SO3krates
from so3krates.nn.fused import preferred
from so3krates.physics.far_kernel import widest
from so3krates.physics.fused_long_range import fused_terms
from so3krates.term import Sum, Term

TOLERANCE = 1e-4
"""eV/Å; by how much tables may change forces unless it is said otherwise."""
SLOPES_PER_FORCES = 0.025
"""Å⁻¹ per eV/Å; how far slopes of tables may be off for a tolerance of forces. Of the models that were compared, forces
of SO3LR are the most sensitive; `so3krates info --tables` measures it for any model."""


def default_tolerance(dtype: object) -> float | None:
    """Tables in single precision; none in double precision, which is for verification."""
    return TOLERANCE if checked_dtype(dtype) == np.float32 else None


def for_inference(term: Term, tolerance: float) -> Term:
    """The same energies and forces within `tolerance` in eV/Å, faster; differentiable once.

    Raises:
        InputError: for a tolerance that is not positive.
    """
    if not tolerance > 0.0:
        raise InputError(f"a tolerance of {tolerance} eV/Å for tables; it must be positive, or None for exact filters.")
    if isinstance(term, SO3krates):
        # Now, also where this happens to be asked for inside a program that is being traced.
        with jax.ensure_compile_time_eval():
            return term.tabulated(SLOPES_PER_FORCES * tolerance, preferred())
    terms = term.terms if isinstance(term, Sum) else (term,)
    if preferred() is not None:
        terms = fused_terms(terms, widest())
    if isinstance(term, Sum):
        return Sum(tuple(for_inference(each, tolerance) for each in terms))
    return terms[0]
