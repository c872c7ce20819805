"""Neighbour lists: `host` (any cell, NumPy) and `dense` (inside compiled code, all pairs). Same pairs, each once."""

from so3krates.neighbors.dense import DenseNeighbors, Pairs, allocate
from so3krates.neighbors.host import find_pairs

__all__ = ["DenseNeighbors", "Pairs", "allocate", "find_pairs"]
