"""Compiled programs lie in memory maps, of which Linux gives a process 65,530; the compiler dies for want of one more.

A few hundred structures of different sizes in one process are enough: each size has programs of its own, a dynamics run
takes some two thousand maps, and JAX keeps all of them.
"""

from pathlib import Path

import jax

MAPS = Path("/proc/self/maps")
LIMIT = Path("/proc/sys/vm/max_map_count")
SHARE = 0.5
"""Of the maps a process may have; beyond it programs are forgotten."""


def forget_if_too_many() -> bool:
    """Give back all compiled programs if they take more than half of the memory maps; those needed again are compiled
    again. Whether it happened. Without effect but on Linux."""
    try:
        many = MAPS.read_bytes().count(b"\n") > SHARE * int(LIMIT.read_text())
    except (OSError, ValueError):
        return False
    if many:
        jax.clear_caches()
    return many
