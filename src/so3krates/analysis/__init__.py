"""Arrays in, arrays out: errors, spectra, stability and bond lengths, with NumPy and SciPy; and `evaluate`."""
