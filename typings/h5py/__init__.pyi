# h5py ships no types, and what a checker infers from its source is wrong more often than right.
from typing import Any

def __getattr__(name: str) -> Any: ...
