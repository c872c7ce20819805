// Long-range pairs for one instruction set; compiled once for each with other flags (CMakeLists.txt).
#include <cstring>
#include <utility>

#include "far_choice.h"
#include "far_pairs.h"
#include "far_terms.h"

namespace so3krates {
namespace SO3K_VARIANT {
namespace {

template <class T>
using Column = T[kFarRoom];
template <class T>
using Quads = T[kFarRoom][4];

// One register of the lanes of two, by turns: `count` of the first, then as many of the second, from lane `start` on.
template <class T, int count, int start, int... n>
SO3K_INLINE Vec<T> mixed(Vec<T> a, Vec<T> b, std::integer_sequence<int, n...>) {
  constexpr int lanes = Simd<T>::lanes;
  return __builtin_shufflevector(
      a, b, ((n + start) / (2 * count) * count + (n + start) % count + (n + start) / count % 2 * lanes)...);
}

// Four registers become four numbers of every pair.
template <class T>
SO3K_INLINE void store_quads(T (*to)[4], Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> d) {
  constexpr int lanes = Simd<T>::lanes;
  constexpr auto all_lanes = std::make_integer_sequence<int, lanes>();
  T* out = to[0];
  const Vec<T> near_first = mixed<T, 1, 0>(a, b, all_lanes), near_second = mixed<T, 1, 0>(c, d, all_lanes);
  const Vec<T> far_first = mixed<T, 1, lanes>(a, b, all_lanes), far_second = mixed<T, 1, lanes>(c, d, all_lanes);
  store(out, mixed<T, 2, 0>(near_first, near_second, all_lanes));
  store(out + lanes, mixed<T, 2, lanes>(near_first, near_second, all_lanes));
  store(out + 2 * lanes, mixed<T, 2, 0>(far_first, far_second, all_lanes));
  store(out + 3 * lanes, mixed<T, 2, lanes>(far_first, far_second, all_lanes));
}

// Numbers of the chosen pairs, gathered; a register is filled up with pairs that do no harm.
template <class T>
struct FarValues {
  alignas(64) Column<T> length, first_charge, second_charge, first_alpha, second_alpha, periods;
  alignas(64) Column<T> coulomb_weight, dispersion_weight;

  FarValues() {
    for (int n = 0; n < kFarRoom; ++n) coulomb_weight[n] = dispersion_weight[n] = 1;
  }

  void gather(const FarTerms& terms, const FarPairs<T>& pairs, const FarAtoms<T>& atoms, const FarChoice<T>& chosen) {
    const int filled = (chosen.count + Simd<T>::lanes - 1) / Simd<T>::lanes * Simd<T>::lanes;
    for (int n = 0; n < chosen.count; ++n) length[n] = pairs.lengths[chosen.pair(n)];
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

  // Both ends of a pair have half of its energy: its cotangent is the mean of theirs.
  void weigh(const FarShape& s, const T* cotangents, const FarChoice<T>& chosen) {
    for (int n = 0; n < chosen.count; ++n) {
      const T *first = cotangents + chosen.center[n], *second = cotangents + chosen.other[n];
      coulomb_weight[n] = T(0.5) * (first[0] + second[0]);
      dispersion_weight[n] = T(0.5) * (first[s.atoms] + second[s.atoms]);
    }
  }
};

// Pairs within the cutoff.
template <class T>
struct Inside {
  const FarPairs<T>& pairs;
  const T* cutoffs;

  SO3K_INLINE uint8_t flag(int64_t n, int64_t structure) const {
    return pairs.mask[n] & (pairs.lengths[n] < cutoffs[structure]);
  }
  SO3K_INLINE void flags(int64_t n, int64_t structure, uint8_t* to) const {
    typename Bytes<T>::Vec real;
    std::memcpy(&real, pairs.mask + n, sizeof(real));
    real &= __builtin_convertvector(load(pairs.lengths + n) < cutoffs[structure], typename Bytes<T>::Vec);
    std::memcpy(to, &real, sizeof(real));
  }
};

// Pairs that push at all; padding does not.
template <class T>
struct Pushing {
  const T* slopes;

  SO3K_INLINE uint8_t flag(int64_t n, int64_t) const { return slopes[n] != 0; }
  SO3K_INLINE void flags(int64_t n, int64_t, uint8_t* to) const {
    const auto pushing = __builtin_convertvector(load(slopes + n) != T(0), typename Bytes<T>::Vec) & uint8_t{1};
    std::memcpy(to, &pushing, sizeof(pushing));
  }
};

template <class T>
void evaluate(const FarShape& s, const FarTerms& terms, const FarPairs<T>& pairs, const FarAtoms<T>& atoms,
              const FarEnergies<T>& out, int64_t part) {
  T* sums = out.sums + part * s.atoms * 4;
  std::memset(static_cast<void*>(sums), 0, sizeof(T) * s.atoms * 4);
  FarChoice<T> chosen(s, pairs, part);
  FarValues<T> of;
  FarConstants<T> k(terms, atoms.cutoffs[0]);
  alignas(64) Quads<T> first, second;
  alignas(64) Column<T> slope;
  const auto forget = [&](int64_t from, int64_t to) {
    std::memset(static_cast<void*>(out.lengths + from), 0, sizeof(T) * (to - from));
  };
  while (chosen.fill(Inside<T>{pairs, atoms.cutoffs}, forget)) {
    if (s.structures > 1) k = FarConstants<T>(terms, atoms.cutoffs[chosen.structure]);
    of.gather(terms, pairs, atoms, chosen);
    if (out.cotangents != nullptr) of.weigh(s, out.cotangents, chosen);
    for (int n = 0; n < chosen.count; n += Simd<T>::lanes) {
      const Vec<T> length = load(of.length + n);
      Vec<T> sum{}, coulomb_half{}, dispersion_half{}, by_charge[2] = {}, by_alpha[2] = {};
      if (terms.electrostatics) {
        const FarCoulomb<T> coulomb(k, length);
        const Vec<T> one = load(of.first_charge + n), other = load(of.second_charge + n);
        const Vec<T> weight = load(of.coulomb_weight + n) * k.charge_unit;
        coulomb_half = (T(0.5) * k.charge_unit) * (one * other) * coulomb.value;
        by_charge[0] = weight * other * coulomb.value;
        by_charge[1] = weight * one * coulomb.value;
        sum += weight * (one * other) * coulomb.slope;
      }
      if (terms.dispersion) {
        const FarDispersion<T> own(k, length, load(of.first_alpha + n), load(of.second_alpha + n),
                                   load(of.periods + n));
        const Vec<T> weight = load(of.dispersion_weight + n);
        dispersion_half = T(0.5) * own.value;
        by_alpha[0] = weight * own.by_first;
        by_alpha[1] = weight * own.by_second;
        sum += weight * own.slope;
      }
      store(slope + n, sum);
      store_quads<T>(first + n, coulomb_half, dispersion_half, by_charge[0], by_alpha[0]);
      store_quads<T>(second + n, coulomb_half, dispersion_half, by_charge[1], by_alpha[1]);
    }
    for (int n = 0; n < chosen.count; ++n) out.lengths[chosen.pair(n)] = slope[n];
    chosen.add(first, second, sums);
  }
}

// Every pair pushes its atoms apart along its vector.
template <class T>
void push(const FarShape& s, const FarPairs<T>& pairs, const FarPush<T>& out, int64_t part) {
  using Four = typename Quad<T>::Four;
  T* sums = out.sums + part * s.atoms * 4;
  T* virials = out.virials + part * s.structures * 12;
  std::memset(static_cast<void*>(sums), 0, sizeof(T) * s.atoms * 4);
  std::memset(static_cast<void*>(virials), 0, sizeof(T) * s.structures * 12);
  FarChoice<T> chosen(s, pairs, part);
  alignas(64) Column<T> length = {}, slope = {};
  alignas(64) Quads<T> first, second;
  while (chosen.fill(Pushing<T>{out.slopes}, [](int64_t, int64_t) {})) {
    for (int n = 0; n < chosen.count; ++n) {
      length[n] = pairs.lengths[chosen.pair(n)];
      slope[n] = out.slopes[chosen.pair(n)];
    }
    for (int n = 0; n < chosen.count; n += Simd<T>::lanes) store(slope + n, load(slope + n) / load(length + n));
    Four virial[3] = {};
    for (int n = 0; n < chosen.count; ++n) {
      const T* r = out.vectors + chosen.pair(n) * 3;
      const Four vector = {r[0], r[1], r[2], 0};
      const Four along = vector * slope[n];
      Quad<T>::in(first[n]) = along;
      Quad<T>::in(second[n]) = -along;
      for (int c = 0; c < 3; ++c) virial[c] += r[c] * along;
    }
    T* own = virials + chosen.structure * 12;
    for (int c = 0; c < 3; ++c) Quad<T>::in(own + c * 4) += virial[c];
    chosen.add(first, second, sums);
  }
}

}  // namespace

extern const FarStages<float> far_single;
const FarStages<float> far_single = {evaluate<float>, push<float>};
extern const FarStages<double> far_twofold;
const FarStages<double> far_twofold = {evaluate<double>, push<double>};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
