"""Why a neighbour list was not enough: bits of a whole number, which compiled code collects over the steps of a chunk.

What is short decides what is enlarged. More room leaves the order of pairs, and with it every bit of a run, as it was;
other images or another grid may not.
"""

import jax.numpy as jnp

from so3krates._typing import Array, Bool, Int

ROOM = 1
"""More pairs, or more atoms in one place, than there is room for."""
THIN = 2
"""A periodic cell has become so thin that the search would miss pairs."""
COARSE = 16
"""The cell has become so long that the points of the mesh lie too far apart."""
FAR = 2
"""By so many bits ROOM and THIN of the far list are shifted where both lists are meant."""
LIST = ROOM | THIN
OF_THE_CELL = THIN | THIN << FAR | COARSE
"""What another cell makes short, and another grid or mesh mends."""
BITS = 5


def causes(room: Bool[Array, ""], thin: Bool[Array, ""]) -> Int[Array, ""]:
    """Of one list; zero if it is complete."""
    return jnp.where(room, ROOM, 0).astype(jnp.int32) | jnp.where(thin, THIN, 0).astype(jnp.int32)


def combined(overflow: Int[Array, "*any"]) -> Int[Array, ""]:
    """Of several structures or devices. By maxima of single bits, since devices exchange those but no OR."""
    bits = jnp.arange(BITS, dtype=jnp.int32)
    return jnp.sum(jnp.max((overflow.reshape(-1, 1) >> bits) & 1, axis=0) << bits)
