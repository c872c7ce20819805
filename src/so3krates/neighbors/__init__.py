"""Neighbour lists: `host` (any cell, NumPy), `dense` (inside compiled code, all pairs) and `cell_list` (likewise, in
linear time). Same pairs, each once; `allocate` chooses between the latter two."""

from so3krates.neighbors.cell_list import CellNeighbors
from so3krates.neighbors.choice import allocate
from so3krates.neighbors.dense import DenseNeighbors
from so3krates.neighbors.host import find_pairs
from so3krates.neighbors.pairs import Pairs

__all__ = ["CellNeighbors", "DenseNeighbors", "Pairs", "allocate", "find_pairs"]
