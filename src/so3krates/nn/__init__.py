"""Building blocks of the network, one idea per file; shapes in the signatures, equations in the docstrings."""
