"""Array types and the legend of axis names used in every signature.

| axis | meaning |
|---|---|
| `atoms` | atoms of a graph, all structures together, padding included |
| `pairs` | pairs of neighbours, each pair once, padding included |
| `structures` | structures in a batch |
| `features` | F invariant features per atom |
| `heads`, `degrees` | attention heads of the invariant and of the Euclidean update |
| `orders` | Σ_l (2l+1): all orders m of all degrees l, degree after degree, m = −l…l |
| `functions` | radial basis functions |
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt

if TYPE_CHECKING:
    AnyArray = Any
else:
    AnyArray = Array | np.ndarray
"""What a pytree holds: NumPy while it is on the host, JAX inside compiled code."""

__all__ = ["AnyArray", "Array", "Bool", "Float", "Int", "PRNGKeyArray", "UInt"]
