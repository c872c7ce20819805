// What is computed of long-range pairs, as plain arrays: the interface between the FFI calls and the compiled variants.
//
// Pairs are a list with indices of atoms, or the table of all pairs of one structure without any: row i, column k is
// the pair of the atoms i and i + k + 1, counted round the end (so3krates/pair_table.py).
#pragma once

#include <cstdint>

namespace so3krates {

constexpr int64_t kMaxFarParts = 32;

struct FarShape {
  int64_t atoms, pairs, structures;
  int64_t columns;  // of the table; 0 for a list
  int64_t parts;    // of the pairs, each with sums of its own; fixed by the sizes alone, so that sums are too
};

// What so3krates/physics/electrostatics.py and dispersion.py know.
struct FarTerms {
  bool electrostatics, dispersion;
  double coulomb, bohr, hartree;  // units
  double width;                   // σ of the damped Coulomb interaction, Å
  double switch_from;             // in units of the cutoff: where its switch begins
  double switch_width;            // of that of dispersion, Å
  double radius, damping;         // R_vdW and p, both per α^{1/7}
  double polynomial[4];           // of the width of an oscillator, from b₀ on
};

// Every pointer is an array in rows, no gaps; what a layout or a term does not need may be anything.
template <class T>
struct FarPairs {
  const T* lengths;          // pairs
  const bool* mask;          // pairs
  const int32_t* centers;    // pairs
  const int32_t* others;     // pairs
  const int32_t* structure;  // atoms: index of the structure an atom belongs to
};

template <class T>
struct FarAtoms {
  const T* cutoffs;  // structures, Å
  const T* charges;  // atoms, e
  const T* alphas;   // atoms: polarisabilities, atomic units
  const T* periods;  // atoms: α²/C₆, atomic units, the same for any Hirshfeld ratio
};

template <class T>
struct FarEnergies {
  const T* cotangents;  // 2, atoms: of both energies; null: ones
  T* energies;          // 2, atoms: electrostatics, dispersion, eV; null: not wanted
  T* lengths;           // pairs: derivatives with respect to the lengths
  T* atoms;             // 2, atoms: with respect to charges and polarisabilities
  T* sums;              // parts, atoms, 4: all four
};

template <class T>
struct FarPush {
  const T* vectors;  // pairs, 3
  const T* slopes;   // pairs: dE/dr
  T* forces;         // atoms, 3
  T* virial;         // structures, 3, 3: Σ r ⊗ dE/dr
  T* sums;           // parts, atoms, 4: the last column is of no use
  T* virials;        // parts, structures, 3, 4: likewise
};

// Both work on one part of the pairs, and leave it to the caller to add up the sums of all parts.
template <class T>
struct FarStages {
  void (*evaluate)(const FarShape&, const FarTerms&, const FarPairs<T>&, const FarAtoms<T>&, const FarEnergies<T>&,
                   int64_t part);
  void (*push)(const FarShape&, const FarPairs<T>&, const FarPush<T>&, int64_t part);
};

// Where a part begins. Parts of the table are rows.
static inline int64_t far_start(const FarShape& s, int64_t part) {
  if (s.columns > 0) return s.pairs / s.columns * part / s.parts * s.columns;
  return s.pairs * part / s.parts;
}

}  // namespace so3krates
