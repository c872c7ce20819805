// Long-range pairs for one instruction set; compiled once for each with other flags (CMakeLists.txt).
#include <cstring>

#include "far_choice.h"
#include "far_pairs.h"
#include "far_terms.h"

#define SO3K_TEXT(name) #name
#define SO3K_NAME(name) SO3K_TEXT(name)

namespace so3krates {
namespace SO3K_VARIANT {
namespace {

template <class T>
using Column = T[kFarRoom];

// Numbers of the chosen pairs, gathered; a register is filled up with pairs that do no harm.
template <class T>
struct FarValues {
  alignas(64) Column<T> length, first_charge, second_charge, first_alpha, second_alpha, periods;

  void gather(const FarTerms& terms, const FarPairs<T>& pairs, const FarAtoms<T>& atoms, const FarChoice<T>& chosen) {
    const int filled = (chosen.count + Simd<T>::lanes - 1) / Simd<T>::lanes * Simd<T>::lanes;
    for (int n = 0; n < chosen.count; ++n) length[n] = pairs.lengths[chosen.place[n]];
    for (int n = chosen.count; n < filled; ++n) length[n] = 1;
    if (terms.electrostatics) {
      for (int n = 0; n < chosen.count; ++n) {
        first_charge[n] = atoms.charges[chosen.center[n]];
        second_charge[n] = atoms.charges[chosen.other[n]];
      }
      for (int n = chosen.count; n < filled; ++n) first_charge[n] = second_charge[n] = 0;
    }
    if (terms.dispersion) {
      for (int n = 0; n < chosen.count; ++n) {
        first_alpha[n] = atoms.alphas[chosen.center[n]];
        second_alpha[n] = atoms.alphas[chosen.other[n]];
        periods[n] = atoms.periods[chosen.center[n]] + atoms.periods[chosen.other[n]];
      }
      for (int n = chosen.count; n < filled; ++n) first_alpha[n] = second_alpha[n] = periods[n] = 1;
    }
  }
};

template <class T>
struct Inside {
  const FarPairs<T>& pairs;
  const T* cutoffs;
  bool operator()(int64_t n, int64_t structure) const { return pairs.mask[n] & (pairs.lengths[n] < cutoffs[structure]); }
};

template <class T>
void energies(const FarShape& s, const FarTerms& terms, const FarPairs<T>& pairs, const FarAtoms<T>& atoms,
              const FarForward<T>& out, int64_t part) {
  T* sums = out.sums + part * s.atoms * 2;
  std::memset(static_cast<void*>(sums), 0, sizeof(T) * s.atoms * 2);
  FarChoice<T> chosen(s, pairs, part);
  FarValues<T> of;
  FarConstants<T> k(terms, atoms.cutoffs[0]);
  alignas(64) T half[2][kFarRoom] = {};
  while (chosen.fill(Inside<T>{pairs, atoms.cutoffs}, [](int64_t, int64_t) {})) {
    if (s.structures > 1) k = FarConstants<T>(terms, atoms.cutoffs[chosen.structure]);
    of.gather(terms, pairs, atoms, chosen);
    for (int n = 0; n < chosen.count; n += Simd<T>::lanes) {
      const Vec<T> length = load(of.length + n);
      if (terms.electrostatics) {
        const FarCoulomb<T> coulomb(k, length);
        const Vec<T> charges = load(of.first_charge + n) * load(of.second_charge + n);
        store(half[0] + n, T(0.5) * k.charge_unit * charges * coulomb.value);
      }
      if (terms.dispersion) {
        const FarDispersion<T> own(k, length, load(of.first_alpha + n), load(of.second_alpha + n),
                                   load(of.periods + n));
        store(half[1] + n, T(0.5) * own.value);
      }
    }
    chosen.template add<2, 2>(half, half, sums);
  }
}

// Both ends of a pair have half of its energy: its cotangent is the mean of theirs.
template <class T>
void gather_means(const T* cotangents, const FarChoice<T>& chosen, Column<T>& to) {
  for (int n = 0; n < chosen.count; ++n)
    to[n] = T(0.5) * (cotangents[chosen.center[n]] + cotangents[chosen.other[n]]);
}

template <class T>
void slopes(const FarShape& s, const FarTerms& terms, const FarPairs<T>& pairs, const FarAtoms<T>& atoms,
            const FarBackward<T>& out, int64_t part) {
  T* sums = out.sums + part * s.atoms * 2;
  std::memset(static_cast<void*>(sums), 0, sizeof(T) * s.atoms * 2);
  FarChoice<T> chosen(s, pairs, part);
  FarValues<T> of;
  FarConstants<T> k(terms, atoms.cutoffs[0]);
  alignas(64) T first[2][kFarRoom] = {}, second[2][kFarRoom] = {}, mean[2][kFarRoom] = {};
  alignas(64) Column<T> slope;
  const auto forget = [&](int64_t from, int64_t to) {
    std::memset(static_cast<void*>(out.lengths + from), 0, sizeof(T) * (to - from));
  };
  while (chosen.fill(Inside<T>{pairs, atoms.cutoffs}, forget)) {
    if (s.structures > 1) k = FarConstants<T>(terms, atoms.cutoffs[chosen.structure]);
    of.gather(terms, pairs, atoms, chosen);
    if (terms.electrostatics) gather_means(out.cotangents, chosen, mean[0]);
    if (terms.dispersion) gather_means(out.cotangents + s.atoms, chosen, mean[1]);
    for (int n = 0; n < chosen.count; n += Simd<T>::lanes) {
      const Vec<T> length = load(of.length + n);
      Vec<T> sum{};
      if (terms.electrostatics) {
        const FarCoulomb<T> coulomb(k, length);
        const Vec<T> unit = k.charge_unit * load(mean[0] + n);
        const Vec<T> one = load(of.first_charge + n), other = load(of.second_charge + n);
        store(first[0] + n, unit * other * coulomb.value);
        store(second[0] + n, unit * one * coulomb.value);
        sum += unit * (one * other) * coulomb.slope;
      }
      if (terms.dispersion) {
        const FarDispersion<T> own(k, length, load(of.first_alpha + n), load(of.second_alpha + n),
                                   load(of.periods + n));
        const Vec<T> weight = load(mean[1] + n);
        store(first[1] + n, weight * own.by_first);
        store(second[1] + n, weight * own.by_second);
        sum += weight * own.slope;
      }
      store(slope + n, sum);
    }
    for (int n = 0; n < chosen.count; ++n) out.lengths[chosen.place[n]] = slope[n];
    chosen.template add<2, 2>(first, second, sums);
  }
}

// Every pair pushes its atoms apart along its vector.
template <class T>
void push(const FarShape& s, const FarPairs<T>& pairs, const FarPush<T>& out, int64_t part) {
  T* sums = out.sums + part * s.atoms * 4;
  T* virials = out.virials + part * s.structures * 6;
  std::memset(static_cast<void*>(sums), 0, sizeof(T) * s.atoms * 4);
  std::memset(static_cast<void*>(virials), 0, sizeof(T) * s.structures * 6);
  FarChoice<T> chosen(s, pairs, part);
  alignas(64) T vector[3][kFarRoom] = {}, first[3][kFarRoom], second[3][kFarRoom];
  alignas(64) Column<T> length, slope;
  const auto counts = [&](int64_t n, int64_t) { return pairs.mask[n] & (out.slopes[n] != 0); };
  while (chosen.fill(counts, [](int64_t, int64_t) {})) {
    for (int n = 0; n < chosen.count; ++n) {
      const int64_t pair = chosen.place[n];
      for (int c = 0; c < 3; ++c) vector[c][n] = out.vectors[pair * 3 + c];
      length[n] = pairs.lengths[pair];
      slope[n] = out.slopes[pair];
    }
    const int filled = (chosen.count + Simd<T>::lanes - 1) / Simd<T>::lanes * Simd<T>::lanes;
    for (int n = chosen.count; n < filled; ++n) {
      for (int c = 0; c < 3; ++c) vector[c][n] = 0;
      length[n] = 1;
      slope[n] = 0;
    }
    Vec<T> virial[6] = {};
    for (int n = 0; n < filled; n += Simd<T>::lanes) {
      const Vec<T> along = load(slope + n) / load(length + n);
      Vec<T> r[3], g[3];
      for (int c = 0; c < 3; ++c) {
        r[c] = load(vector[c] + n);
        g[c] = along * r[c];
        store(first[c] + n, g[c]);
        store(second[c] + n, -g[c]);
        virial[c] += r[c] * g[c];
      }
      virial[3] += r[1] * g[2];
      virial[4] += r[0] * g[2];
      virial[5] += r[0] * g[1];
    }
    for (int c = 0; c < 6; ++c) virials[chosen.structure * 6 + c] += sum<T>(virial[c]);
    chosen.template add<3, 4>(first, second, sums);
  }
}

template <class T>
constexpr FarStages<T> stages() {
  return {energies<T>, slopes<T>, push<T>};
}

}  // namespace

extern const FarVariant far_variant;
const FarVariant far_variant = {SO3K_NAME(SO3K_VARIANT), stages<float>(), stages<double>()};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
