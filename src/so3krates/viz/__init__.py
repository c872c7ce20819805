"""Pictures: plots of errors, energies, bonds and spectra, and the report page that holds them."""
