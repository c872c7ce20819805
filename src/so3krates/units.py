"""Units and constants. Inside the package: eV, Å, atomic mass units; time in Å·√(u/eV).

Values: those of `ase.units` (CODATA 2014 in ASE 3), so that results agree with ASE to the last digit. A time step given
in fs is converted once, on entry.
"""

from types import MappingProxyType

from ase import units as _ase

FEMTOSECOND = _ase.fs
"""1 fs in the internal unit of time Å·√(u/eV)."""
PICOSECOND = 1000.0 * _ase.fs
BOLTZMANN = _ase.kB
"""k_B in eV/K."""
HARTREE = _ase.Hartree
BOHR = _ase.Bohr
KCAL_PER_MOL = _ase.kcal / _ase.mol
KJ_PER_MOL = _ase.kJ / _ase.mol
GPA = _ase.GPa
"""1 GPa in eV/Å³."""
KBAR = 0.1 * _ase.GPa
COULOMB = _ase.Hartree * _ase.Bohr
"""k_e = e²/(4πε₀) in eV·Å."""
INVERSE_CM = _ase.invcm
DEBYE = _ase.Debye

ENERGY_UNITS = MappingProxyType(
    {
        "eV": 1.0,
        "meV": 1e-3,
        "Hartree": HARTREE,
        "kcal/mol": KCAL_PER_MOL,
        "kJ/mol": KJ_PER_MOL,
        "Ry": 0.5 * HARTREE,
    }
)
LENGTH_UNITS = MappingProxyType({"Angstrom": 1.0, "Bohr": BOHR, "nm": 10.0})
