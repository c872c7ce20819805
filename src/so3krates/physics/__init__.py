"""Analytic pair terms: energies on graphs, to be used alone or added to a network by `Sum`."""
